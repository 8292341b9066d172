"""The losses of the tasks that a network trains, from what was given to `compile`."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_tag.grouped_model.joint_outputs import by_name
from keras_tag.training.compile_spec import all_labelled
from keras_tag.training.output_columns import take_columns
from keras_tag.training.replicas import num_replicas
from keras_tag.training.task_losses import Labels, TaskLosses, factor


class NetworkLosses:
    """Losses and loss weights by task, for networks that each train some of the tasks.

    What a loss is, and what a missing label does to it, is `TaskLosses`'s to say: for a network it
    is the same as for the joint model that a `TAGModel` trains.

    Args:
        loss: What was given to `compile(loss=...)`: a dict by task, a list in the order of the
            joint model's outputs, or one for all tasks.
        loss_weights: What was given to `compile(loss_weights=...)`: a dict or list, or None.
        tasks: All tasks.
        missing: A label value that means "not labelled", next to NaN.
        joint_outputs: The outputs of the joint model in the order of its lists. What was given for
            the joint model may name all of them. None: not known.
        columns: Which column of one array of labels is a task's; see `label_columns`.

    Attributes:
        losses: The loss of every task, as it was given.
        given_weights: The loss weight of every task, as it was given.

    Raises:
        ValueError: A task without a loss or without a weight; a name of no output of the joint
            model; a list of another length.
    """

    def __init__(
        self,
        loss: Any,
        loss_weights: Any,
        tasks: Iterable[str],
        missing: float | None = None,
        joint_outputs: Sequence[str] | None = None,
        columns: Mapping[str, Any] | None = None,
    ) -> None:
        self.tasks = tuple(tasks)
        self.missing = missing
        self._joint_outputs = joint_outputs
        self._columns = columns
        # A dict of losses names what else the data may name.
        self._named = tuple(loss) if isinstance(loss, Mapping) else ()
        if loss is None:
            raise ValueError(
                "Expected `loss` to be a dict with a loss for each of the tasks "
                f"{list(self.tasks)}, or one loss for all of them. Received: loss=None. "
                "Call `compile(optimizer, loss={...})`."
            )
        if not isinstance(loss, (Mapping, list, tuple)):
            loss = dict.fromkeys(self.tasks, loss)
        if not isinstance(loss_weights, (Mapping, list, tuple)):
            weight = 1.0 if loss_weights is None else loss_weights
            loss_weights = dict.fromkeys(self.tasks, weight)
        self._stateful: set[str] = set()
        # The identities of losses that networks of another model have too.
        self.used_elsewhere: set[int] = set()
        self.losses = self._complete(loss, "loss")
        self.given_weights = self._complete(loss_weights, "loss_weights")

    @property
    def weights(self) -> dict[str, float]:
        """The present loss weight of every task."""
        return {task: float(factor(weight)) for task, weight in self.given_weights.items()}

    def _complete(self, given: Any, argument: str) -> dict[str, Any]:
        """Return an argument by task that must have an entry for every task."""
        named = by_name(given, argument, self.tasks, self._joint_outputs)
        absent = [task for task in self.tasks if named.get(task) is None]
        if absent:
            raise ValueError(
                f"Expected `{argument}` to be a dict that names every task of the grouping, "
                f"{list(self.tasks)}. Missing: {absent}. Received: {argument}={given!r}."
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

    def check_states(self, networks: Iterable[Iterable[str]]) -> None:
        """Check that no two networks change the variables of one loss, those elsewhere too.

        Args:
            networks: The tasks of each network, whose losses were computed.

        Raises:
            ValueError: Two do.
        """
        kept = {id(self.losses[task]) for task in self._stateful}
        users = [{id(self.losses[task]) for task in tasks} & kept for tasks in networks]
        several = {loss for loss in kept if sum(loss in used for used in users) > 1}
        shared = several | (kept & self.used_elsewhere)
        tasks = [task for task in self.tasks if id(self.losses[task]) in shared]
        if tasks:
            raise ValueError(
                "Expected losses that keep nothing from one batch to the next where several "
                "networks use them, because every network trains as it would alone. Received: a "
                f"loss that changes variables of its own for the tasks {tasks}. Give every task a "
                "loss object of its own and train it in one network, or keep the state in a layer "
                "of the network."
            )

    def labels(
        self, model: Any, y: Any, y_pred: Mapping[str, Any], sample_weight: Any
    ) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """Return what metrics are given.

        Args:
            model: The compiled model whose metrics they are.
            y: Targets by task, as they came.
            y_pred: Outputs by task; says which tasks.
            sample_weight: None, one for all tasks, or a dict by task.

        Returns:
            Targets by task with nothing missing in them, and weights by task that are zero where
            a label was missing; None when there are none.
        """
        losses, labels = self._read(y, y_pred, sample_weight)
        with tf.control_dependencies(all_labelled(model, losses.tasks, labels)):
            clean = [tf.identity(leaf) for leaf in labels.y]
        weights = dict(zip(losses.tasks, labels.metric_weight, strict=True))
        unweighted = all(weight is None for weight in weights.values())
        return dict(zip(losses.tasks, clean, strict=True)), None if unweighted else weights

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
        losses = TaskLosses(wanted, outputs, list(outputs), self.missing)
        losses.stateful = self._stateful
        weights = self._sample_weights(sample_weight, y)
        return losses, losses.labels(self._targets(y), outputs, weights)

    def _targets(self, y: Any) -> dict[str, Any]:
        if len(self.tasks) == 1 and not isinstance(y, (Mapping, list, tuple)):
            y = {self.tasks[0]: y}
        named = y if isinstance(y, Mapping) else {}
        if isinstance(y, (list, tuple)):
            named = by_name(y, "y", self.tasks, self._joint_outputs)
        absent = [task for task in self.tasks if named.get(task) is None]
        if absent:
            received = list(y) if isinstance(y, Mapping) else type(y).__name__
            raise ValueError(
                f"Expected y to be a dict with labels for every task, {list(self.tasks)}. "
                f"Missing: {absent}. Received: {received}. A label that is missing for single "
                "examples is NaN (or the `missing` sentinel), not an absent entry."
            )
        return {task: named[task] for task in self.tasks}

    def _sample_weights(self, sample_weight: Any, y: Any) -> dict[str, Any]:
        if not isinstance(sample_weight, (Mapping, list, tuple)):
            return dict.fromkeys(self.tasks, sample_weight)
        labelled = tuple(y) if isinstance(y, Mapping) else ()
        others = (*self._named, *labelled)
        named = by_name(sample_weight, "sample_weight", self.tasks, self._joint_outputs, others)
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
