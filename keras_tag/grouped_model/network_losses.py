"""The losses of the tasks that a network trains, from what was given to `compile`."""

from collections.abc import Iterable, Mapping
from typing import Any

import keras
import tensorflow as tf

from keras_tag.training.compile_spec import all_labelled
from keras_tag.training.replicas import num_replicas
from keras_tag.training.task_losses import TaskLosses


class NetworkLosses:
    """Losses and loss weights by task, for networks that each train some of the tasks.

    What a loss is, and what a missing label does to it, is `TaskLosses`'s to say: for a network it
    is the same as for the joint model that a `TAGModel` trains.

    Args:
        loss: What was given to `compile(loss=...)`: a dict by task, or one for all tasks.
        loss_weights: What was given to `compile(loss_weights=...)`: a dict by task, or None.
        tasks: All tasks.
        missing: A label value that means "not labelled", next to NaN.

    Attributes:
        losses: The loss of every task, as it was given.
        weights: The loss weight of every task.

    Raises:
        ValueError: A task without a loss, a name that is no task, a task without a weight.
    """

    def __init__(
        self, loss: Any, loss_weights: Any, tasks: Iterable[str], missing: float | None = None
    ) -> None:
        self.tasks = tuple(tasks)
        self.missing = missing
        if isinstance(loss, (list, tuple)) or loss is None:
            raise ValueError(
                "Expected `loss` to be a dict with a loss for each of the tasks "
                f"{list(self.tasks)}, or one loss for all of them. Received: loss={loss!r}. "
                "Call `compile(optimizer, loss={...})`."
            )
        if not isinstance(loss, Mapping):
            loss = dict.fromkeys(self.tasks, loss)
        if loss_weights is None:
            loss_weights = dict.fromkeys(self.tasks, 1.0)
        self.losses = self._by_task(loss, "loss")
        weights = self._by_task(loss_weights, "loss_weights")
        self.weights = {task: float(weight) for task, weight in weights.items()}

    def _by_task(self, given: Any, argument: str) -> dict[str, Any]:
        named = dict(given) if isinstance(given, Mapping) else {}
        named = {task: value for task, value in named.items() if value is not None}
        if set(named) != set(self.tasks):
            raise ValueError(
                f"Expected `{argument}` to be a dict that names every task of the grouping, "
                f"{list(self.tasks)}, and nothing else. Missing: "
                f"{[task for task in self.tasks if task not in named]}. "
                f"Received: {argument}={given!r}."
            )
        return named

    def __call__(self, y: Any, y_pred: Mapping[str, Any], sample_weight: Any) -> dict[str, Any]:
        """The losses of some tasks on one batch. The one place where a task's loss is computed.

        Args:
            y: Targets by task, as they came.
            y_pred: Outputs by task; says which tasks.
            sample_weight: None, one for all tasks, or a dict by task.

        Returns:
            A scalar per task of `y_pred`, reduced as Keras does, before its loss weight.
        """
        losses, outputs, labels = self._read(y, y_pred, sample_weight)
        return dict(zip(losses.tasks, losses(labels, outputs), strict=True))

    def labels(
        self, model: Any, y: Any, y_pred: Mapping[str, Any], sample_weight: Any
    ) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """What metrics are to see.

        Args:
            model: The compiled model whose metrics they are.
            y: Targets by task, as they came.
            y_pred: Outputs by task; says which tasks.
            sample_weight: None, one for all tasks, or a dict by task.

        Returns:
            Targets by task with nothing missing in them, and weights by task that are zero where
            a label was missing; None when there are none.
        """
        losses, _, labels = self._read(y, y_pred, sample_weight)
        with tf.control_dependencies(all_labelled(model, losses.tasks, labels)):
            clean = [tf.identity(leaf) for leaf in labels.y]
        weights = dict(zip(losses.tasks, labels.metric_weight, strict=True))
        unweighted = all(weight is None for weight in weights.values())
        return dict(zip(losses.tasks, clean, strict=True)), None if unweighted else weights

    def weighted_sum(self, losses: Mapping[str, Any]) -> Any:
        """The sum of task losses, each times its loss weight.

        Args:
            losses: Losses by task.

        Returns:
            A scalar.
        """
        return sum(self.weights[task] * loss for task, loss in losses.items())

    def _read(self, y: Any, y_pred: Mapping[str, Any], sample_weight: Any) -> tuple[Any, Any, Any]:
        y, sample_weight = self._targets(y), self._sample_weights(sample_weight)
        outputs = dict(y_pred)
        wanted = {task: self.losses[task] for task in outputs}
        losses = TaskLosses(wanted, outputs, list(outputs), self.missing)
        labels = losses.labels(
            {task: y[task] for task in outputs},
            outputs,
            {task: sample_weight[task] for task in outputs},
        )
        return losses, outputs, labels

    def _targets(self, y: Any) -> dict[str, Any]:
        if len(self.tasks) == 1 and not isinstance(y, Mapping):
            y = {self.tasks[0]: y}
        given = y if isinstance(y, Mapping) else {}
        absent = [task for task in self.tasks if given.get(task) is None]
        if absent:
            received = list(y) if isinstance(y, Mapping) else type(y).__name__
            raise ValueError(
                f"Expected y to be a dict with labels for every task, {list(self.tasks)}. "
                f"Missing: {absent}. Received: {received}. A label that is missing for single "
                "examples is NaN (or the `missing` sentinel), not an absent entry."
            )
        return {task: given[task] for task in self.tasks}

    def _sample_weights(self, sample_weight: Any) -> dict[str, Any]:
        if not isinstance(sample_weight, Mapping):
            return dict.fromkeys(self.tasks, sample_weight)
        unknown = sorted(set(sample_weight) - set(self.tasks))
        if unknown:
            raise ValueError(
                f"Expected sample_weight to be one array or a dict by task, of {list(self.tasks)}. "
                f"Received other names: {unknown}."
            )
        return {task: sample_weight.get(task) for task in self.tasks}


def regularisation(network: keras.Model) -> Any:
    """Regularisers and `add_loss` of one network, a replica's share of them.

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
