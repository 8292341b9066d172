"""The losses of the tasks that a network trains, from what was given to `compile`."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import keras
import tensorflow as tf

from keras_tag.grouped_model.served_networks import ServedNetworks
from keras_tag.training.compile_spec import compile_arguments, targets_of_metrics
from keras_tag.training.output_columns import label_columns, take_columns
from keras_tag.training.replicas import num_replicas
from keras_tag.training.task_losses import Labels, TaskLosses, factor


class NetworkLosses:
    """Losses and loss weights by task, for networks that each train some of the tasks.

    What a loss is, and what a missing label does to it, is `TaskLosses`'s to say: for a network it
    is the same as for the joint model that a `TAGModel` trains.

    Args:
        model: The compiled networks. What they were compiled with may name all outputs of the joint
            model: a dict by task, a list in the order of `model.joint_outputs`, or one for all.

    Attributes:
        tasks: All tasks.
        used_elsewhere: The identities of losses that networks of another model have too.
        losses: The loss of every task, as it was given.
        given_weights: The loss weight of every task, as it was given.

    Raises:
        ValueError: A task without a loss or without a weight; a name of no output of the joint
            model; a list of another length.
    """

    def __init__(self, model: ServedNetworks) -> None:
        self.tasks = model.tasks
        self._model = model
        self._columns = label_columns(model.networks, self.tasks)
        # A dict of losses names what else the data may name.
        self._named = tuple(model.loss) if isinstance(model.loss, Mapping) else ()
        self._stateful: set[str] = set()
        self.used_elsewhere: set[int] = set()
        self.losses = self._compiled("loss", model.loss)
        weights = compile_arguments(model).get("loss_weights")
        self.given_weights = self._compiled("loss_weights", 1.0 if weights is None else weights)

    @property
    def weights(self) -> dict[str, float]:
        """The present loss weight of every task."""
        return {task: float(factor(weight)) for task, weight in self.given_weights.items()}

    def _compiled(self, argument: str, given: Any) -> dict[str, Any]:
        """Return an argument of `compile` by task."""
        several = isinstance(given, (Mapping, list, tuple))
        named = given if several else dict.fromkeys(self.tasks, given)
        named = self._model.by_name(named, argument)
        expected = f"`{argument}` to be a dict with an entry"
        return self._of_all(named, expected, f"{argument}={given!r}.")

    def _of_all(self, named: Mapping[str, Any], expected: str, received: str) -> dict[str, Any]:
        """Return what was given by task; refuse it if a task has nothing."""
        absent = [task for task in self.tasks if named.get(task) is None]
        if absent:
            raise ValueError(
                f"Expected {expected} for every task of the grouping, {list(self.tasks)}. "
                f"Missing: {absent}. Received: {received}"
            )
        return {task: named[task] for task in self.tasks}

    def __call__(
        self, y: Any, y_pred: Mapping[str, Any], sample_weight: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the losses of some tasks on one batch. All losses of tasks are computed here.

        Args:
            y: Targets by task, as they came.
            y_pred: Outputs by task; says which tasks.
            sample_weight: None, one for all tasks, or a dict by task.

        Returns:
            Two scalars per task of `y_pred`: its loss, reduced as Keras does, before its loss
            weight; and how much it weighs in a mean over several batches, see `TaskLosses.sizes`.
        """
        losses, labels = self._read(y, y_pred, sample_weight)
        values = losses(labels, dict(y_pred))
        sizes = losses.sizes(labels)
        return (
            dict(zip(losses.tasks, values, strict=True)),
            dict(zip(losses.tasks, sizes, strict=True)),
        )

    def of_several(self, networks: Iterable[Iterable[str]]) -> set[int]:
        """Return the identities of the losses that several networks have.

        Args:
            networks: The tasks of each network.
        """
        users = Counter(loss for own in networks for loss in {id(self.losses[t]) for t in own})
        return {loss for loss, networks_with_it in users.items() if networks_with_it > 1}

    def check_states(self, networks: Iterable[Iterable[str]]) -> None:
        """Check that no two networks change the variables of one loss, those elsewhere too.

        Args:
            networks: The tasks of each network, whose losses were computed.

        Raises:
            ValueError: Two do.
        """
        shared = self.of_several(networks) | self.used_elsewhere
        tasks = [t for t in self.tasks if t in self._stateful and id(self.losses[t]) in shared]
        if tasks:
            raise ValueError(
                "Expected losses that keep nothing from one batch to the next where several "
                "networks use them, because every network trains as it would alone. Received: a "
                f"loss that changes variables of its own for the tasks {tasks}. Give every task a "
                "loss object of its own and train it in one network, or keep the state in a layer "
                "of the network."
            )

    def labels(self, y: Any, y_pred: Mapping[str, Any], sample_weight: Any) -> tuple[Any, Any]:
        """Return what metrics are given.

        Args:
            y: Targets by task, as they came.
            y_pred: Outputs by task; says which tasks.
            sample_weight: None, one for all tasks, or a dict by task.

        Returns:
            Targets by task with nothing missing in them, and weights by task that are zero where
            a label was missing; None when there are none.
        """
        losses, labels = self._read(y, y_pred, sample_weight)
        weights = {task: own.metric_weight for task, own in labels.items()}
        return targets_of_metrics(self._model, labels), losses.pack_weights(weights, dict(y_pred))

    def weighted_sum(self, losses: Mapping[str, Any]) -> Any:
        """Return the sum of task losses, each times its loss weight.

        Args:
            losses: Losses by task.

        Returns:
            A scalar.
        """
        return sum(
            _weighted(loss, factor(self.given_weights[task])) for task, loss in losses.items()
        )

    def _read(
        self, y: Any, y_pred: Mapping[str, Any], sample_weight: Any
    ) -> tuple[TaskLosses, Labels]:
        """Return the losses and the labels of the tasks of `y_pred`."""
        y = take_columns(y, self._columns, "y", y_pred)
        sample_weight = take_columns(sample_weight, self._columns, "sample_weight", y_pred)
        outputs = dict(y_pred)
        wanted = {task: self.losses[task] for task in outputs}
        losses = TaskLosses(wanted, outputs, list(outputs), self._model.missing)
        losses.stateful = self._stateful
        weights = self._sample_weights(sample_weight, y)
        return losses, losses.labels(self._targets(y), outputs, weights)

    def _targets(self, y: Any) -> dict[str, Any]:
        received: Any = type(y).__name__
        if isinstance(y, Mapping):
            named, received = y, list(y)
        elif isinstance(y, (list, tuple)):
            named = self._model.by_name(y, "y")
        else:
            named = {self.tasks[0]: y} if len(self.tasks) == 1 else {}
        hint = (
            "A label that is missing for single examples is NaN (or the `missing` sentinel), not "
            "an absent entry."
        )
        return self._of_all(named, "y to be a dict with labels", f"{received}. {hint}")

    def _sample_weights(self, sample_weight: Any, y: Any) -> dict[str, Any]:
        if not isinstance(sample_weight, (Mapping, list, tuple)):
            return dict.fromkeys(self.tasks, sample_weight)
        labelled = tuple(y) if isinstance(y, Mapping) else ()
        others = (*self._named, *labelled)
        named = self._model.by_name(sample_weight, "sample_weight", others)
        return {task: named.get(task) for task in self.tasks}


def _weighted(loss: Any, weight: Any) -> Any:
    return loss * (tf.cast(weight, loss.dtype) if tf.is_tensor(weight) else weight)


def regularisation(network: keras.Model) -> Any:
    """Return regularisers and `add_loss` of one network, a replica's share of them.

    Args:
        network: A Keras model.

    Returns:
        A scalar; 0 if there are none.
    """
    losses = [keras.ops.cast(keras.ops.sum(loss), keras.config.floatx()) for loss in network.losses]
    return sum(losses) / num_replicas() if losses else 0.0


def unscale(loss: Any) -> Any:
    """Undo the division by the number of replicas that Keras's mean losses make, for logs.

    Args:
        loss: A replica's share.

    Returns:
        The loss of the replica's batch.
    """
    return loss * num_replicas()
