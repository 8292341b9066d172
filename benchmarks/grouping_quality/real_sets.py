"""The sets whose data come from files, for deeper networks.

The files are not part of the repository: `--data FOLDER` says where they are.

- `mnist10k.npz`: the 10,000 MNIST test images (LeCun, Cortes, Burges), `images` and `labels`.
- `wq.npz`, `oes97.npz`: "Water quality" (Dzeroski et al. 2000) and the employment survey of 1997
  (Spyromitros-Xioufis et al. 2016) of the Mulan collection, `X`, `Y`, `names`.
- `sider.npz`: side effects of 1,427 drugs (SIDER), `smiles`, `Xbits` (1,024-bit Morgan
  fingerprints, packed), `Y`, `names`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np

from benchmarks.grouping_quality.task_sets import (
    SPLITS,
    Layer,
    Recipe,
    Split,
    TaskSet,
    split_examples,
)

_SIZES = {"train": 1200, "validation": 400, "test": 1600}  # Of the images.
_SIDE, _SHIFT = 14, 6


def water_quality(seed: int, folder: Path) -> TaskSet:
    """Eight of 14 species' abundances in rivers: those found in most samples. 16 measurements."""
    with np.load(folder / "wq.npz") as file:
        x, y, names = file["X"], file["Y"].astype(np.float64), file["names"]
    chosen = np.sort(np.argsort(-(y > 0).mean(0), kind="stable")[:8])
    return _values(x.astype(np.float64), y[:, chosen], names[chosen], seed)


def employment(seed: int, folder: Path, step: int = 2) -> TaskSet:
    """Eight of 16 professions in 334 cities, every second in the file. All are logarithms.

    Args:
        seed: Of the split.
        folder: Where the file is.
        step: 1: all 16 professions.
    """
    with np.load(folder / "oes97.npz") as file:
        x, y, names = file["X"], file["Y"], file["names"]
    chosen = slice(0, None, step)
    return _values(np.log1p(x), np.log1p(y[:, chosen].astype(np.float64)), names[chosen], seed)


def side_effects(seed: int, folder: Path, count: int = 8) -> TaskSet:
    """Eight of 27 side effects, from fingerprints folded to 256 bits.

    Args:
        seed: Of the split.
        folder: Where the file is.
        count: How many side effects, those that most nearly half of the drugs have.
    """
    with np.load(folder / "sider.npz") as file:
        bits = np.unpackbits(file["Xbits"], axis=1)
        y, names = even_side_effects(file, count)
    x = bits.reshape(len(bits), 4, 256).max(1).astype(np.float32)
    return split_examples(x, y, np.ones(y.shape, bool), np.ones(len(names), bool), names, seed)


def images(seed: int, folder: Path) -> TaskSet:
    """One digit of 14 x 14 pixels: three classes and four values measured from its image."""
    pictures, labels = _mnist(folder)
    order = np.random.default_rng([seed, 14]).permutation(len(pictures))
    splits, begin = {}, 0
    for split, size in _SIZES.items():
        rows = order[begin : begin + size]
        begin += size
        measured = _measured(pictures[rows], labels[rows])
        splits[split] = (_reduced(pictures[rows]), measured)
    return _standardised(splits, ("odd", "ge5", "loop"))


def two_images(seed: int, folder: Path) -> TaskSet:
    """Two digits that overlap on 14 x 14 pixels: seven questions about the left and the right."""
    pictures, labels = _mnist(folder)
    order = np.random.default_rng([seed, 28]).permutation(len(pictures))
    splits, begin = {}, 0
    for split, size in _SIZES.items():
        sides = {}
        shown = []
        for side, shift in (("left", -_SHIFT), ("right", _SHIFT)):
            rows = order[begin : begin + size]
            begin += size
            measured = _measured(pictures[rows], labels[rows])
            kept = ("odd", "loop", "slant") if side == "left" else ("odd", "loop", "slant", "width")
            sides |= {f"{side}_{name}": measured[name] for name in kept}
            shown.append(np.roll(pictures[rows], shift, axis=2))
        splits[split] = (_reduced(np.maximum(*shown)), sides)
    return _standardised(splits, ("left_odd", "left_loop", "right_odd", "right_loop"))


def _mnist(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(folder / "mnist10k.npz") as file:
        return file["images"], file["labels"]


def _reduced(pictures: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 pixels, from 0 to 1, one row a picture."""
    small = pictures.reshape(-1, _SIDE, 2, _SIDE, 2).mean((2, 4)) / 255
    return small.reshape(len(small), -1).astype(np.float32)


def _measured(pictures: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Classes of the digit, and what is measured from its pixels of more than half ink.

    A loop is a hole in the ink. Thickness is ink over edge pixels; slant, width and height are
    second moments of the ink.
    """
    from scipy.ndimage import label

    found: dict[str, list[float]] = {
        name: [] for name in ("loop", "slant", "thickness", "width", "height")
    }
    for picture in pictures:
        ink = picture > 127
        # Ground that touches the border is one region, every hole another.
        found["loop"].append(label(np.pad(~ink, 1, constant_values=True))[1] > 1)
        row, column = np.nonzero(ink)
        down, right = row - row.mean(), column - column.mean()
        inner = ink[1:-1, 1:-1] & ink[:-2, 1:-1] & ink[2:, 1:-1] & ink[1:-1, :-2] & ink[1:-1, 2:]
        found["slant"].append((down * right).mean() / (down**2).mean())
        found["thickness"].append(ink.sum() / (ink.sum() - inner.sum()))
        found["width"].append(right.std())
        found["height"].append(down.std())
    classes = {"odd": labels % 2 == 1, "ge5": labels >= 5}
    return classes | {name: np.array(values) for name, values in found.items()}


def _standardised(
    splits: dict[str, tuple[np.ndarray, dict[str, np.ndarray]]], binary: Sequence[str]
) -> TaskSet:
    tasks = tuple(splits["train"][1])
    is_binary = np.isin(tasks, list(binary))
    y = {name: np.stack([part[1][t] for t in tasks], 1) for name, part in splits.items()}
    mean = np.where(is_binary, 0.0, y["train"].mean(0))
    scale = np.where(is_binary, 1.0, y["train"].std(0))
    made = {}
    for name, (x, _) in splits.items():
        labels = ((y[name] - mean) / scale).astype(np.float32)
        made[name] = Split(x, labels, np.ones_like(labels))
    return TaskSet(tasks, is_binary, made)


def even_side_effects(file: np.lib.npyio.NpzFile, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels and names of the side effects of which most nearly half of the drugs have each."""
    y = file["Y"].astype(np.float64)
    chosen = np.sort(np.argsort(np.abs(y.mean(0) - 0.5), kind="stable")[:count])
    return y[:, chosen], file["names"][chosen]


def _values(x: np.ndarray, y: np.ndarray, names: np.ndarray, seed: int) -> TaskSet:
    """Split, and standardise the features by the training examples alone."""
    none = np.zeros(y.shape[1], bool)
    made = split_examples(x, y, np.ones(y.shape, bool), none, names, seed)
    train = made.splits["train"].x
    mean, scale = train.mean(0), np.maximum(train.std(0), 1e-6)
    splits = {
        name: Split(((made.splits[name].x - mean) / scale), *_labels(made.splits[name]))
        for name in SPLITS
    }
    return TaskSet(tuple(map(str, names)), none, splits)


def _labels(split: Split) -> tuple[np.ndarray, np.ndarray]:
    return split.y, split.weight


def _dense(count: int, dropout: float) -> Callable[[int], tuple[Layer, ...]]:
    return lambda units: (Layer(units, dropout=dropout),) * count


def _convolutions(units: int) -> tuple[Layer, ...]:
    """Three, to 6 x 6, 4 x 4 and 2 x 2 positions."""
    return (
        Layer(units, 3, 2, batch_normalization=True),
        Layer(2 * units, 3, batch_normalization=True),
        Layer(2 * units, 3, batch_normalization=True),
    )


_IMAGES = Recipe(
    units=(3, 8),
    learning_rate=0.004,
    batch_size=50,
    epochs=25,
    patience=4,
    seeds=3,
    trunk=_convolutions,
    shape=(_SIDE, _SIDE, 1),
)

# Name -> (how to load it for a seed from a folder, how to train on it).
REAL_SETS = MappingProxyType(
    {
        "wq": (
            water_quality,
            Recipe((12, 48), 0.003, 32, 60, 6, trunk=_dense(3, 0.1)),
        ),
        "oes97": (
            employment,
            Recipe((6, 32), 0.003, 16, 80, 8, trunk=_dense(2, 0.2)),
        ),
        "sider": (
            side_effects,
            Recipe((12, 48), 0.002, 64, 40, 5, trunk=_dense(2, 0.3)),
        ),
        "mnist-image": (images, _IMAGES),
        "mnist-overlaid": (two_images, _IMAGES),
    }
)
