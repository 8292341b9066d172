"""All groups of tasks trained side by side, in one compiled loop over stacked weights.

Network k is `relu(x W1[k] + b1[k]) W2[k] + b2[k]`, one output per task; only the tasks of its group
enter its loss, so that the heads of the others stay what they were. Every network has its own Adam
and stops on its own. All see the same batches and start from the same weights: they differ by the
company a task keeps and by nothing else.

It is what plain Keras fits do, in far less time (`tests/grouping_quality` holds it against them): a
network this small fits into a core's cache, and trained from its first step to its last it never
leaves it.
"""

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.grouping_quality.task_sets import Recipe, Split, TaskSet

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-7  # Keras's Adam.


@dataclass(frozen=True)
class TrainedGroups:
    """What came of the networks of one seed.

    Args:
        validation: `[num_groups, num_tasks]`: a task's validation loss at the network's best
            epoch; NaN where the group does not train the task.
        test: As `validation`, on the test examples, at the same weights.
        epochs: `[num_groups]`: how many epochs a network was trained.
        early: `[num_checkpoints, num_groups, num_tasks]`: validation losses at the best epoch so
            far, had training ended after that many epochs.
    """

    validation: np.ndarray
    test: np.ndarray
    epochs: np.ndarray
    early: np.ndarray


def first_weights(
    tasks: Sequence[str], num_features: int, units: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The kernels that every network of a seed starts from; biases start at 0.

    Glorot-uniform, as Keras draws them. The seed decides the trunk's, seed and name a head's.

    Args:
        tasks: The names of the heads.
        num_features: The size of an input.
        units: The size of the trunk.
        seed: The seed.

    Returns:
        float32 `[num_features, units]` and `[units, num_tasks]`.
    """

    def glorot(part: str, rows: int, columns: int) -> np.ndarray:
        limit = np.sqrt(6 / (rows + columns))
        draw = np.random.default_rng(zlib.crc32(f"{seed} {part}".encode()))
        return draw.uniform(-limit, limit, (rows, columns)).astype(np.float32)

    heads = [glorot(task, units, 1) for task in tasks]
    return glorot("trunk", num_features, units), np.concatenate(heads, 1)


def batch_order(seed: int, epoch: int, size: int) -> np.ndarray:
    """The order of the training examples in an epoch, the same for every network.

    Args:
        seed: The seed.
        epoch: The epoch, from 0.
        size: How many examples there are.

    Returns:
        A permutation of `range(size)`.
    """
    return np.random.default_rng([seed, epoch, 1]).permutation(size)


def train_groups(
    data: TaskSet,
    groups: np.ndarray,
    units: int,
    seed: int,
    recipe: Recipe,
    checkpoints: Sequence[int] = (),
) -> TrainedGroups:
    """Train one network per group.

    Args:
        data: What to train on.
        groups: `[num_groups, num_tasks]` bool: which tasks a network trains.
        units: The size of the trunk.
        seed: Of first weights and batch order.
        recipe: How to train.
        checkpoints: After how many epochs validation losses are kept, ascending.

    Returns:
        The losses.
    """
    train = data.splits["train"]
    trunk, heads = first_weights(data.tasks, train.x.shape[1], units, seed)
    order = np.stack([batch_order(seed, epoch, len(train.x)) for epoch in range(recipe.epochs)])
    # Large and small groups in turn, so that all cores finish together.
    shuffled = np.random.default_rng(0).permutation(len(groups))
    with threadpool_limits(1, user_api="blas"):
        results = _train(
            *(_arrays(data.splits[split]) for split in ("train", "validation", "test")),
            order,
            groups[shuffled],
            data.binary,
            trunk,
            heads,
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
        weights = _stacked(trunk, heads, tasks)
        best = _copy(weights)
        firsts, seconds = _zeros(weights), _zeros(weights)
        gradients = _zeros(weights)
        least, best_epoch, steps, checkpoint = np.inf, 0, 0, 0
        best_losses = np.full(len(tasks), np.nan, np.float32)
        for epoch in range(len(order)):
            for start in range(0, order.shape[1], batch_size):
                rows = order[epoch, start : start + batch_size]
                _gradients(train, rows, tasks, binary, weights, gradients)
                steps += 1
                correction = math.sqrt(1 - _BETA_2**steps) / (1 - _BETA_1**steps)
                rate = np.float32(learning_rate * correction)
                for part in range(2):
                    _adam(weights[part], gradients[part], firsts[part], seconds[part], rate)
            losses = _losses(validation, tasks, binary, weights)
            total = losses.sum()
            if total < least:
                least, best_epoch = total, epoch
                best_losses[:] = losses
                best[0][:] = weights[0]
                best[1][:] = weights[1]
            epochs[k] = epoch + 1
            if epoch + 1 == checkpoints[checkpoint]:
                for t in range(len(tasks)):
                    early[k, checkpoint, tasks[t]] = best_losses[t]
                checkpoint += 1
            if epoch - best_epoch >= patience:
                break
        losses = _losses(test, tasks, binary, best)
        for t in range(len(tasks)):
            validation_losses[k, tasks[t]] = best_losses[t]
            test_losses[k, tasks[t]] = losses[t]
            # Training that ended before a checkpoint had its best epoch by then.
            for c in range(checkpoint, len(checkpoints)):
                early[k, c, tasks[t]] = best_losses[t]
    return validation_losses, test_losses, epochs, early


@numba.njit
def _stacked(trunk, heads, tasks):
    """Kernel and bias of the trunk, of the heads; a bias is the last row of its matrix."""
    features, units = trunk.shape
    first = np.zeros((features + 1, units), np.float32)
    first[:features] = trunk
    second = np.zeros((units + 1, len(tasks)), np.float32)
    for t in range(len(tasks)):
        second[:units, t] = heads[:, tasks[t]]
    return first, second


@numba.njit
def _copy(weights):
    return weights[0].copy(), weights[1].copy()


@numba.njit
def _zeros(weights):
    return np.zeros_like(weights[0]), np.zeros_like(weights[1])


@numba.njit(fastmath=True)
def _hidden(x, weights):
    features, units = x.shape[1], weights[0].shape[1]
    hidden = np.dot(x, weights[0][:features])
    for b in range(len(x)):
        for h in range(units):
            hidden[b, h] = max(hidden[b, h] + weights[0][features, h], np.float32(0))
    return hidden


@numba.njit(fastmath=True)
def _outputs(hidden, weights):
    units = hidden.shape[1]
    return np.dot(hidden, weights[1][:units]) + weights[1][units]


@numba.njit(fastmath=True)
def _gradients(train, rows, tasks, binary, weights, gradients):
    size = len(rows)
    features, units = train[0].shape[1], weights[0].shape[1]
    x = np.empty((size, features), np.float32)
    for b in range(size):
        x[b] = train[0][rows[b]]
    hidden = _hidden(x, weights)
    error = _outputs(hidden, weights)
    for t in range(len(tasks)):
        task = tasks[t]
        for b in range(size):
            y, weight = train[1][rows[b], task], train[2][rows[b], task]
            # The derivative of both losses is a difference: of the probability, or twice the
            # value's.
            if binary[task]:
                difference = 1 / (1 + math.exp(-error[b, t])) - y
            else:
                difference = 2 * (error[b, t] - y)
            error[b, t] = difference * weight / size
    back = np.dot(error, weights[1][:units].T)
    for b in range(size):
        for h in range(units):
            if hidden[b, h] <= 0:
                back[b, h] = 0
    gradients[0][:features] = np.dot(x.T, back)
    gradients[1][:units] = np.dot(hidden.T, error)
    gradients[0][features] = 0
    gradients[1][units] = 0
    for b in range(size):
        gradients[0][features] += back[b]
        gradients[1][units] += error[b]


@numba.njit(fastmath=True)
def _adam(value, gradient, first, second, rate):
    decay_1, decay_2 = np.float32(1 - _BETA_1), np.float32(1 - _BETA_2)
    epsilon = np.float32(_EPSILON)
    for i in range(value.shape[0]):
        for j in range(value.shape[1]):
            g = gradient[i, j]
            m = first[i, j] + (g - first[i, j]) * decay_1
            v = second[i, j] + (g * g - second[i, j]) * decay_2
            first[i, j] = m
            second[i, j] = v
            value[i, j] -= rate * m / (math.sqrt(v) + epsilon)


@numba.njit(fastmath=True)
def _losses(split, tasks, binary, weights):
    """The mean loss of every task of the group."""
    outputs = _outputs(_hidden(split[0], weights), weights)
    total = np.zeros(len(tasks))
    for t in range(len(tasks)):
        task = tasks[t]
        for b in range(len(outputs)):
            z, y = outputs[b, t], split[1][b, task]
            if binary[task]:
                # log(1 + e^z) - y z, without overflow.
                loss = max(z, np.float32(0)) + math.log1p(math.exp(-abs(z))) - y * z
            else:
                loss = (z - y) ** 2
            total[t] += loss * split[2][b, task]
    return (total / len(outputs)).astype(np.float32)
