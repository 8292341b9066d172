"""The forward and backward pass of a trunk of layers and its heads, compiled.

A layer is a matrix product over windows of positions: a convolution in one or two dimensions, or
Dense where one window holds all positions. Then come BatchNormalization or a bias, relu, and
dropout. `batched_training` trains with these passes.
"""

import math

import numba
import numpy as np

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
)

MOMENTUM, NORM_EPSILON = 0.9, 1e-3  # Of BatchNormalization.


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


@numba.njit
def first_statistics(plan):
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
def put_gradients(
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
    """Write the gradients of a batch's loss, the mean over `rows` summed over `tasks`.

    Args:
        train: The split: examples, labels, weights.
        rows: Of the batch.
        tasks: Of the group.
        binary: `[num_tasks]`: cross-entropy where true, else squared error.
        weights: All weights of the network, as `gradients`: the trunk's, the heads', their biases.
        moving: The moving statistics, updated.
        gradients: Where to.
        trunk_size: How many weights are the trunk's.
        plan: Of the trunk, as `windows` and `dropout`.
        windows: Which positions a window holds.
        dropout: Rates by layer.
        seed: Of the dropout masks.
        step: Which training step, from 0.
    """
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
def task_losses(split, tasks, binary, weights, moving, trunk_size, plan, windows, dropout):
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
