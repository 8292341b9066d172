"""One loss per task, from what the user compiled.

Keras keeps the losses of single outputs to itself; what is public is the specification given to
`compile(loss=...)`. From it this module makes one scalar loss per task, by the same rules as Keras
(a test holds the two equal): names, functions, `keras.losses.Loss` instances, in a dict, a list or
one for all. `loss_weights` weigh the joint update, not the affinity, and play no part here.

Labels may be missing. A label that is NaN, or equals the sentinel `missing`, is replaced by zero
and weighted to zero, and the others are weighted up, so that the loss is the mean over the
labelled. What a loss reduces by itself (the last axis of a one-hot vector, of a surface normal) is
one label; everything before it may be masked on its own (examples, tokens, pixels).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from keras_tag.training.replicas import all_reduce_sum, keras_share, num_replicas

# Reductions that divide by the number of values, whatever their weights: there, the weights of
# the labelled are scaled up for the ones that are missing.
_MEANS = ("sum_over_batch_size", "mean")


class _FunctionLoss(keras.losses.Loss):
    """A loss function `(y_true, y_pred) -> values`, reduced as Keras reduces it."""

    def __init__(self, function: Any) -> None:
        # TensorFlow takes no "<lambda>" as the name of a scope.
        super().__init__(name=getattr(function, "__name__", "loss").strip("<>"))
        self.function = function

    def call(self, y_true: Any, y_pred: Any) -> Any:
        if len(y_pred.shape) == len(y_true.shape) + 1 and y_pred.shape[-1] == 1:
            if len(y_true.shape) == 1:
                y_true = keras.ops.expand_dims(y_true, -1)
            else:
                y_pred = keras.ops.squeeze(y_pred, -1)
        elif len(y_true.shape) == len(y_pred.shape) + 1 and y_true.shape[-1] == 1:
            if len(y_pred.shape) == 1:
                y_pred = keras.ops.expand_dims(y_pred, -1)
            else:
                y_true = keras.ops.squeeze(y_true, -1)
        return self.function(y_true, y_pred)


@dataclass(frozen=True)
class Labels:
    """The labels of one batch, by task, with nothing missing in them any more.

    Args:
        y: Per task, the targets, missing ones replaced by zero.
        loss_weight: Per task, the weights for the loss: None, or the sample weights times the
            mask, scaled up for what is missing.
        metric_weight: Per task, the same without the scaling, for `weighted_metrics`.
        mask: Per task, 1 where there is a label and 0 where it is missing; None where none can be.
    """

    y: list[Any]
    loss_weight: list[Any]
    metric_weight: list[Any]
    mask: list[Any]


class TaskLosses:
    """The tasks of a compiled model and their losses.

    Args:
        loss: What was given to `compile(loss=...)`.
        outputs: The model's output, a dict or list of tensors (or of anything with a shape).
        output_names: The names of a list of outputs; ignored for a dict.
        missing: A label value that means "not labelled", next to NaN. None: only NaN.

    Raises:
        ValueError: Nested outputs, or a loss for an unknown output.
    """

    def __init__(
        self,
        loss: Any,
        outputs: Any,
        output_names: Sequence[str] | None,
        missing: float | None = None,
    ) -> None:
        self._names = _output_names(outputs, output_names)
        losses = _by_output(loss, self._names, outputs, "loss", spread=True)
        self.tasks = tuple(name for name in self._names if losses[name] is not None)
        self._losses = {task: losses[task] for task in self.tasks}
        self._missing = missing
        self._ranks: dict[str, int] = {}
        self._dtypes: dict[str, str] = {}

    def labels(self, y: Any, y_pred: Any, sample_weight: Any = None) -> Labels:
        """Sort one batch's labels and weights by task and take out what is missing.

        Args:
            y: The targets as they came: dict by task, or a list in the order of the outputs.
            y_pred: The model's output.
            sample_weight: None, one for all tasks, or one per task.

        Returns:
            The `Labels`.

        Raises:
            ValueError: A task without targets.
        """
        y = _by_output(y, self._names, y_pred, "y")
        weight = _by_output(sample_weight, self._names, y_pred, "sample_weight", spread=True)
        predictions = _by_output(y_pred, self._names, y_pred, "y_pred")
        absent = [task for task in self.tasks if y.get(task) is None]
        if absent:
            raise ValueError(
                f"Expected labels for every task {list(self.tasks)}. Received no labels for "
                f"{absent}: y has {[name for name in y if y[name] is not None]}. A label that is "
                "missing for single examples is NaN (or the `missing` sentinel), not an absent "
                "entry."
            )
        rows = []
        for task in self.tasks:
            loss = self._resolve(task, y, predictions)
            target = tf.convert_to_tensor(y[task])
            if target.dtype == tf.string:
                raise ValueError(
                    f"Expected labels that are numbers. Received: strings for task {task!r}. Give "
                    "each class its number, with keras.layers.StringLookup for example."
                )
            self._dtypes[task] = loss.dtype
            rank = self._rank_of_values(task, loss, target, predictions[task])
            rows.append(_hide_missing(target, weight[task], self._missing, loss, rank))
        return Labels(*(list(column) for column in zip(*rows, strict=True)))

    def __call__(self, labels: Labels, y_pred: Any) -> list[tf.Tensor]:
        """The loss of every task on one batch.

        Args:
            labels: From `labels`.
            y_pred: The model's output.

        Returns:
            One scalar per task, unweighted by `loss_weights`, without regularisers and
            `add_loss`. Not stacked: that would connect every loss to every task's variables.
        """
        predictions = _by_output(y_pred, self._names, y_pred, "y_pred")
        losses = []
        for i, task in enumerate(self.tasks):
            loss = self._resolve(task, dict(zip(self.tasks, labels.y, strict=True)), predictions)
            value = loss(labels.y[i], predictions[task], labels.loss_weight[i])
            losses.append(keras.ops.convert_to_tensor(value))
        dtype = keras.backend.result_type(*(value.dtype for value in losses))
        return [tf.cast(value, dtype) for value in losses]

    def loss_weights(self, loss_weights: Any, y_pred: Any) -> list[float]:
        """What was given to `compile(loss_weights=...)`, one number per task."""
        weights = _by_output(loss_weights, self._names, y_pred, "loss_weights", spread=True)
        return [1.0 if weights[task] is None else float(weights[task]) for task in self.tasks]

    def pack(self, by_task: Sequence[Any], like: Any, y_pred: Any) -> Any:
        """Put per-task values back into the structure of the model's output.

        Args:
            by_task: One value per task.
            like: The structure they came from; outputs that are no task keep its entries.
            y_pred: The model's output, which gives the structure.

        Returns:
            A dict or list like `y_pred`.
        """
        values = _by_output(like, self._names, y_pred, "y", spread=True)
        values.update(zip(self.tasks, by_task, strict=True))
        if isinstance(y_pred, Mapping):
            return {name: values[name] for name in y_pred}
        return [values[name] for name in self._names]

    def pack_weights(self, by_task: Sequence[Any], y_pred: Any) -> Any:
        """`pack` for sample weights: None when no task has any."""
        if all(weight is None for weight in by_task):
            return None
        return self.pack(by_task, None, y_pred)

    @property
    def loss_names(self) -> dict[str, str]:
        """Task -> what its loss is called."""
        return {task: _name(loss) for task, loss in self._losses.items()}

    @property
    def all_means(self) -> bool:
        """Whether no task's loss is a sum over the batch."""
        return all(getattr(loss, "reduction", "mean") != "sum" for loss in self._losses.values())

    def shares(self, labels: Labels) -> list[Any]:
        """The part of the global batch's losses that this replica's losses are.

        Args:
            labels: This replica's, in replica context.

        Returns:
            One factor per task: the global loss is the sum over the replicas of factor x loss.
            1 on one device.
        """
        if num_replicas() == 1:
            return [1.0] * len(self.tasks)
        reductions = [getattr(self._losses[task], "reduction", _MEANS[0]) for task in self.tasks]
        sizes = []
        for i, reduction in enumerate(reductions):
            counted, weight = labels.mask[i], labels.metric_weight[i]
            if reduction == "mean_with_sample_weight" and weight is not None:
                counted = weight
            size = tf.size(labels.y[i]) if counted is None else tf.reduce_sum(counted)
            sizes.append(tf.cast(size, tf.float64))
        totals = all_reduce_sum(sizes)
        # Keras divides the mean losses by the number of replicas; a sum it leaves alone.
        shares = []
        for task, reduction, size, total in zip(self.tasks, reductions, sizes, totals, strict=True):
            part = tf.math.divide_no_nan(size, total) / keras_share(self._dtypes[task])
            shares.append(1.0 if reduction == "sum" else part)
        return shares

    def _rank_of_values(self, task: str, loss: Any, y: Any, y_pred: Any) -> int:
        """How many axes a task's loss has left before it is reduced, and so a mask may have."""
        if task not in self._ranks:
            y_pred = keras.ops.convert_to_tensor(y_pred, dtype=loss.dtype)
            values = loss.call(keras.ops.convert_to_tensor(y, dtype=loss.dtype), y_pred)
            self._ranks[task] = len(values.shape)
        return self._ranks[task]

    def _resolve(self, task: str, y: Mapping[str, Any], y_pred: Mapping[str, Any]) -> Any:
        loss = self._losses[task]
        if isinstance(loss, str) and loss.lower() in ("crossentropy", "ce"):
            loss = _crossentropy(y[task], y_pred[task])
        loss = keras.losses.get(loss)
        return loss if isinstance(loss, keras.losses.Loss) else _FunctionLoss(loss)


def _output_names(outputs: Any, output_names: Sequence[str] | None) -> tuple[str, ...]:
    if isinstance(outputs, Mapping):
        names, leaves = list(outputs), list(outputs.values())
    elif isinstance(outputs, (list, tuple)):
        leaves = list(outputs)
        names = list(output_names or [f"output_{i}" for i in range(len(leaves))])
    else:
        names, leaves = list(output_names or ["output"]), [outputs]
    nested = [n for n, leaf in zip(names, leaves, strict=True) if keras.tree.is_nested(leaf)]
    if nested:
        raise ValueError(
            "Expected a flat dict or list of outputs, one per task. Received nested outputs under "
            f"{nested}. Return one flat dict {{task: output}}."
        )
    return tuple(map(str, names))


def _by_output(
    structure: Any, names: Sequence[str], outputs: Any, what: str, *, spread: bool = False
) -> dict[str, Any]:
    """A structure given by the user as `{output name: entry}`, absent ones None.

    `spread=True` gives one value to every output, as Keras does for a single loss or weight.
    """
    if isinstance(structure, Mapping):
        unknown = [key for key in structure if key not in names]
        if unknown and what == "loss":
            raise ValueError(
                f"Expected `loss` to name the model's outputs {list(names)}. Received unknown "
                f"names: {unknown}."
            )
        return {name: structure.get(name) for name in names}
    if isinstance(structure, (list, tuple)):
        if len(structure) != len(names):
            raise ValueError(
                f"Expected `{what}` to have an entry for each of the outputs {list(names)}. "
                f"Received {len(structure)} entries."
            )
        if isinstance(outputs, Mapping):
            # Keras pairs a list with a dict of outputs in the order of the sorted keys.
            return dict(zip(sorted(names), structure, strict=True))
        return dict(zip(names, structure, strict=True))
    if spread or len(names) == 1:
        return dict.fromkeys(names, structure)
    raise ValueError(
        f"Expected `{what}` to be a dict or list with an entry for each of the outputs "
        f"{list(names)}. Received: {type(structure).__name__}."
    )


def _crossentropy(y: Any, y_pred: Any) -> Any:
    """What "crossentropy" means, by the shapes, as in Keras."""
    if y_pred.shape[-1] == 1:
        return keras.losses.binary_crossentropy
    if len(y.shape) < len(y_pred.shape) or y.shape[-1] == 1:
        return keras.losses.sparse_categorical_crossentropy
    return keras.losses.categorical_crossentropy


def _hide_missing(
    y: tf.Tensor, weight: Any, missing: float | None, loss: Any, rank: int
) -> tuple[Any, Any, Any, Any]:
    """One row of `Labels`: y, weight for the loss, weight for metrics, mask."""
    # A loss that returns one number for the batch can leave nobody out: there NaN stays NaN.
    if rank == 0 or (not y.dtype.is_floating and missing is None):
        return y, weight, weight, None
    absent = tf.math.is_nan(y) if y.dtype.is_floating else tf.zeros_like(y, tf.bool)
    if missing is not None:
        absent |= y == tf.cast(missing, y.dtype)
    y = tf.where(absent, tf.zeros_like(y), y)
    # The axes that the loss reduces hold one label: it is there when all of it is.
    reduced = list(range(rank, len(y.shape)))
    mask = tf.cast(~tf.reduce_any(absent, axis=reduced), loss.dtype)
    metric_weight = mask if weight is None else _align(tf.cast(weight, loss.dtype), rank) * mask
    loss_weight = metric_weight
    if loss.reduction in _MEANS:
        total = tf.cast(tf.size(mask), mask.dtype)
        loss_weight = metric_weight * tf.math.divide_no_nan(total, tf.reduce_sum(mask))
    return y, loss_weight, metric_weight, mask


def _align(weight: tf.Tensor, rank: int) -> tf.Tensor:
    """A sample weight with as many axes as the values it weighs."""
    while len(weight.shape) > rank and weight.shape[-1] == 1:
        weight = tf.squeeze(weight, -1)
    while len(weight.shape) < rank:
        weight = weight[..., None]
    return weight


def _name(loss: Any) -> str:
    if isinstance(loss, str):
        return loss
    return str(getattr(loss, "name", None) or getattr(loss, "__name__", type(loss).__name__))
