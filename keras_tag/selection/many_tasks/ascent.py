"""The best network around a served set, and an ascent that flips one served task at a time.

Both find good networks quickly and prove nothing.
"""

from typing import NamedTuple

import numpy as np

from keras_tag.selection.many_tasks.numba_jit import compiled

# The value of what is not allowed: no sum of scores, which are 1 at most, makes up for it.
FORBIDDEN = -1e6


class Terms(NamedTuple):
    """What networks are worth.

    Args:
        gains: `[num_tasks, num_tasks]`, rows target, columns source: A, transposed.
        lone: `[num_tasks]`, the score of a lone task; `FORBIDDEN` or less where it is forbidden.
        size_price: `[num_tasks + 1]`, what a network of so many tasks costs in the objective; very
            large for a size that is not allowed.
        settled: From this size on, larger networks are not cheaper; at least 2.
        left_out: 1 if a task's score leaves out the task itself.
        overlap: Whether helpers are allowed.
    """

    gains: np.ndarray
    lone: np.ndarray
    size_price: np.ndarray
    settled: int
    left_out: int
    overlap: bool


@compiled
def value_of(terms: Terms, served: np.ndarray, worth: np.ndarray) -> tuple[float, int]:
    """Return what the best network is worth that serves a set, less the price of its size.

    A network's value is the sum of what its tasks give to those it serves, divided by its size (or
    that less 1). So of all networks of a size the best takes the helpers that give most, and
    helpers are added one by one. Once the next one gives less than the mean, it lowers the mean,
    and so does every further one, which gives no more: then no larger network is better.

    Args:
        terms: What networks are worth.
        served: `[num_tasks]` of int8, 1 for the served tasks.
        worth: `[num_tasks]`, working memory.

    Returns:
        The value, 0 for the empty set, and the size of the network.
    """
    num_tasks, size, last = len(served), 0, 0
    for source in range(num_tasks):
        worth[source] = 0.0
    for task in range(num_tasks):
        if served[task]:
            size, last = size + 1, task
            for source in range(num_tasks):
                worth[source] += terms.gains[task, source]
    if size == 0:
        return 0.0, 0
    total = 0.0
    for task in range(num_tasks):
        if served[task]:
            total += worth[task]
            worth[task] = -np.inf
    best, best_size = FORBIDDEN, size
    if size == 1:
        best = max(best, terms.lone[last] - terms.size_price[1])
    while True:
        if size >= 2:
            value = total / (size - terms.left_out) - terms.size_price[size]
            if value > best:
                best, best_size = value, size
        if not terms.overlap or size == num_tasks:
            return best, best_size
        helper = 0
        for source in range(num_tasks):
            if worth[source] > worth[helper]:
                helper = source
        if size >= terms.settled and worth[helper] * (size - terms.left_out) <= total:
            return best, best_size
        total += worth[helper]
        worth[helper] = -np.inf
        size += 1


@compiled
def ascend(
    terms: Terms, price: np.ndarray, starts: np.ndarray, values: np.ndarray, sizes: np.ndarray
) -> None:
    """Improve served sets in place until no single flip raises the excess.

    Args:
        terms: What networks are worth.
        price: `[num_tasks]`, the tasks' prices.
        starts: `[num_starts, num_tasks]` of int8; the served sets, changed in place.
        values: `[num_starts]`, receives the excesses.
        sizes: `[num_starts]`, receives the sizes of the networks.
    """
    num_tasks = len(price)
    worth = np.empty(num_tasks)
    for start in range(len(starts)):
        served = starts[start]
        paid, count = 0.0, 0
        for task in range(num_tasks):
            paid += price[task] * served[task]
            count += served[task]
        while True:
            value, size = value_of(terms, served, worth)
            best, flip = value - paid + 1e-12, -1
            for task in range(num_tasks):
                if count == 1 and served[task]:
                    continue
                change = 1 - 2 * served[task]
                served[task] += change
                flipped, _ = value_of(terms, served, worth)
                served[task] -= change
                if flipped - paid - change * price[task] > best:
                    best, flip = flipped - paid - change * price[task], task
            if flip < 0:
                break
            change = 1 - 2 * served[flip]
            served[flip] += change
            paid += change * price[flip]
            count += change
        values[start], sizes[start] = value - paid, size
