"""All groups of tasks trained at once, one network per group, in one compiled loop.

A group's network is a trunk, of one hidden layer or of several, and one linear head per task. The
optimizer is Adam, the loss the sum over the group's tasks. Every network has its own Adam and stops
on its own. All see the same batches and the same dropout masks and start from the same weights:
they differ by the company a task keeps and by nothing else.

It is what plain Keras fits do, in far less time (`tests/grouping_quality` holds it against them): a
network this small fits into a core's cache, and trained from its first step to its last it never
leaves it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.grouping_quality.deep_trunk import first_weights, trunk_of_recipe
from benchmarks.grouping_quality.task_sets import Recipe, Split, TaskSet
from benchmarks.grouping_quality.trunk_passes import first_statistics, put_gradients, task_losses

_BETA_1, _BETA_2 = 0.9, 0.999  # Keras's Adam.
_EPSILON = np.float32(1e-7)


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
        seed: Of first weights, batch order and dropout.
        recipe: How to train.
        checkpoints: After how many epochs validation losses are kept, ascending.

    Returns:
        The losses.
    """
    train = data.splits["train"]
    trunk = trunk_of_recipe(recipe, units, train.x.shape[1])
    layers, heads = first_weights(trunk, data.tasks, seed)
    order = np.stack([batch_order(seed, epoch, len(train.x)) for epoch in range(recipe.epochs)])
    # Large and small groups in turn, so that all cores finish together.
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
        moving = first_statistics(plan)
        best, best_moving = weights.copy(), moving.copy()
        firsts, seconds = np.zeros_like(weights), np.zeros_like(weights)
        gradients = np.zeros_like(weights)
        least, best_epoch, steps, checkpoint = np.inf, 0, 0, 0
        best_losses = np.full(len(tasks), np.nan, np.float32)
        for epoch in range(len(order)):
            for start in range(0, order.shape[1], batch_size):
                rows = order[epoch, start : start + batch_size]
                put_gradients(
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
                correction = math.sqrt(1 - _BETA_2**steps) / (1 - _BETA_1**steps)
                _adam(weights, gradients, firsts, seconds, np.float32(learning_rate * correction))
            losses = task_losses(
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
        losses = task_losses(
            test, tasks, binary, best, best_moving, len(trunk), plan, windows, dropout
        )
        for t in range(len(tasks)):
            validation_losses[k, tasks[t]] = best_losses[t]
            test_losses[k, tasks[t]] = losses[t]
            # Training that ended before a checkpoint had its best epoch by then.
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


@numba.njit(fastmath=True)
def _adam(values, gradients, firsts, seconds, rate):
    decay_1, decay_2 = np.float32(1 - _BETA_1), np.float32(1 - _BETA_2)
    for i in range(len(values)):
        g = gradients[i]
        m = firsts[i] + (g - firsts[i]) * decay_1
        v = seconds[i] + (g * g - seconds[i]) * decay_2
        firsts[i] = m
        seconds[i] = v
        values[i] -= rate * m / (math.sqrt(v) + _EPSILON)
