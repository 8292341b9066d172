"""The loss of every task a network trains, from what was given to `compile`."""

from collections.abc import Iterable, Mapping
from typing import Any

import keras


class NetworkLosses:
    """Losses and loss weights by task, following Keras's own rules.

    Args:
        loss: What was given to `compile(loss=...)`: a dict by task, or one for all tasks.
        loss_weights: What was given to `compile(loss_weights=...)`: a dict by task, or None.
        tasks: The served tasks.

    Raises:
        ValueError: A task without a loss, a name that is no task, a task without a weight.
    """

    def __init__(self, loss: Any, loss_weights: Any, tasks: Iterable[str]) -> None:
        self.tasks = tuple(tasks)
        if isinstance(loss, (list, tuple)) or loss is None:
            raise ValueError(
                "Expected `loss` to be a dict with a loss for each of the tasks "
                f"{list(self.tasks)}, or one loss for all of them. Received: loss={loss!r}. "
                "Call `compile(optimizer, loss={...})`."
            )
        if not isinstance(loss, Mapping):
            loss = dict.fromkeys(self.tasks, loss)
        self.losses = dict(self._check(loss, "loss"))
        if loss_weights is None:
            loss_weights = dict.fromkeys(self.tasks, 1.0)
        self.weights = {
            task: float(weight) for task, weight in self._check(loss_weights, "loss_weights")
        }

    def _check(self, given: Any, argument: str) -> Iterable[tuple[str, Any]]:
        named = dict(given) if isinstance(given, Mapping) else {}
        named = {task: value for task, value in named.items() if value is not None}
        if set(named) != set(self.tasks):
            raise ValueError(
                f"Expected `{argument}` to be a dict that names every task of the grouping, "
                f"{list(self.tasks)}, and nothing else. Missing: "
                f"{[task for task in self.tasks if task not in named]}. "
                f"Received: {argument}={given!r}."
            )
        return named.items()

    def __call__(
        self,
        tasks: Iterable[str],
        y: Mapping[str, Any],
        y_pred: Mapping[str, Any],
        sample_weight: Mapping[str, Any],
    ) -> dict[str, Any]:
        """The losses of some of the tasks on one batch.

        This is the one place where a task's loss is computed.

        Args:
            tasks: Which tasks.
            y: Targets by task.
            y_pred: One network's outputs by task.
            sample_weight: Sample weights, or None, by task.

        Returns:
            A scalar per task, reduced as Keras does, before its loss weight.
        """
        losses = {}
        for task in tasks:
            loss = _resolve(self.losses[task], y[task], y_pred[task])
            value = loss(y[task], y_pred[task], sample_weight[task])
            losses[task] = keras.ops.cast(value, keras.config.floatx())
        return losses

    def weighted_sum(self, losses: Mapping[str, Any]) -> Any:
        """The sum of task losses, each times its loss weight.

        Args:
            losses: Losses by task.

        Returns:
            A scalar.
        """
        return sum(self.weights[task] * loss for task, loss in losses.items())


class _FunctionLoss(keras.losses.Loss):
    """A function of (y_true, y_pred) as a `Loss`: aligned ranks, then the mean over the batch."""

    def __init__(self, function: Any) -> None:
        super().__init__(name=getattr(function, "__name__", "loss"))
        self.function = function

    def call(self, y_true: Any, y_pred: Any) -> Any:
        true_rank, pred_rank = len(y_true.shape), len(y_pred.shape)
        if true_rank == pred_rank + 1 and y_true.shape[-1] == 1:
            y_true, y_pred = _align(y_true, y_pred)
        elif pred_rank == true_rank + 1 and y_pred.shape[-1] == 1:
            y_pred, y_true = _align(y_pred, y_true)
        return self.function(y_true, y_pred)


def _align(longer: Any, shorter: Any) -> tuple[Any, Any]:
    """Bring `[..., 1]` and `[...]` to one rank, as Keras does: a vector grows, others shrink."""
    if len(shorter.shape) == 1:
        return longer, keras.ops.expand_dims(shorter, -1)
    return keras.ops.squeeze(longer, -1), shorter


def _resolve(loss: Any, y: Any, y_pred: Any) -> Any:
    if isinstance(loss, str) and loss.lower() in ("crossentropy", "ce"):
        # Keras chooses by shapes.
        if y_pred.shape[-1] == 1:
            loss = "binary_crossentropy"
        elif len(y.shape) < len(y_pred.shape) or y.shape[-1] == 1:
            loss = "sparse_categorical_crossentropy"
        else:
            loss = "categorical_crossentropy"
    loss = keras.losses.get(loss)
    return loss if isinstance(loss, keras.losses.Loss) else _FunctionLoss(loss)
