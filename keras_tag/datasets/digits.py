"""Overlaid handwritten digits as arrays.

The digits are the 1,797 of 8 x 8 pixels in scikit-learn's `load_digits` (a part of the UCI
"Optical Recognition of Handwritten Digits"). This module never imports TensorFlow.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keras_tag.datasets.checks import check_at_least_1, chosen_tasks

# Property -> the digits that have it.
PROPERTIES: dict[str, frozenset[int]] = {
    "loop": frozenset({0, 4, 6, 8, 9}),
    "prime": frozenset({2, 3, 5, 7}),
    "composite": frozenset({4, 6, 8, 9}),
    "odd": frozenset({1, 3, 5, 7, 9}),
    "ge5": frozenset({5, 6, 7, 8, 9}),
}

_SIDE = 8  # A digit is 8 x 8 pixels ...
_STEP = 5  # ... and the next one starts 5 columns further right, so 3 columns overlap.
_INK = 16.0  # load_digits counts ink from 0 to 16.

# The shares of the digit images for training and for validation; the rest is for testing. The split
# belongs to the data set and is the same for every seed.
_TRAIN_SHARE, _VALIDATION_SHARE = 0.6, 0.2
_SPLIT_SEED = 20211206
_SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, repr=False)
class ComposedDigits:
    """One split of overlaid digits as arrays.

    Args:
        images: float32 `[size, 8, width]` in [0, 1].
        labels: Task name -> float32 `[size, 1]` of zeros and ones.
        sources: int64 `[size, positions]`: which image of `load_digits` is at each position.
    """

    images: np.ndarray
    labels: dict[str, np.ndarray]
    sources: np.ndarray


def compose_digits(
    positions: int = 3,
    tasks: Sequence[str] = ("loop", "prime", "composite"),
    seed: int = 0,
    *,
    train_size: int = 1500,
    validation_size: int = 500,
    test_size: int = 2000,
) -> dict[str, ComposedDigits]:
    """Compose the images and labels of `overlaid_digits` as NumPy arrays, without TensorFlow.

    Args:
        positions: See `overlaid_digits`.
        tasks: See `overlaid_digits`.
        seed: See `overlaid_digits`.
        train_size: See `overlaid_digits`.
        validation_size: See `overlaid_digits`.
        test_size: See `overlaid_digits`.

    Returns:
        "train", "validation" and "test" -> their `ComposedDigits`.

    Raises:
        ValueError: See `overlaid_digits`.
    """
    sizes = dict(zip(_SPLITS, (train_size, validation_size, test_size), strict=True))
    names = task_names(positions, tasks)
    check_at_least_1(**{f"{split}_size": size for split, size in sizes.items()})
    if seed < 0:
        raise ValueError(f"Expected `seed` >= 0. Received: seed={seed}.")
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels, digits = (bunch.images / _INK).astype(np.float32), bunch.target
    # Every split has its own generator, so a longer training set does not change the test set.
    composed = {}
    for index, (split, pool) in enumerate(_split(len(digits)).items()):
        sources = np.random.default_rng([seed, index]).choice(pool, (sizes[split], positions))
        composed[split] = _compose(pixels, digits, sources, names)
    return composed


def task_names(positions: int, tasks: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the tasks, position by position from left to right.

    Args:
        positions: How many digits an image shows.
        tasks: The properties.

    Returns:
        One name per position and property, see `overlaid_digits`.

    Raises:
        ValueError: No position, an unknown or repeated property.
    """
    check_at_least_1(positions=positions)
    properties = chosen_tasks(tasks, sorted(PROPERTIES))
    named = {2: ("left", "right"), 3: ("left", "middle", "right")}
    places = named.get(positions, tuple(f"p{k}" for k in range(1, positions + 1)))
    return tuple(f"{place}_{prop}" for place in places for prop in properties)


def _split(num_digits: int) -> dict[str, np.ndarray]:
    order = np.random.default_rng(_SPLIT_SEED).permutation(num_digits)
    ends = [
        round(num_digits * _TRAIN_SHARE),
        round(num_digits * (_TRAIN_SHARE + _VALIDATION_SHARE)),
    ]
    return dict(zip(_SPLITS, np.split(order, ends), strict=True))


def _compose(
    pixels: np.ndarray, digits: np.ndarray, sources: np.ndarray, names: tuple[str, ...]
) -> ComposedDigits:
    size, positions = sources.shape
    images = np.zeros((size, _SIDE, _SIDE + _STEP * (positions - 1)), np.float32)
    for position in range(positions):
        window = images[:, :, _STEP * position : _STEP * position + _SIDE]
        np.maximum(window, pixels[sources[:, position]], out=window)
    labels = {}
    for index, name in enumerate(names):
        here = digits[sources[:, index * positions // len(names)]]
        has = np.isin(here, list(PROPERTIES[name.partition("_")[2]]))
        labels[name] = has.astype(np.float32)[:, None]
    return ComposedDigits(images, labels, sources)
