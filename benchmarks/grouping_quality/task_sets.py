"""The data sets: what every network of a table is trained on.

Two are planted by formula (`planted.py`); the digits are real and the Tox21 assays are a
counter-example, on which grouping hardly matters.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from benchmarks.grouping_quality.planted import planted_classes, planted_values
from keras_tag.datasets.digits import PROPERTIES, compose_digits

SPLITS = ("train", "validation", "test")

# The plain digits' binary tasks that are no property of the overlaid ones.
_DIVISIBLE_BY_3 = frozenset({0, 3, 6, 9})
# Assays of two families (nuclear receptors, stress response), as the file orders them.
_ASSAYS = ("NR-AR", "NR-AR-LBD", "NR-AhR", "NR-ER", "SR-ARE", "SR-MMP")


@dataclass(frozen=True)
class Split:
    """One split as arrays.

    Args:
        x: float32 `[size, num_features]`.
        y: float32 `[size, num_tasks]`; 0 where the label is missing.
        weight: float32 `[size, num_tasks]`: 0 where the label is missing, else one over the share
            of examples that have a label, so that a weighted mean over all is the mean over these.
    """

    x: np.ndarray
    y: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True)
class TaskSet:
    """A data set with several tasks, for one seed.

    Args:
        tasks: The names.
        binary: `[num_tasks]` bool: cross-entropy (nats) where true, else squared error of a
            target of mean 0 and variance 1.
        splits: "train", "validation", "test".
    """

    tasks: tuple[str, ...]
    binary: np.ndarray
    splits: dict[str, Split]


@dataclass(frozen=True)
class Layer:
    """A layer of a trunk: a product, BatchNormalization or a bias, relu, dropout.

    Args:
        units: How many units, or channels.
        kernel: The side of a convolution's window ("valid" padding); 0: Dense over all there is.
        stride: Of the convolution.
        batch_normalization: Whether the layer normalises, in place of a bias.
        dropout: The share of its outputs that are dropped.
    """

    units: int
    kernel: int = 0
    stride: int = 1
    batch_normalization: bool = False
    dropout: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """How every network of a set is trained, whatever its tasks.

    Args:
        units: The sizes of the trunk that are tried.
        learning_rate: Adam's.
        batch_size: Of training.
        epochs: The most epochs.
        patience: A network stops after so many epochs without a better validation loss.
        seeds: So many times every group is trained.
        trunk: The layers of a trunk of a size; None: one hidden layer of so many units.
        shape: Of an input: positions along one or two axes, then channels; None: a vector.
    """

    units: tuple[int, ...] = (24, 48)
    learning_rate: float = 0.005
    batch_size: int = 64
    epochs: int = 100
    patience: int = 8
    seeds: int = 5
    trunk: Callable[[int], tuple[Layer, ...]] | None = None
    shape: tuple[int, ...] | None = None


def overlaid(positions: int, properties: Sequence[str]) -> Callable[[int], TaskSet]:
    """Questions about overlapping digits.

    Args:
        positions: How many digits.
        properties: What is asked about each.

    Returns:
        A function of the seed.
    """

    def load(seed: int) -> TaskSet:
        composed = compose_digits(positions, properties, seed)
        tasks = tuple(composed["train"].labels)
        splits = {}
        for split, data in composed.items():
            x = data.images.reshape(len(data.images), -1)
            splits[split] = _labelled(x, np.concatenate([data.labels[t] for t in tasks], 1))
        return TaskSet(tasks, np.ones(len(tasks), bool), splits)

    return load


def plain_digits(seed: int) -> TaskSet:
    """One digit, five binary tasks about what it is and three values of how it is written."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)
    columns = {name: np.isin(digits.target, list(PROPERTIES[name])) for name in ("odd", "ge5")}
    columns |= {name: np.isin(digits.target, list(PROPERTIES[name])) for name in ("prime", "loop")}
    columns["divisible_by_3"] = np.isin(digits.target, list(_DIVISIBLE_BY_3))
    columns |= _written(images)
    binary = np.array([values.dtype == bool for values in columns.values()])
    y = np.stack(list(columns.values()), 1).astype(np.float64)
    return split_examples(
        images.reshape(len(images), -1), y, np.ones(y.shape, bool), binary, columns, seed
    )


def tox21(seed: int, folder: Path) -> TaskSet:
    """Six assays on 1,024-bit fingerprints of molecules, 7 to 26 % of the labels missing."""
    with np.load(folder / "tox21.npz") as file:
        x = np.unpackbits(file["Xbits"], axis=1).astype(np.float32)
        names = file["names"].tolist()
        y = file["Y"][:, [names.index(assay) for assay in _ASSAYS]].astype(np.float64)
    return split_examples(x, np.maximum(y, 0), y >= 0, np.ones(len(_ASSAYS), bool), _ASSAYS, seed)


def _written(images: np.ndarray) -> dict[str, np.ndarray]:
    """Ink: the mean pixel. Slant and width: moments of where the ink is."""
    total = images.sum((1, 2))
    rows, columns = np.mgrid[:8, :8]
    row = (images * rows).sum((1, 2)) / total
    column = (images * columns).sum((1, 2)) / total
    down, right = rows - row[:, None, None], columns - column[:, None, None]
    spread = (images * right**2).sum((1, 2)) / total
    tall = (images * down**2).sum((1, 2)) / total
    slant = (images * down * right).sum((1, 2)) / total / tall
    return {"ink": total / 64, "slant": slant, "width": np.sqrt(spread)}


def split_examples(x, y, labelled, binary, names, seed: int) -> TaskSet:
    """Split at random, another way for every seed: train 60 %, validation 20 %, test 20 %.

    Args:
        x: `[size, num_features]`.
        y: `[size, num_tasks]`; values are standardised by the training examples.
        labelled: `[size, num_tasks]` bool.
        binary: `[num_tasks]` bool.
        names: Of the tasks.
        seed: The seed.
    """
    order = np.random.default_rng([seed, 60, 20]).permutation(len(x))
    parts = np.split(order, [round(len(x) * 0.6), round(len(x) * 0.8)])
    # Standardised by the training examples alone.
    mean = np.where(binary, 0.0, y[parts[0]].mean(0))
    scale = np.where(binary, 1.0, y[parts[0]].std(0))
    splits = {
        name: _labelled(x[part], (y[part] - mean) / scale, labelled[part])
        for name, part in zip(SPLITS, parts, strict=True)
    }
    return TaskSet(tuple(map(str, names)), binary, splits)


def _labelled(x: np.ndarray, y: np.ndarray, labelled: np.ndarray | None = None) -> Split:
    if labelled is None:
        labelled = np.ones(y.shape, bool)
    weight = labelled / labelled.mean(0)
    return Split(x.astype(np.float32), (y * labelled).astype(np.float32), weight.astype(np.float32))


def _planted(make: Callable[[int], tuple]) -> Callable[[int], TaskSet]:
    def load(seed: int) -> TaskSet:
        tasks, binary, arrays = make(seed)
        return TaskSet(tasks, binary, {name: _labelled(*arrays[name]) for name in SPLITS})

    return load


# Name -> (how to load it for a seed, how to train on it).
TASK_SETS = MappingProxyType(
    {
        "overlaid2-odd-loop-prime": (overlaid(2, ("odd", "loop", "prime")), Recipe()),
        "overlaid3-loop-prime-composite": (
            overlaid(3, ("loop", "prime", "composite")),
            Recipe(),
        ),
        "overlaid3-odd-loop-prime": (overlaid(3, ("odd", "loop", "prime")), Recipe()),
        "plain-digits": (plain_digits, Recipe()),
        "planted-values": (_planted(planted_values), Recipe()),
        "planted-classes": (_planted(planted_classes), Recipe()),
        "tox21": (tox21, Recipe(learning_rate=0.001, batch_size=128, epochs=40, patience=5)),
    }
)
