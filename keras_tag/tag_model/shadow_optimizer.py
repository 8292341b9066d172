"""The compiled optimizer's real step, taken on copies.

The step could be applied to the model itself and reverted, as long as nothing raises in between: a
compiled function does not roll assignments back. So the step is applied to shadow copies of the
weights and of every slot, which are loaded anew before every task. The model's own variables are
read and never written.
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_tag.tag_model.lookahead import Used, Values, only_used
from keras_tag.training.replicas import num_replicas


class ShadowOptimizer:
    """A `Stepper` that steps as the compiled optimizer would, for one task alone.

    Momentum, adaptive rates, schedules, clipping, weight decay and constraints act as they do in
    the optimizer; a clipping by global norm sees the shared variables' gradient of one task.
    Memory: one copy of the trainable variables and of the optimizer's variables.

    Args:
        optimizer: The compiled optimizer, built on `variables`.
        variables: All trainable variables of the model, in its order.
    """

    def __init__(self, optimizer: Any, variables: Sequence[Any]) -> None:
        # A look-ahead gets the unscaled gradient, so the inner optimizer is the step.
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        self._variables = [
            keras.Variable(
                # A tensor: from a tf.Variable Keras would take over the variable itself.
                tf.identity(v.value),
                dtype=v.dtype,
                trainable=True,
                aggregation="only_first_replica",
                name=v.name,
            )
            for v in variables
        ]
        for shadow, v in zip(self._variables, variables, strict=True):
            shadow.constraint = v.constraint
            shadow.regularizer = None
        self._optimizer = type(optimizer).from_config(optimizer.get_config())
        self._optimizer.build(self._variables)
        self._pairs = [
            *zip(self._variables, variables, strict=True),
            *zip(self._optimizer.variables, optimizer.variables, strict=True),
        ]
        self._moved: list[Any] = []

    def of(self, shared: Sequence[Any], variables: Sequence[Any]) -> "ShadowOptimizer":
        """Set which of the trainable variables a step moves.

        Args:
            shared: The shared variables.
            variables: All trainable variables, as in `__init__`.

        Returns:
            This object.
        """
        index = {id(v): shadow for v, shadow in zip(variables, self._variables, strict=True)}
        self._moved = [index[id(v)] for v in shared]
        return self

    def begin(self) -> None:
        """Load the shadow weights and slots from the model's."""

        def load(strategy: Any) -> None:
            for shadow, real in self._pairs:
                strategy.extended.update(
                    shadow.value,
                    lambda target, value: target.assign(value),
                    args=(real.value,),
                    group=False,
                )

        # In replica context a mirrored variable can only be assigned across the replicas.
        tf.distribute.get_replica_context().merge_call(load)

    def step(self, values: Values, gradient: Values, used: Used) -> list[tf.Tensor]:
        """Return the moved values; see `Stepper`. Each call continues from the shadow's state."""
        # Where tensors say which variables move, all are moved, and `only_used` picks those.
        moving = [isinstance(moves, tf.Tensor) or bool(moves) for moves in used]
        if not any(moving):
            return list(values)
        # The optimizer sums over the replicas; each has the global gradient already.
        replicas = num_replicas()
        self._optimizer.apply_gradients(
            [
                (g / tf.cast(replicas, g.dtype), shadow)
                for g, shadow, moves in zip(gradient, self._moved, moving, strict=True)
                if moves
            ]
        )
        moved = [
            tf.convert_to_tensor(shadow.value) if moves else value
            for value, shadow, moves in zip(values, self._moved, moving, strict=True)
        ]
        return only_used(used, moved, values)
