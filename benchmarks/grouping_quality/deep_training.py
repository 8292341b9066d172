"""All groups of tasks trained on deeper trunks: convolutions, BatchNormalization, dropout.

As `batched_training`, for a trunk of several layers. A layer is a matrix product over windows of
positions: a convolution in one or two dimensions, or Dense where one window holds all positions.
Then come BatchNormalization or a bias, relu, and dropout. All networks of a seed see the same
batches and the same dropout masks. `tests/grouping_quality` holds it against plain Keras.
"""

import math
from collections.abc import Sequence

import numba
import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.grouping_quality.batched_training import TrainedGroups, batch_order
from benchmarks.grouping_quality.deep_trunk import (
    CHANNELS,
    CHANNELS_IN,
    NORM,
    PARAMETERS,
    POSITIONS_IN,
    POSITIONS_OUT,
    STATISTICS,
    WINDOW,
    WINDOWS,
    first_weights,
    trunk_of,
)
from benchmarks.grouping_quality.task_sets import Recipe, Split, TaskSet

_BETA_1, _BETA_2, _EPSILON = np.float32(0.9), np.float32(0.999), np.float32(1e-7)
MOMENTUM, NORM_EPSILON = 0.9, 1e-3  # Of BatchNormalization.


def train_groups(
    data: TaskSet,
    groups: np.ndarray,
    units: int,
    seed: int,
    recipe: Recipe,
    checkpoints: Sequence[int] = (),
) -> TrainedGroups:
    """Train one network per group, as `batched_training.train_groups` does.

    Args:
        data: What to train on.
        groups: `[num_groups, num_tasks]` bool: which tasks a network trains.
        units: The capacity that `recipe.trunk` makes layers of.
        seed: Of first weights, batch order and dropout.
        recipe: How to train; it has a `trunk`.
        checkpoints: After how many epochs validation losses are kept, ascending.

    Returns:
        The losses.
    """
    assert recipe.trunk is not None
    train = data.splits["train"]
    trunk = trunk_of(recipe.trunk(units), recipe.shape or (1, train.x.shape[1]))
    layers, heads = first_weights(trunk, data.tasks, seed)
    order = np.stack([batch_order(seed, epoch, len(train.x)) for epoch in range(recipe.epochs)])
    shuffled = np.random.default_rng(0).permutation(len(groups))
    with threadpool_limits(1, user_api="blas"):
        results = _train(
            *(_arrays(data.splits[split]) for split in ("train", "validation", "test")),
            order,
            groups[shuffled],
            data.binary,
            np.concatenate([values.ravel() for layer in layers for values in layer]),
            heads,
            trunk.plan,
            trunk.windows,
            trunk.dropout,
            seed,
            np.float32(recipe.learning_rate),
            recipe.batch_size,
            recipe.patience,
            np.array([*checkpoints, recipe.epochs + 1]),
        )
    back = np.argsort(shuffled)
    validation, test, epochs, early = (array[back] for array in results)
    return TrainedGroups(validation, test, epochs, early.transpose(1, 0, 2)[: len(checkpoints)])


def _arrays(split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return split.x, split.y, split.weight


@numba.njit(cache=True)
def kept(seed, layer, step, index):
    """A number from 0 to 1: a unit is dropped where it is below the rate.

    Args:
        seed: The seed.
        layer: Which layer, from 0.
        step: Which training step, from 0.
        index: Which number of the layer's outputs of the batch.
    """
    z = np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15)
    for part in (layer, step, index):
        z = (z + np.uint64(part) + np.uint64(1)) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(29))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(32))
    return np.float32(z >> np.uint64(40)) / np.float32(1 << 24)


@numba.njit(parallel=True, fastmath=True, cache=True)
def _train(
    train,
    validation,
    test,
    order,
    groups,
    binary,
    trunk,
    heads,
    plan,
    windows,
    dropout,
    seed,
    learning_rate,
    batch_size,
    patience,
    checkpoints,
):
    num_groups, num_tasks = groups.shape
    validation_losses = np.full((num_groups, num_tasks), np.nan, np.float32)
    test_losses = np.full((num_groups, num_tasks), np.nan, np.float32)
    epochs = np.zeros(num_groups, np.int64)
    early = np.full((num_groups, len(checkpoints), num_tasks), np.nan, np.float32)
    for k in numba.prange(num_groups):
        tasks = np.flatnonzero(groups[k])
        weights = _flat(trunk, heads, tasks)
        moving = _first_statistics(plan)
        best, best_moving = weights.copy(), moving.copy()
        firsts, seconds = np.zeros_like(weights), np.zeros_like(weights)
        gradients = np.zeros_like(weights)
        least, best_epoch, steps, checkpoint = np.inf, 0, 0, 0
        best_losses = np.full(len(tasks), np.nan, np.float32)
        for epoch in range(len(order)):
            for start in range(0, order.shape[1], batch_size):
                rows = order[epoch, start : start + batch_size]
                _gradients(
                    train,
                    rows,
                    tasks,
                    binary,
                    weights,
                    moving,
                    gradients,
                    len(trunk),
                    plan,
                    windows,
                    dropout,
                    seed,
                    steps,
                )
                steps += 1
                correction = math.sqrt(1 - 0.999**steps) / (1 - 0.9**steps)
                _adam(weights, gradients, firsts, seconds, np.float32(learning_rate * correction))
            losses = _losses(
                validation, tasks, binary, weights, moving, len(trunk), plan, windows, dropout
            )
            total = losses.sum()
            if total < least:
                least, best_epoch = total, epoch
                best_losses[:] = losses
                best[:] = weights
                best_moving[:] = moving
            epochs[k] = epoch + 1
            if epoch + 1 == checkpoints[checkpoint]:
                for t in range(len(tasks)):
                    early[k, checkpoint, tasks[t]] = best_losses[t]
                checkpoint += 1
            if epoch - best_epoch >= patience:
                break
        losses = _losses(test, tasks, binary, best, best_moving, len(trunk), plan, windows, dropout)
        for t in range(len(tasks)):
            validation_losses[k, tasks[t]] = best_losses[t]
            test_losses[k, tasks[t]] = losses[t]
            for c in range(checkpoint, len(checkpoints)):
                early[k, c, tasks[t]] = best_losses[t]
    return validation_losses, test_losses, epochs, early


@numba.njit
def _flat(trunk, heads, tasks):
    """All weights as one vector: the trunk's, the heads' kernel row by row, their biases."""
    features, count = len(heads), len(tasks)
    weights = np.zeros(len(trunk) + (features + 1) * count, np.float32)
    weights[: len(trunk)] = trunk
    for f in range(features):
        for t in range(count):
            weights[len(trunk) + f * count + t] = heads[f, tasks[t]]
    return weights


@numba.njit
def _first_statistics(plan):
    """Moving means 0 and variances 1, layer by layer."""
    moving = np.zeros(2 * (plan[:, CHANNELS] * plan[:, NORM]).sum(), np.float32)
    for layer in range(len(plan)):
        if plan[layer, NORM]:
            begin = plan[layer, STATISTICS] + plan[layer, CHANNELS]
            moving[begin : begin + plan[layer, CHANNELS]] = 1
    return moving


@numba.njit(fastmath=True)
def _gather(x, row, windows):
    """`[batch * windows, window size * channels]`: what every window sees."""
    positions, size, channels = row[POSITIONS_OUT], row[WINDOW], row[CHANNELS_IN]
    source = x.reshape((-1, row[POSITIONS_IN] * channels))
    if positions == 1:
        return source
    begin = row[WINDOWS]
    out = np.empty((len(source) * positions, size * channels), np.float32)
    for b in range(len(source)):
        for p in range(positions):
            for k in range(size):
                at = windows[begin + p * size + k] * channels
                for c in range(channels):
                    out[b * positions + p, k * channels + c] = source[b, at + c]
    return out


@numba.njit(fastmath=True)
def _scatter(patches, row, windows):
    """The transpose of `_gather`."""
    positions, size, channels = row[POSITIONS_OUT], row[WINDOW], row[CHANNELS_IN]
    if positions == 1:
        return patches
    begin = row[WINDOWS]
    batch = len(patches) // positions
    out = np.zeros((batch, row[POSITIONS_IN] * channels), np.float32)
    for b in range(batch):
        for p in range(positions):
            for k in range(size):
                at = windows[begin + p * size + k] * channels
                for c in range(channels):
                    out[b, at + c] += patches[b * positions + p, k * channels + c]
    return out


@numba.njit
def _kernel(weights, row):
    rows, units, begin = row[WINDOW] * row[CHANNELS_IN], row[CHANNELS], row[PARAMETERS]
    end = begin + rows * units
    return weights[begin:end].reshape((rows, units)), end


@numba.njit(fastmath=True)
def _gradients(
    train,
    rows,
    tasks,
    binary,
    weights,
    moving,
    gradients,
    trunk_size,
    plan,
    windows,
    dropout,
    seed,
    step,
):
    size, count = len(rows), len(tasks)
    hidden = np.empty((size, train[0].shape[1]), np.float32)
    for b in range(size):
        hidden[b] = train[0][rows[b]]
    # By layer: what its windows saw, its outputs, its normalised values, one over the deviations.
    seen, outputs, normalised, inverses = [hidden], [hidden], [hidden], [hidden[0]]
    for layer in range(len(plan)):
        row = plan[layer]
        units = row[CHANNELS]
        patches = _gather(hidden, row, windows)
        kernel, end = _kernel(weights, row)
        values = np.dot(patches, kernel)
        unit = values
        inverse = weights[end : end + units]
        if row[NORM]:
            unit, inverse = _normalise(values, moving, row[STATISTICS])
            values = np.empty_like(unit)
            for b in range(len(values)):
                for h in range(units):
                    values[b, h] = unit[b, h] * weights[end + h] + weights[end + units + h]
        else:
            for b in range(len(values)):
                for h in range(units):
                    values[b, h] += weights[end + h]
        rate = dropout[layer]
        for b in range(len(values)):
            for h in range(units):
                values[b, h] = max(values[b, h], np.float32(0))
                if rate > 0:
                    if kept(seed, layer, step, b * units + h) < rate:
                        values[b, h] = 0
                    else:
                        values[b, h] /= 1 - rate
        seen.append(patches)
        outputs.append(values)
        normalised.append(unit)
        inverses.append(inverse)
        hidden = values
    last = hidden.reshape((size, -1))
    features = last.shape[1]
    heads = weights[trunk_size : trunk_size + features * count].reshape((features, count))
    error = np.dot(last, heads)
    for t in range(count):
        task = tasks[t]
        for b in range(size):
            y, weight = train[1][rows[b], task], train[2][rows[b], task]
            z = error[b, t] + weights[trunk_size + features * count + t]
            difference = 1 / (1 + math.exp(-z)) - y if binary[task] else 2 * (z - y)
            error[b, t] = difference * weight / size
    change = gradients[trunk_size : trunk_size + features * count].reshape((features, count))
    change[:] = np.dot(last.T, error)
    for t in range(count):
        gradients[trunk_size + features * count + t] = error[:, t].sum()
    back = np.dot(error, heads.T)
    for layer in range(len(plan) - 1, -1, -1):
        row = plan[layer]
        units = row[CHANNELS]
        # A unit that was dropped is 0, as one that relu cut off.
        values = outputs[layer + 1]
        delta = back.reshape((-1, units))
        scale = np.float32(1 / (1 - dropout[layer]))
        for b in range(len(delta)):
            for h in range(units):
                delta[b, h] = delta[b, h] * scale if values[b, h] > 0 else np.float32(0)
        kernel, end = _kernel(weights, row)
        if row[NORM]:
            _normalised_back(
                delta, normalised[layer + 1], inverses[layer + 1], weights, gradients, end
            )
        else:
            gradients[end : end + units] = 0
            for b in range(len(delta)):
                for h in range(units):
                    gradients[end + h] += delta[b, h]
        change, _ = _kernel(gradients, row)
        change[:] = np.dot(seen[layer + 1].T, delta)
        if layer:
            back = _scatter(np.dot(delta, kernel.T), row, windows)


@numba.njit(fastmath=True)
def _normalise(values, moving, begin):
    """Normalise a batch, and update the moving statistics."""
    size, units = values.shape
    mean, variance = np.zeros(units, np.float32), np.zeros(units, np.float32)
    for b in range(size):
        for h in range(units):
            mean[h] += values[b, h]
    mean /= np.float32(size)
    for b in range(size):
        for h in range(units):
            variance[h] += (values[b, h] - mean[h]) ** 2
    variance /= np.float32(size)
    keep = np.float32(MOMENTUM)
    for h in range(units):
        moving[begin + h] = moving[begin + h] * keep + mean[h] * (1 - keep)
        at = begin + units + h
        moving[at] = moving[at] * keep + variance[h] * (1 - keep)
    inverse = 1 / np.sqrt(variance + np.float32(NORM_EPSILON))
    unit = np.empty_like(values)
    for b in range(size):
        for h in range(units):
            unit[b, h] = (values[b, h] - mean[h]) * inverse[h]
    return unit, inverse


@numba.njit(fastmath=True)
def _normalised_back(delta, unit, inverse, weights, gradients, end):
    """Turn `delta` into that of the values before, and keep the changes of gamma and beta."""
    size, units = delta.shape
    gradients[end : end + 2 * units] = 0
    for b in range(size):
        for h in range(units):
            gradients[end + h] += delta[b, h] * unit[b, h]
            gradients[end + units + h] += delta[b, h]
    for b in range(size):
        for h in range(units):
            spared = gradients[end + units + h] + unit[b, h] * gradients[end + h]
            delta[b, h] = weights[end + h] * inverse[h] * (delta[b, h] - spared / size)


@numba.njit(fastmath=True)
def _adam(values, gradients, firsts, seconds, rate):
    decay_1, decay_2 = 1 - _BETA_1, 1 - _BETA_2
    for i in range(len(values)):
        g = gradients[i]
        m = firsts[i] + (g - firsts[i]) * decay_1
        v = seconds[i] + (g * g - seconds[i]) * decay_2
        firsts[i] = m
        seconds[i] = v
        values[i] -= rate * m / (math.sqrt(v) + _EPSILON)


@numba.njit(fastmath=True)
def _losses(split, tasks, binary, weights, moving, trunk_size, plan, windows, dropout):
    """The mean loss of every task of the group, without dropout, by the moving statistics."""
    count = len(tasks)
    hidden = split[0]
    for layer in range(len(plan)):
        row = plan[layer]
        units = row[CHANNELS]
        kernel, end = _kernel(weights, row)
        values = np.dot(_gather(hidden, row, windows), kernel)
        factor, offset = np.ones(units, np.float32), weights[end : end + units].copy()
        if row[NORM]:
            begin = row[STATISTICS]
            for h in range(units):
                deviation = math.sqrt(moving[begin + units + h] + NORM_EPSILON)
                factor[h] = weights[end + h] / deviation
                offset[h] = weights[end + units + h] - moving[begin + h] * factor[h]
        for b in range(len(values)):
            for h in range(units):
                values[b, h] = max(values[b, h] * factor[h] + offset[h], np.float32(0))
        hidden = values
    last = hidden.reshape((len(split[0]), -1))
    features = last.shape[1]
    heads = weights[trunk_size : trunk_size + features * count].reshape((features, count))
    outputs = np.dot(last, heads)
    total = np.zeros(count)
    for t in range(count):
        task = tasks[t]
        for b in range(len(outputs)):
            z = outputs[b, t] + weights[trunk_size + features * count + t]
            y = split[1][b, task]
            if binary[task]:
                loss = max(z, np.float32(0)) + math.log1p(math.exp(-abs(z))) - y * z
            else:
                loss = (z - y) ** 2
            total[t] += loss * split[2][b, task]
    return (total / len(outputs)).astype(np.float32)
