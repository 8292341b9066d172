"""Missing labels: which ones are missing, and the sample weights that leave them out of a loss.

A label that is NaN, or equals the sentinel `missing`, is replaced by zero and weighted to zero. The
others are weighted up, so that a mean is over the labelled. A Keras mask on a model's output leaves
positions out as well; a loss then is the mean over the positions that are labelled and unmasked.

What a loss reduces by itself (the last axis of a one-hot vector, of a surface normal) is one label;
everything before it may be missing on its own: an example, a token, a pixel.
"""

import math
import numbers
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

# How many examples are looked at in one go, to need little memory.
_AT_ONCE = 4096

# Floating dtypes that may hold another number than a sentinel.
_NARROW = ("float16", "bfloat16", "float32")

# Reductions that divide by the number of values, whatever their weights.
MEANS = ("sum_over_batch_size", "mean")


@dataclass(frozen=True, eq=False)
class TaskLabels:
    """One task's labels in one batch, with nothing missing in them any more.

    Args:
        y: The targets, missing ones replaced by zero.
        loss_weight: The sample weights to give to the Keras loss: None, or the sample weights times
            `labelled`, scaled up for what is missing.
        metric_weight: The same without the scaling, for `weighted_metrics`.
        labelled: 1 where there is a label and 0 where it is missing; None where none can be.
        unmasked: 1 where Keras's masks let a value of the loss count, else 0; None without masks.
    """

    y: tf.Tensor
    loss_weight: tf.Tensor | None
    metric_weight: tf.Tensor | None
    labelled: tf.Tensor | None
    unmasked: tf.Tensor | None

    def counted(self) -> tf.Tensor | None:
        """Return 1 where a position is labelled and unmasked, else 0; None where all are."""
        return product(self.labelled, self.unmasked)

    def weight(self) -> tf.Tensor | None:
        """Return what a position weighs in the loss, before any mean; None where all weigh 1."""
        return product(self.metric_weight, self.unmasked)


def check_missing(missing: Any) -> None:
    """Check what a user says of labels that are missing.

    Args:
        missing: The argument.

    Raises:
        ValueError: It is neither None nor a number.
    """
    if missing is not None and not isinstance(missing, numbers.Real):
        raise ValueError(
            "Expected `missing` to be one number that means 'not labelled' in the labels of every "
            f"task, or None. Received: missing={missing!r}. Replace other marks by NaN in the data."
        )


def product(first: tf.Tensor | None, second: tf.Tensor | None) -> tf.Tensor | None:
    """Return the product of two weights of the same positions, of which each may be None (1)."""
    if first is None or second is None:
        return second if first is None else first
    rank = max(len(first.shape), len(second.shape))
    return aligned(first, rank) * tf.cast(aligned(second, rank), first.dtype)


def hide_missing(
    y: tf.Tensor,
    weight: tf.Tensor | None,
    missing: float | None,
    unmasked: tf.Tensor | None,
    loss: Any,
    rank: int,
) -> TaskLabels:
    """Take the missing labels out of a batch.

    Args:
        y: The targets as they came.
        weight: The sample weights as they came, or None.
        missing: A label value that means "not labelled", next to NaN; None: only NaN.
        unmasked: See `TaskLabels`.
        loss: The `keras.losses.Loss` that is to see them.
        rank: How many axes the loss's values have before they are reduced.

    Returns:
        The `TaskLabels`. Where nothing is missing, the loss with `loss_weight` is bit for bit the
        loss with `weight`.
    """
    weight = None if weight is None else tf.convert_to_tensor(weight)
    absent = absent_labels(y, missing)
    if rank == 0:
        if absent is not None:
            message = (
                f"Expected a label for every example: the loss {loss.name!r} returns one number "
                "for the whole batch, and can't leave out the ones that are missing. Received "
                "missing labels. Use a loss that returns a number per example."
            )
            y = _if_equal(y, tf.reduce_any(absent), False, message)
        return TaskLabels(y, weight, weight, None, None)
    if absent is None:
        return TaskLabels(y, weight, weight, None, unmasked)
    y = tf.where(absent, tf.zeros_like(y), y)
    # The axes that the loss reduces hold one label: it is there when all of it is.
    reduced = list(range(rank, len(y.shape)))
    labelled = tf.cast(~tf.reduce_any(absent, axis=reduced), loss.dtype)
    metric_weight = labelled
    if weight is not None:
        metric_weight = aligned(tf.cast(weight, loss.dtype), rank) * labelled
    loss_weight = metric_weight
    if loss.reduction in MEANS:
        # The loss divides by all positions; with a Keras mask, by the unmasked ones.
        if unmasked is None:
            divisor, counted = tf.size(labelled, out_type=tf.int64), labelled
        else:
            unmasked = tf.broadcast_to(aligned(unmasked, rank), tf.shape(labelled))
            divisor, counted = tf.math.count_nonzero(unmasked), labelled * unmasked
        # Of whole numbers, so that it is exactly 1 where nothing is missing.
        scale = tf.math.divide_no_nan(
            tf.cast(divisor, tf.float64), tf.cast(tf.math.count_nonzero(counted), tf.float64)
        )
        loss_weight = metric_weight * tf.cast(scale, loss.dtype)
    return TaskLabels(y, loss_weight, metric_weight, labelled, unmasked)


def _if_equal(y: tf.Tensor, one: Any, other: Any, message: str) -> tf.Tensor:
    """Return the targets after an assertion."""
    equal = tf.debugging.assert_equal(one, other, message)
    with tf.control_dependencies([] if equal is None else [equal]):
        return tf.identity(y)


def whole_labels(y: tf.Tensor, missing: float | None, task: str, rank: int) -> tf.Tensor:
    """Return targets without the outputs' last axis, of which none may be missing on its own.

    Keras then takes an axis of positions for the last axis, over which a loss takes its mean.

    Args:
        y: The targets as they came.
        missing: As in `hide_missing`.
        task: Whose they are.
        rank: As in `hide_missing`.
    """
    absent = absent_labels(y, missing)
    if absent is None:
        return y
    axes = list(range(rank, len(y.shape)))
    message = (
        f"Expected labels of task {task!r} with as many axes as its output, where single ones are "
        f"missing. Received: y of shape {tuple(y.shape)}, whose last axis the loss takes for one "
        "label. Give y[..., None]."
    )
    return _if_equal(y, tf.reduce_any(absent, axes), tf.reduce_all(absent, axes), message)


def without_missing(y: tf.Tensor, missing: float | None) -> tf.Tensor:
    """Return the targets with zero for every number that is missing."""
    absent = absent_labels(y, missing)
    return y if absent is None else tf.where(absent, tf.zeros_like(y), y)


def absent_labels(y: tf.Tensor, missing: float | None) -> tf.Tensor | None:
    """Return where labels are missing, a bool tensor like `y`; None where none can be.

    Args:
        y: The targets.
        missing: The sentinel. It is compared as a number: a dtype that can't hold it (-1 beside
            bool or uint8 labels, 0.5 beside integers) has none missing. A sentinel for floats is
            rounded to their dtype, as the labels were.
    """
    if y.dtype.is_floating:
        absent = tf.math.is_nan(y)
        if missing is None or math.isnan(missing):
            return absent
        sentinel = tf.cast(tf.constant(float(missing), "float64"), y.dtype)
        if missing == 0:
            return absent | (y == 0)
        # Too small a sentinel is rounded to 0, which is a label.
        return absent | ((y == sentinel) & (sentinel != 0))
    if missing is None or not math.isfinite(missing) or missing != int(missing):
        return None
    if y.dtype.is_bool:
        return y == bool(missing) if missing in (0, 1) else None
    if not y.dtype.is_integer or not y.dtype.min <= int(missing) <= y.dtype.max:
        return None
    return tf.equal(y, tf.constant(int(missing), y.dtype))


def with_sentinels_kept(y: Any, missing: float | None) -> Any:
    """Return labels in which the sentinel stays one when Keras casts them to its own precision.

    A dtype that can't hold the sentinel holds a number near it: float16 holds 10000 for 9999. Cast
    to float32, that is another number than the sentinel.

    Args:
        y: What `fit` got as `y`: None, or a structure of arrays or tensors.
        missing: As for `absent_labels`.

    Returns:
        The same structure, with NaN for the sentinel in arrays where it would be lost.
    """
    if missing is None or y is None:
        return y
    return keras.tree.map_structure(lambda leaf: _with_sentinel_kept(leaf, missing), y)


def _with_sentinel_kept(leaf: Any, missing: float) -> Any:
    if str(getattr(getattr(leaf, "dtype", None), "name", "")) not in _NARROW:
        return leaf
    if isinstance(leaf, (tf.RaggedTensor, tf.SparseTensor)):
        return leaf
    labels, precision = np.asarray(leaf), keras.config.floatx()
    with np.errstate(over="ignore"):
        held = np.asarray(missing, "float64").astype(labels.dtype)
        kept = held.astype(precision) == np.asarray(missing, "float64").astype(precision)
    if kept or held == 0 or not (lost := labels == held).any():
        return leaf
    return np.where(lost, np.nan, labels.astype(precision))


def known_complete(y: Any, missing: float | None) -> bool:
    """Return whether no label is missing, as far as it can be seen before training.

    Args:
        y: What `fit` got as `y`: None, or a structure of arrays or tensors.
        missing: As for `absent_labels`.

    Returns:
        False also where it can't be seen: labels that a dataset makes, or of another kind.
    """
    y = with_sentinels_kept(y, missing)
    leaves = [leaf for leaf in keras.tree.flatten(y) if leaf is not None]
    return bool(leaves) and all(_is_complete(leaf, missing) for leaf in leaves)


def _is_complete(leaf: Any, missing: float | None) -> bool:
    if isinstance(leaf, (tf.RaggedTensor, tf.SparseTensor)) or not hasattr(leaf, "shape"):
        return False
    labels = np.asarray(leaf)
    if labels.dtype.kind not in "fiub" or not labels.ndim:
        return False
    if labels.dtype.kind == "f":
        # As a training step sees it.
        labels = labels.astype(keras.config.floatx(), copy=False)
    for first in range(0, len(labels), _AT_ONCE):
        absent = absent_labels(tf.constant(labels[first : first + _AT_ONCE]), missing)
        if absent is not None and tf.reduce_any(absent):
            return False
    return True


def aligned(weight: tf.Tensor, rank: int) -> tf.Tensor:
    """Return a weight with as many axes as the values that it weighs."""
    while len(weight.shape) > rank and weight.shape[-1] == 1:
        weight = tf.squeeze(weight, -1)
    while len(weight.shape) < rank:
        weight = weight[..., None]
    return weight
