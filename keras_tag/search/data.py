"""The data of a search: batches whose order follows from a training's seed and epoch alone.

Keras draws the order of arrays from TensorFlow's global generator, so that it depends on what ran
before. Here it is a function of the seed and of the epoch: a training gives the same network
whenever and wherever it runs, and goes on after an interruption with the batches that it would
have seen.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_tag.training.missing_labels import with_sentinels_kept


@dataclass(frozen=True)
class Batches:
    """One way through the data, for one training.

    Args:
        data: What Keras's `fit` or `evaluate` takes as `x`.
        callbacks: What `fit` needs beside it.
        repeatable: Whether every epoch's batches follow from the training's seed and the epoch.
    """

    data: Any
    callbacks: tuple[keras.callbacks.Callback, ...] = ()
    repeatable: bool = True


@dataclass(frozen=True, eq=False)
class Source:
    """Training or validation data, as a user gives them to `fit`.

    Args:
        x: Arrays, a batched `tf.data.Dataset`, a `PyDataset`, or a function that returns one of
            the latter two, or a tuple of arrays.
        y: Labels, with arrays.
        sample_weight: Weights, with arrays.
        batch_size: With arrays.
        shuffle: Whether arrays are shuffled before every epoch.
        output_names: The tasks in the order of a list of labels; None where labels are by name.
        steps: How many batches are read; None: all. Keras's `validation_steps` goes on where the
            last validation ended, so that networks were compared on different batches.
        missing: A label value that means "not labelled", next to NaN.
    """

    x: Any
    y: Any = None
    sample_weight: Any = None
    batch_size: int = 32
    shuffle: bool = False
    output_names: tuple[str, ...] | None = None
    steps: int | None = None
    missing: float | None = None
    _kept: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, given: Any, **settings: Any) -> "Source":
        """Return validation data as a `Source`.

        Args:
            given: `(x, y)`, `(x, y, sample_weight)` or a list of these, a dataset or a function.
            **settings: All but `x`, `y` and `sample_weight`.
        """
        return cls(*(given[:3] if isinstance(given, tuple | list) else (given,)), **settings)

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: arrays as they are used, and nothing that was made of them."""
        # To look again whether a dataset repeats itself would draw from it, and change its order.
        kept = {name: self._kept[name] for name in ("repeatable",) if name in self._kept}
        state = {**vars(self), "_kept": kept}
        if self.of_arrays:
            state.update(zip(("x", "y", "sample_weight"), self._arrays(), strict=False))
        return state

    @property
    def of_arrays(self) -> bool:
        """Whether these are arrays."""
        return not (callable(self.x) or isinstance(self.x, tf.data.Dataset | keras.utils.PyDataset))

    def batches(self, seed: int) -> Batches:
        """Return the data for a training; call it after the training's seed was set.

        Args:
            seed: The training's.
        """
        made = self._all(seed)
        if self.steps is None:
            return made
        return replace(made, data=as_dataset(made.data).take(self.steps))

    def _all(self, seed: int) -> Batches:
        """Return all batches."""
        if self.of_arrays:
            return self._ordered(seed)
        given = self._given()
        if isinstance(given, tuple | list):
            x, y, weight = (*given, None)[:3]
            return replace(self, x=x, y=y, sample_weight=weight, _kept={}).batches(seed)
        if "repeatable" not in self._kept:
            self._kept["repeatable"] = isinstance(given, tf.data.Dataset) and _same_order_twice(
                given
            )
        return Batches(self._named(given), (), self._kept["repeatable"])

    def _given(self) -> Any:
        """Return a dataset, or arrays that a function returned."""
        given = self.x() if callable(self.x) else self.x
        if not isinstance(given, tf.data.Dataset | keras.utils.PyDataset | tuple | list):
            raise ValueError(
                "Expected a function that returns a batched tf.data.Dataset, a PyDataset, (x, y), "
                f"or (x, y, sample_weight). It returned {type(given).__name__}."
            )
        return given

    def first_batch(self) -> Any:
        """Return one batch `(x, y)` or `(x, y, sample_weight)`, by task."""
        data = self.batches(0).data
        batch = next(iter(data)) if isinstance(data, tf.data.Dataset) else data[0]
        return tuple(batch)

    def inputs(self) -> Any:
        """Return dtypes and shapes of one batch of inputs, as plain JSON types; see `zeros`."""

        def said(leaf: Any) -> str:
            shape = (str(size or 1) for size in leaf.shape)
            return " ".join([tf.as_dtype(leaf.dtype).name, *shape])

        return keras.tree.map_structure(said, self.first_batch()[0])

    def fingerprint(self) -> list[int] | None:
        """Return checksums of the first batch, of what `describe` does not look into.

        Returns:
            None for arrays, and for batches that come in another order every time.
        """
        if self.of_arrays:
            return None
        seen = []
        for _ in range(2):
            keras.utils.set_random_seed(0)  # A function may shuffle.
            first = self._given()
            if isinstance(first, tuple | list):
                parts = [part for part in first if part is not None]
                first = keras.tree.map_structure(lambda leaf: _array(leaf)[:32], parts)
            else:
                first = next(iter(first)) if isinstance(first, tf.data.Dataset) else first[0]
            seen.append(_checksums(first))
        return seen[0] if seen[0] == seen[1] else None

    def describe(self) -> Any:
        """Return what can be compared with another run of the script, as plain JSON types."""
        if callable(self.x):
            return "a function"
        if isinstance(self.x, keras.utils.PyDataset):
            return type(self.x).__name__
        if isinstance(self.x, tf.data.Dataset):
            return str(self.x.element_spec)
        leaves = keras.tree.flatten(self._arrays())
        said = [f"{leaf.dtype}{list(leaf.shape)}:{_checksum(leaf):08x}" for leaf in leaves]
        return [*said, f"batch_size={self.batch_size}", f"shuffle={self.shuffle}"]

    def split(self, share: float) -> tuple["Source", "Source"]:
        """Return the first and the last part, as Keras's `validation_split` does.

        Args:
            share: Of the last part.
        """
        if not self.of_arrays:
            raise ValueError(
                "Expected arrays with `validation_split`. Received: "
                f"x={type(self.x).__name__}. Give `validation_data`."
            )
        arrays = self._arrays()
        length = len(keras.tree.flatten(arrays)[0])
        at = int(np.floor(length * (1.0 - share)))

        def part(rows: slice, shuffle: bool) -> Source:
            own = keras.tree.map_structure(lambda leaf: leaf[rows], arrays)
            x, y, weight = (*own, None)[:3]
            return Source(x, y, weight, self.batch_size, shuffle, self.output_names)

        return part(slice(at), self.shuffle), part(slice(at, None), False)

    def _arrays(self) -> tuple[Any, ...]:
        """Return inputs and labels by task, and weights if there are any."""
        if "arrays" not in self._kept:
            if self.y is None:
                raise ValueError("Expected labels `y` with arrays. Received: y=None.")
            # Before the labels are cast: a sentinel that was rounded is no sentinel afterwards.
            labels = with_sentinels_kept(self.y, self.missing)
            given = [part for part in (self.x, labels, self.sample_weight) if part is not None]
            x, *rest = (keras.tree.map_structure(_array, part) for part in given)
            lengths = {len(leaf) if leaf.ndim else None for leaf in keras.tree.flatten((x, rest))}
            if len(lengths) > 1 or None in lengths:
                raise ValueError(
                    "Expected arrays of equally many examples in x, y and sample_weight. Received: "
                    f"{sorted(map(str, lengths))} examples."
                )
            self._kept["arrays"] = (x, *by_name(rest, self.output_names))
        kept: tuple[Any, ...] = self._kept["arrays"]
        return kept

    def _ordered(self, seed: int) -> Batches:
        if "tensors" not in self._kept:
            with tf.device("CPU"):
                self._kept["tensors"] = keras.tree.map_structure(
                    tf.convert_to_tensor, self._arrays()
                )
        tensors = self._kept["tensors"]
        length = len(keras.tree.flatten(tensors)[0])
        epoch = tf.Variable(0, dtype="int64", trainable=False)

        def order(_: Any) -> Any:
            if not self.shuffle:
                return tf.range(length)
            seeds = tf.stack([tf.constant(seed, "int64"), epoch])
            return tf.argsort(tf.random.stateless_uniform([length], seeds), stable=True)

        data = (
            tf.data.Dataset.range(1)
            .map(order)
            .flat_map(lambda rows: tf.data.Dataset.from_tensor_slices(rows).batch(self.batch_size))
            .map(lambda rows: _taken(tensors, rows))
            .apply(tf.data.experimental.assert_cardinality(-(-length // self.batch_size)))
            .prefetch(tf.data.AUTOTUNE)
        )
        # Before Keras asks for the first batch.
        note = keras.callbacks.LambdaCallback(on_epoch_begin=lambda k, logs: epoch.assign(k))
        return Batches(data, (note,) if self.shuffle else ())

    def _named(self, given: Any) -> Any:
        names = self.output_names
        if isinstance(given, tf.data.Dataset):
            _, *rest = given.element_spec
            if any(isinstance(part, list | tuple) for part in rest):
                return given.map(lambda x, *rest: (x, *by_name(rest, names)))
        elif isinstance(given[0][1], list | tuple):
            raise ValueError(
                "Expected a PyDataset whose labels are dicts by task, with the names of the "
                "model's outputs. Received: a list of labels."
            )
        return given


class Position(keras.callbacks.Callback):
    """Batches without end that go on where a run was that is taken up again.

    A `TAGModel` draws one batch per probe. As a callback it must come after what restores a run.

    Args:
        batches: Batches of `(x, y)` or `(x, y, sample_weight)`, with labels by task.
    """

    def __init__(self, batches: tf.data.Dataset | keras.utils.PyDataset) -> None:
        super().__init__()
        batches = as_dataset(batches)
        self._seen = tf.Variable(0, dtype="int64", trainable=False)
        self.data = tf.data.Dataset.range(1).flat_map(lambda _: batches.repeat().skip(self._seen))

    def on_train_begin(self, logs: Any = None) -> None:
        """Note how many batches were drawn before."""
        self._seen.assign(self.model.probes)


def as_dataset(batches: tf.data.Dataset | keras.utils.PyDataset) -> tf.data.Dataset:
    """Return batches as a dataset.

    Args:
        batches: Of `(x, y)` or `(x, y, sample_weight)`, with labels by task.
    """
    if isinstance(batches, tf.data.Dataset):
        return batches

    def several(*leaves: Any) -> tf.TensorSpec:
        sizes = zip(*(leaf.shape[1:] for leaf in leaves), strict=True)
        shape = (own[0] if len(set(own)) == 1 else None for own in sizes)
        return tf.TensorSpec([None, *shape], leaves[0].dtype)

    # Keras, too, looks at two batches for what has another length in each.
    first = [_unstacked(batches[k]) for k in range(min(len(batches), 2))]
    specs = keras.tree.map_structure(several, *first)

    def every() -> Iterator[Any]:
        return (_unstacked(batches[k]) for k in range(len(batches)))

    return tf.data.Dataset.from_generator(every, output_signature=specs)


def by_name(parts: Sequence[Any], names: Sequence[str] | None) -> tuple[Any, ...]:
    """Return labels and weights by task, where they came as lists.

    Args:
        parts: Labels, and weights if there are.
        names: The tasks in the order of the lists; None: there are no lists.
    """
    if names is None:
        return tuple(parts)
    return tuple(
        dict(zip(names, part, strict=True)) if isinstance(part, list | tuple) else part
        for part in parts
    )


def zeros(inputs: Any) -> Any:
    """Return a batch of zeros, by which a network can be built and its work be counted.

    Args:
        inputs: As `Source.inputs` gives them.
    """

    def made(text: str) -> tf.Tensor:
        dtype, *shape = text.split()
        return tf.zeros([int(size) for size in shape], dtype)

    return keras.tree.map_structure(made, inputs)


def _taken(tensors: Any, rows: tf.Tensor) -> Any:
    return _unstacked(keras.tree.map_structure(lambda tensor: tf.gather(tensor, rows), tensors))


def _unstacked(lists: Any) -> Any:
    """Return a batch with tuples for lists, which tf.data would stack."""
    return keras.tree.traverse(lambda s: tuple(s) if isinstance(s, list) else None, lists, False)


def _checksum(array: np.ndarray) -> int:
    """Return a checksum of all values; rows at a time, so that no whole copy is made."""
    found = 0
    for k in range(0, len(array), 4096):
        found = zlib.crc32(_bytes(array[k : k + 4096]), found)
    return found


def _bytes(array: np.ndarray) -> bytes:
    """Return the values; an array of texts has only their addresses."""
    return repr(array.tolist()).encode() if array.dtype == object else array.tobytes()


def _array(leaf: Any) -> np.ndarray:
    """Return an array as Keras's `fit` takes it: floats in Keras's own precision."""
    array = np.asarray(leaf)
    if np.issubdtype(array.dtype, np.floating) and str(array.dtype) != keras.config.floatx():
        array = array.astype(keras.config.floatx())
    return array


def _same_order_twice(data: tf.data.Dataset) -> bool:
    """Tell whether the first batches of two ways through are the same."""
    seen = [[_checksums(batch) for batch in data.take(2)] for _ in range(2)]
    return seen[0] == seen[1]


def _checksums(batch: Any) -> list[int]:
    leaves = tf.nest.flatten(batch, expand_composites=True)
    return [zlib.crc32(_bytes(np.ascontiguousarray(leaf))) for leaf in leaves]
