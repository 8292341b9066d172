"""One loss per task, from the losses that the user compiled.

Keras has no public losses of single outputs. Public is the specification given to
`compile(loss=...)`. From it this module makes one scalar loss per task, by the same rules as Keras
(a test holds the two equal): names, functions, `keras.losses.Loss` instances, in a dict, a list or
one for all. The losses are those before `loss_weights`.

Labels may be missing: `missing_labels` defines which, and how a loss leaves them out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import keras
import tensorflow as tf

from keras_tag.training.dropped_updates import evaluated
from keras_tag.training.keras_masks import mask_of
from keras_tag.training.loss_settings import named_with_settings
from keras_tag.training.missing_labels import (
    MEANS,
    TaskLabels,
    absent_labels,
    hide_missing,
    product,
    whole_labels,
    without_missing,
)
from keras_tag.training.output_columns import take_columns
from keras_tag.training.outputs_by_name import by_output, outputs_by_name
from keras_tag.training.replicas import all_reduce_sum, keras_share, num_replicas

# The labels of one batch by task, in the order of the tasks.
Labels = dict[str, TaskLabels]


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


class TaskLosses:
    """The tasks of a compiled model and their losses.

    Args:
        loss: What was given to `compile(loss=...)`.
        outputs: The model's output, a dict or list of tensors (or of anything with a shape).
        output_names: The names of a list of outputs; ignored for a dict.
        missing: A label value that means "not labelled", next to NaN. None: only NaN.
        columns: Which column of one array of labels is a task's; see `label_columns`.

    Raises:
        ValueError: Nested outputs, two outputs of one name, or a loss for an unknown output.
    """

    def __init__(
        self,
        loss: Any,
        outputs: Any,
        output_names: Sequence[str] | None,
        missing: float | None = None,
        columns: Mapping[str, Any] | None = None,
    ) -> None:
        self._names = tuple(outputs_by_name(outputs, output_names))
        losses = by_output(loss, self._names, outputs, "loss", spread=True)
        self._one_loss = not keras.tree.is_nested(loss)
        self.tasks = tuple(name for name in self._names if losses[name] is not None)
        self._losses = {task: losses[task] for task in self.tasks}
        self._missing = missing
        self._columns = columns
        # Task and axes of its labels -> axes of its loss's values, and whether they have a mask.
        self._shapes: dict[tuple[str, int], tuple[int, bool]] = {}
        self._dtypes: dict[str, str] = {}
        # The tasks whose loss was seen to change variables of its own.
        self.stateful: set[str] = set()

    def labels(self, y: Any, y_pred: Any, sample_weight: Any = None) -> Labels:
        """Sort one batch's labels and weights by task and take out what is missing.

        Args:
            y: The targets as they came: dict by task, or a list in the order of the outputs.
            y_pred: The model's output.
            sample_weight: None, one for all tasks, or one per task.

        Returns:
            The `Labels`.

        Raises:
            ValueError: A task without targets, or a loss that is not reduced to one number.
        """
        rows = self._by_task(y, y_pred, sample_weight)
        return {task: self._labels_of(task, *row) for task, row in rows.items()}

    def labels_for_keras(self, y: Any, y_pred: Any, sample_weight: Any, complete: bool) -> Labels:
        """Return `labels` for Keras's own losses and metrics, which see masks themselves.

        If it is certain that no label is missing (`complete`, or integers without a sentinel), the
        labels come as they are, and nothing is added to the graph.
        """
        found, changed = {}, []
        rows = self._by_task(y, y_pred, sample_weight)
        for task, (loss, target, prediction, weight) in rows.items():
            floating = target.dtype.is_floating
            whole = complete or not (floating or absent_labels(target, self._missing) is not None)
            if whole and loss.reduction not in (None, "none"):
                found[task] = TaskLabels(target, weight, weight, None, None)
            else:
                found[task] = self._labels_of(task, loss, target, prediction, weight)
                changed += [found[task].y] if found[task].y is not target else []
        if changed:
            # Labels that are refused end the step before any task's head has moved.
            with tf.control_dependencies(changed):
                found = {t: replace(own, y=tf.identity(own.y)) for t, own in found.items()}
        return found

    def _by_task(self, y: Any, y_pred: Any, sample_weight: Any) -> dict[str, tuple[Any, ...]]:
        """Return, per task, its loss, targets, predictions and sample weights."""
        y = take_columns(y, self._columns, "y", y_pred)
        sample_weight = take_columns(sample_weight, self._columns, "sample_weight", y_pred)
        y = by_output(y, self._names, y_pred, "y")
        weight = by_output(sample_weight, self._names, y_pred, "sample_weight", spread=True)
        predictions = by_output(y_pred, self._names, y_pred, "y_pred")
        absent = [task for task in self.tasks if y.get(task) is None]
        if absent:
            raise ValueError(
                f"Expected labels for every task {list(self.tasks)}. Received no labels for "
                f"{absent}: y has {[name for name in y if y[name] is not None]}. A label that is "
                "missing for single examples is NaN (or the `missing` sentinel), not an absent "
                "entry."
            )
        rows = {}
        for task in self.tasks:
            loss = self._resolve(task, y[task], predictions[task])
            if isinstance(y[task], (tf.RaggedTensor, tf.SparseTensor)):
                raise ValueError(
                    f"Expected labels that are dense. Received: {type(y[task]).__name__} for task "
                    f"{task!r}. Fill it up with what means missing: `labels.to_tensor(np.nan)`, or "
                    "`tf.sparse.to_dense(labels)` where an absent entry is 0."
                )
            target = tf.convert_to_tensor(y[task])
            if target.dtype == tf.string:
                raise ValueError(
                    f"Expected labels that are numbers. Received: strings for task {task!r}. Give "
                    "each class its number, with keras.layers.StringLookup for example."
                )
            self._dtypes[task] = loss.dtype
            rows[task] = (loss, target, predictions[task], weight[task])
        return rows

    def __call__(self, labels: Labels, y_pred: Any) -> list[tf.Tensor]:
        """Return the loss of every task on one batch.

        Args:
            labels: From `labels`.
            y_pred: The model's output.

        Returns:
            One scalar per task, unweighted by `loss_weights`, without regularisers and
            `add_loss`. Not stacked: that would connect every loss to every task's variables.
        """
        predictions = by_output(y_pred, self._names, y_pred, "y_pred")
        losses = []
        for task, own in labels.items():
            loss = self._resolve(task, own.y, predictions[task])
            value = loss(own.y, predictions[task], own.loss_weight)
            losses.append(keras.ops.convert_to_tensor(value))
        dtype = keras.backend.result_type(*(value.dtype for value in losses))
        return [tf.cast(value, dtype) for value in losses]

    def loss_weights(self, loss_weights: Any, y_pred: Any) -> list[Any]:
        """Return what was given to `compile(loss_weights=...)`, as a factor per task.

        Args:
            loss_weights: What was given: numbers, arrays without axes, tensors, or variables.
            y_pred: The model's output.

        Returns:
            Numbers, and scalar tensors where variables are read anew at every step.
        """
        if self._one_loss and len(given := keras.tree.flatten(loss_weights)) == 1:
            # Keras gives the weight of the one loss to all outputs, whatever name it stands under.
            loss_weights = given[0]
        weights = by_output(loss_weights, self._names, y_pred, "loss_weights", spread=True)
        return [factor(weights[task]) for task in self.tasks]

    def pack(self, by_task: Mapping[str, Any], like: Any, y_pred: Any) -> Any:
        """Put values by task back into the structure of the model's output.

        Args:
            by_task: One value per task.
            like: The structure they came from; outputs that are no task keep its entries.
            y_pred: The model's output, which gives the structure.

        Returns:
            A dict or list like `y_pred`.
        """
        values = by_output(like, self._names, y_pred, "y", spread=True)
        values.update(by_task)
        if isinstance(y_pred, Mapping):
            return {name: values[name] for name in y_pred}
        return [values[name] for name in self._names]

    def pack_weights(self, by_task: Mapping[str, Any], y_pred: Any) -> Any:
        """`pack` for sample weights: None when no task has any."""
        unweighted = all(weight is None for weight in by_task.values())
        return None if unweighted else self.pack(by_task, None, y_pred)

    @property
    def loss_names(self) -> dict[str, str]:
        """Task -> the name of its loss."""
        return {task: _name(loss) for task, loss in self._losses.items()}

    @property
    def loss_settings(self) -> dict[str, str]:
        """Task -> the name of its loss, with its settings."""
        return {task: named_with_settings(loss) for task, loss in self._losses.items()}

    @property
    def all_means(self) -> bool:
        """Whether no task's loss is a sum over the batch."""
        return all(getattr(loss, "reduction", "mean") != "sum" for loss in self._losses.values())

    def sizes(self, labels: Labels) -> list[Any]:
        """Return how much each task's loss of a batch weighs in its mean over several batches.

        Args:
            labels: The batch's, or this replica's part of them.

        Returns:
            One float64 scalar per task: what its loss divides by, up to a factor that is the same
            for all batches. For a sum, which divides by nothing, the size of the batch.
        """
        sizes = []
        for own, reduction in zip(labels.values(), self._reductions(), strict=True):
            counted = own.weight() if reduction == "mean_with_sample_weight" else own.counted()
            counted = None if reduction == "sum" else counted
            size = tf.size(own.y) if counted is None else tf.reduce_sum(counted)
            sizes.append(tf.cast(size, tf.float64))
        return sizes

    def shares(self, labels: Labels) -> list[Any]:
        """Return this replica's part of the losses of the global batch.

        Args:
            labels: This replica's, in replica context.

        Returns:
            One factor per task: the global loss is the sum over the replicas of factor x loss.
            1 on one device.
        """
        if num_replicas() == 1:
            return [1.0] * len(self.tasks)
        sizes = self.sizes(labels)
        totals = all_reduce_sum(sizes)
        # Keras divides the mean losses by the number of replicas; a sum it leaves alone.
        shares = []
        for task, reduction, size, total in zip(
            self.tasks, self._reductions(), sizes, totals, strict=True
        ):
            part = tf.math.divide_no_nan(size, total) / keras_share(self._dtypes[task])
            shares.append(1.0 if reduction == "sum" else part)
        return shares

    def _reductions(self) -> list[Any]:
        return [getattr(self._losses[task], "reduction", MEANS[0]) for task in self.tasks]

    def have_labels(self, labels: Labels) -> tf.Tensor:
        """Return which tasks have a label of non-zero weight in the global batch.

        Args:
            labels: This replica's, in replica context.

        Returns:
            `[num_tasks]` bool. A task without one has no step to take and no loss to measure.
        """
        weights = [own.weight() for own in labels.values()]
        some = [
            tf.size(own.y) > 0 if weight is None else tf.reduce_any(weight != 0)
            for own, weight in zip(labels.values(), weights, strict=True)
        ]
        return all_reduce_sum(tf.cast(tf.stack(some), tf.int64)) > 0

    def _labels_of(self, task: str, loss: Any, y: Any, y_pred: Any, weight: Any) -> TaskLabels:
        """Return one task's labels, with nothing missing in them."""

        def values(targets: Any) -> Any:
            return loss.call(
                keras.ops.convert_to_tensor(targets, dtype=loss.dtype),
                keras.ops.convert_to_tensor(y_pred, dtype=loss.dtype),
            )

        rank, masks_itself = self._shapes.get((task, len(y.shape)), (0, True))
        masks = [mask_of(y_pred)]
        if masks_itself:
            # Once to know the shape; always where the loss makes a mask of its own, such as
            # `SparseCategoricalCrossentropy(ignore_class=...)`.
            seen, keeps_state = evaluated(lambda: values(without_missing(y, self._missing)))
            if keeps_state:
                self.stateful.add(task)
            rank = len(seen.shape)
            if rank and loss.reduction in (None, "none"):
                raise ValueError(
                    "Expected losses that are one number for a batch. Received: a loss of task "
                    f"{task!r} with reduction={loss.reduction!r}. Give it reduction='sum', whose "
                    "gradient is what Keras takes, or 'sum_over_batch_size'."
                )
            self._shapes[task, len(y.shape)] = (rank, mask_of(seen) is not None)
            masks.append(mask_of(seen))
        unmasked = None
        for mask in (tf.cast(mask, loss.dtype) for mask in masks if mask is not None):
            unmasked = product(unmasked, mask)
        if rank < len(y.shape) < len(y_pred.shape):
            y = whole_labels(y, self._missing, task, rank)
        return hide_missing(y, weight, self._missing, unmasked, loss, rank)

    def _resolve(self, task: str, y: Any, y_pred: Any) -> Any:
        loss = self._losses[task]
        if isinstance(loss, str) and loss.lower() in ("crossentropy", "ce"):
            loss = _crossentropy(y, y_pred)
        loss = keras.losses.get(loss)
        return loss if isinstance(loss, keras.losses.Loss) else _FunctionLoss(loss)


def _crossentropy(y: Any, y_pred: Any) -> Any:
    """Return the loss that "crossentropy" means for these shapes, as in Keras."""
    if y_pred.shape[-1] == 1:
        return keras.losses.binary_crossentropy
    if len(y.shape) < len(y_pred.shape) or y.shape[-1] == 1:
        return keras.losses.sparse_categorical_crossentropy
    return keras.losses.categorical_crossentropy


def factor(weight: Any) -> Any:
    """Return a loss weight as a number, or as a scalar tensor where it may change.

    Args:
        weight: None (1), a number, an array without axes, a tensor or a variable. A variable is
            read where this is called: in a graph, at every step, as Keras reads it.
    """
    if weight is None:
        return 1.0
    if isinstance(weight, (keras.Variable, tf.Variable)) or tf.is_tensor(weight):
        return keras.ops.convert_to_tensor(weight)
    return float(weight)


def _name(loss: Any) -> str:
    if isinstance(loss, str):
        return loss
    return str(getattr(loss, "name", None) or getattr(loss, "__name__", type(loss).__name__))
