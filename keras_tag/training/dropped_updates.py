"""`DroppedUpdates`: a scope in which models and losses run as in training, and change nothing."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_tag.training.keras_masks import mask_of
from keras_tag.training.nested_operations import find_operations
from keras_tag.training.replicas import num_replicas

# The beginnings of the names of operations that change a variable of TensorFlow.
_WRITES = ("Assign", "ResourceApply", "ResourceScatter", "ResourceStridedSliceAssign", "Rng")


class DroppedUpdates(keras.StatelessScope):
    """A `keras.StatelessScope` in which a variable that was assigned is read as outside of it.

    What layers and losses assign to their variables is seen inside, as in a training step, and
    dropped at the end. A plain `StatelessScope` gives the very tensor that was assigned. Two
    things are then otherwise than in a training step. A gradient flows back through an average
    that a layer or loss keeps. And under a strategy each replica reads its own value, where a
    variable holds one value for all of them.

    Args:
        state_mapping: As in `keras.StatelessScope`.
        rewritten: The variables that have their gradient at what a layer assigns to them, as the
            kernel in `SpectralNormalization` has. It stays connected to what it was made of.

    Attributes:
        changed: Whether a variable was assigned.
    """

    def __init__(self, state_mapping: Any = None, rewritten: Sequence[Any] = ()) -> None:
        super().__init__(state_mapping)
        self._rewritten = {id(variable) for variable in rewritten}
        # Assigned, and not read since.
        self._of_this_replica: set[int] = set()
        self.changed = False

    def add_update(self, update: tuple[Any, Any]) -> None:
        """Take the place of an assignment.

        Args:
            update: The variable, and its new value.
        """
        self.changed = True
        variable, value = update
        connected = id(variable) in self._rewritten
        super().add_update((variable, value if connected else tf.stop_gradient(value)))
        if num_replicas() > 1 and variable.synchronization != "on_read":
            self._of_this_replica.add(id(variable))

    def get_current_value(self, variable: Any) -> Any:
        """Return the value of a variable inside the scope; None if it is that outside of it.

        Args:
            variable: A Keras variable.
        """
        value = super().get_current_value(variable)
        if id(variable) in self._of_this_replica:
            self._of_this_replica.remove(id(variable))
            value = _of_all_replicas(variable, value)
            super().add_update((variable, value))
        return value


def _of_all_replicas(variable: Any, value: Any) -> Any:
    """Return what an assignment in every replica leaves in a variable that they share."""
    context = tf.distribute.get_replica_context()
    if context is None or variable.aggregation == "none":
        return value
    if variable.aggregation == "only_first_replica":
        first = tf.equal(context.replica_id_in_sync_group, 0)
        value = tf.where(first, value, tf.zeros_like(value))
    mean = variable.aggregation == "mean"
    operation = tf.distribute.ReduceOp.MEAN if mean else tf.distribute.ReduceOp.SUM
    return context.all_reduce(operation, value)


def writes_in(graph: Any) -> list[tuple[str, Any]]:
    """Return the operations that change variables, as `find_operations` does."""
    return find_operations(graph, lambda kind: kind.startswith(_WRITES))


def evaluated(function: Callable[[], Any]) -> tuple[Any, bool]:
    """Evaluate something that a training step computes as well, and change nothing by it.

    In a graph, what only shows its shape is computed in another one, which never runs.

    Args:
        function: Returns a tensor.

    Returns:
        The tensor, of which the mask may be used, and the value if it has one; otherwise the shape.
        And whether the function changes variables.
    """

    def here() -> tuple[Any, bool]:
        with DroppedUpdates() as scope:
            return function(), scope.changed

    # Under a strategy the function may reduce over the replicas, which TensorFlow can't do in a
    # nested function.
    if tf.executing_eagerly() or tf.distribute.has_strategy():
        return here()
    found: list[tuple[Any, bool]] = []

    def elsewhere() -> Any:
        found.append(here())
        return found[-1][0]

    graph = tf.function(elsewhere, autograph=False).get_concrete_function().graph
    value, changes = found[-1]
    changes = changes or bool(writes_in(graph))
    return (value if mask_of(value) is None else here()[0]), changes
