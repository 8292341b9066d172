"""The first batch of what `fit` would be given."""

import math
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_tag.tag_model.checks import check_whole
from keras_tag.training.missing_labels import known_complete, with_sentinels_kept


@dataclass(frozen=True, eq=False)
class FirstBatch:
    """One batch, and what its data tell of all others.

    Args:
        data: `(x, y)` or `(x, y, sample_weight)`, arrays or tensors.
        size: How many examples it has.
        complete: Whether it is certain of all the data that no label is missing.
        steps: How many batches an epoch has; None if that is not known.
    """

    data: tuple[Any, ...]
    size: int
    complete: bool
    steps: int | None

    @classmethod
    def of(
        cls, x: Any, y: Any, sample_weight: Any, batch_size: int | None, missing: float | None
    ) -> "FirstBatch":
        """Take the first batch.

        Args:
            x: As for `fit`.
            y: As for `fit`.
            sample_weight: As for `fit`.
            batch_size: As for `fit`.
            missing: As for `TAGModel`.

        Raises:
            ValueError: These are no data that `fit` could be given; or taking a batch of them would
                lose it.
        """
        if isinstance(x, (tf.data.Dataset, keras.utils.PyDataset)):
            source = "Dataset" if isinstance(x, tf.data.Dataset) else "PyDataset"
            beside = {"y": y, "sample_weight": sample_weight, "batch_size": batch_size}
            if given := [name for name, value in beside.items() if value is not None]:
                raise ValueError(
                    f"Expected `x` alone where it is a {source}, whose batches hold all else. "
                    f"Received also: {given}."
                )
            data, steps = _of_batches(x, source)
            return cls(data, _examples(data), False, steps)
        if hasattr(x, "__next__") or isinstance(x, tf.distribute.DistributedDataset):
            raise ValueError(
                "Expected arrays, one batch, a tf.data.Dataset or a PyDataset. Received: "
                f"x={type(x).__name__}, which can't give a batch twice. Give one batch of it, "
                "`check(*batch)`."
            )
        if y is None:
            raise ValueError(
                "Expected labels `y` beside arrays. Received: y=None. A batch `(x, y)` is given as "
                "`check(x, y)`."
            )
        # 32 is Keras's default.
        size = check_whole("batch_size", 32 if batch_size is None else batch_size)
        y = with_sentinels_kept(y, missing)
        given = keras.utils.pack_x_y_sample_weight(x, y, sample_weight)
        data = keras.tree.map_structure(_array, given)
        rows = _examples(data)
        if rows > size:
            # Spread over the data, which `fit` shuffles: they may be sorted.
            chosen = np.unique(np.linspace(0, rows - 1, size).round().astype(int))
            data = keras.tree.map_structure(lambda leaf: _take(leaf, chosen), data)
        complete = known_complete(y, missing)
        # Fewer may be one batch of many.
        steps = math.ceil(rows / size) if rows > size else None
        return cls(data, min(rows, size), complete, steps)


def _of_batches(x: Any, source: str) -> tuple[tuple[Any, ...], int | None]:
    """Return the first batch, and how many there are."""
    if source == "PyDataset":
        steps, batch = x.num_batches, x[0]
    else:
        steps = int(x.cardinality())
        batch = next(iter(x), None)
    if batch is None or steps == 0:
        raise ValueError(f"Expected a {source} with at least one batch. Received: none.")
    if not isinstance(batch, tuple | list) or not 2 <= len(batch) <= 3:
        raise ValueError(
            f"Expected batches `(x, y)` or `(x, y, sample_weight)`. Received: a {source} of "
            f"{type(batch).__name__}."
        )
    return tuple(batch), None if steps is None or steps < 0 else int(steps)


def _examples(data: tuple[Any, ...]) -> int:
    """Return how many examples the parts of a batch have."""
    lengths: dict[int | None, str] = {}
    for what, part in zip(("x", "y", "sample_weight"), data, strict=False):
        for path, leaf in keras.tree.flatten_with_path(part):
            if leaf is not None:
                shape = leaf.shape if hasattr(leaf, "shape") else np.shape(leaf)
                length = int(shape[0]) if len(shape) else None
                # The first of each length: a list of numbers has many.
                lengths.setdefault(length, f"{what}{list(path) or ''}")
    size, *others = lengths or [None]
    if others or not size:
        said = [f"{'one number' if n is None else n} in {name}" for n, name in lengths.items()]
        raise ValueError(
            "Expected inputs and labels of as many examples, at least one. Received: "
            f"{', '.join(said) or 'none'}. A dataset of single examples needs `dataset.batch(32)`."
        )
    return size


def _array(leaf: Any) -> Any:
    """Return an array or tensor as Keras's `fit` takes it: floats in Keras's own precision."""
    if isinstance(leaf, (tf.RaggedTensor, tf.SparseTensor)):
        return leaf
    if tf.is_tensor(leaf):
        return tf.cast(leaf, keras.config.floatx()) if leaf.dtype.is_floating else leaf
    array = np.asarray(leaf)
    return array.astype(keras.config.floatx()) if array.dtype.kind == "f" else array


def _take(leaf: Any, rows: np.ndarray) -> Any:
    return leaf[rows] if isinstance(leaf, np.ndarray) else tf.gather(leaf, rows)
