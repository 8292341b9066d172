"""Trunks of one and more layers as numbers, and the weights that every network starts from."""

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.grouping_quality.task_sets import Layer, Recipe

# The columns of a plan, one row a layer.
(
    POSITIONS_IN,
    POSITIONS_OUT,
    WINDOW,
    CHANNELS_IN,
    CHANNELS,
    PARAMETERS,
    NORM,
    STATISTICS,
    WINDOWS,
) = range(9)


@dataclass(frozen=True, eq=False)
class Trunk:
    """The layers of a trunk as numbers.

    Args:
        plan: `[num_layers, 9]` int: positions in and out, positions of a window, channels in and
            out, where its parameters begin, whether it normalises, where its moving statistics
            begin, where its windows begin.
        windows: int: which input positions a window holds, for every window of every layer.
        dropout: `[num_layers]` float32.
        size: How many parameters the trunk has.
        features: How many numbers the heads see.
        names: By layer: what its first kernel is drawn by.
    """

    plan: np.ndarray
    windows: np.ndarray
    dropout: np.ndarray
    size: int
    features: int
    names: tuple[str, ...]


def trunk_of_recipe(recipe: Recipe, units: int, num_features: int) -> Trunk:
    """Lay out the trunk of a recipe.

    Args:
        recipe: Its layers; without any the trunk is one hidden layer.
        units: The size.
        num_features: Of an input.

    Returns:
        The trunk.
    """
    if recipe.trunk is None:
        # Its tables are older than trunks of several layers, and keep the name of their draw.
        return replace(trunk_of((Layer(units),), (1, num_features)), names=("trunk",))
    return trunk_of(recipe.trunk(units), recipe.shape or (1, num_features))


def trunk_of(layers: Sequence[Layer], shape: tuple[int, ...]) -> Trunk:
    """Lay out a trunk.

    Args:
        layers: From the input on.
        shape: Of an input: positions along one or two axes, then channels.

    Returns:
        The trunk.
    """
    *axes, channels = shape
    rows, windows = [], []
    parameters = statistics = begin = 0
    for layer in layers:
        window, axes_out = _windows(tuple(axes), layer)
        size = window.shape[1] * channels * layer.units
        rows.append(
            (
                math.prod(axes),
                *window.shape,
                channels,
                layer.units,
                parameters,
                layer.batch_normalization,
                statistics,
                begin,
            )
        )
        windows.append(window.ravel())
        parameters += size + layer.units * (1 + layer.batch_normalization)
        statistics += 2 * layer.units * layer.batch_normalization
        begin += window.size
        axes, channels = list(axes_out), layer.units
    dropout = np.array([layer.dropout for layer in layers], np.float32)
    plan = np.array(rows, np.int64)
    return Trunk(
        plan,
        np.concatenate(windows),
        dropout,
        parameters,
        math.prod(axes) * channels,
        tuple(f"layer {index}" for index in range(len(layers))),
    )


def _windows(axes: tuple[int, ...], layer: Layer) -> tuple[np.ndarray, tuple[int, ...]]:
    """`[num_windows, window size]` positions, row-major as Keras flattens them; the axes left."""
    if not layer.kernel:
        return np.arange(math.prod(axes))[None], (1,)
    positions = np.arange(math.prod(axes)).reshape(axes)
    views = np.lib.stride_tricks.sliding_window_view(positions, (layer.kernel,) * len(axes))
    views = views[(slice(None, None, layer.stride),) * len(axes)]
    left = views.shape[: len(axes)]
    return views.reshape(math.prod(left), -1), left


def first_weights(
    trunk: Trunk, tasks: Sequence[str], seed: int
) -> tuple[list[tuple[np.ndarray, ...]], np.ndarray]:
    """The weights that every network of a seed starts from.

    Glorot-uniform kernels, as Keras draws them; biases and beta 0, gamma 1. The heads' biases
    start at 0.

    Args:
        trunk: The trunk.
        tasks: The names of the heads.
        seed: Decides the trunk's; seed and name decide a head's.

    Returns:
        By layer (kernel `[window * channels in, units]`, then bias or gamma and beta), and the
        heads' kernels `[features, num_tasks]`.
    """

    def glorot(part: str, rows: int, columns: int, fan_out: int) -> np.ndarray:
        limit = np.sqrt(6 / (rows + fan_out))
        draw = np.random.default_rng(zlib.crc32(f"{seed} {part}".encode()))
        return draw.uniform(-limit, limit, (rows, columns)).astype(np.float32)

    layers = []
    for name, row in zip(trunk.names, trunk.plan, strict=True):
        window, units = row[WINDOW], row[CHANNELS]
        convolves = row[POSITIONS_IN] != row[WINDOW]
        kernel = glorot(
            name,
            window * row[CHANNELS_IN],
            units,
            units * (window if convolves else 1),
        )
        zeros, ones = np.zeros(units, np.float32), np.ones(units, np.float32)
        layers.append((kernel, ones, zeros) if row[NORM] else (kernel, zeros))
    heads = [glorot(task, trunk.features, 1, 1) for task in tasks]
    return layers, np.concatenate(heads, 1)
