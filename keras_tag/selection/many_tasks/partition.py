"""A good partition of many tasks into served sets, by merging and moving.

It proves nothing; it gives column generation a start from which the prices are nearly right.
"""

from random import Random
from time import monotonic

import numpy as np

from keras_tag.selection.many_tasks.ascent import Terms, value_of
from keras_tag.selection.many_tasks.numba_jit import compiled


@compiled
def merge(terms: Terms, served: np.ndarray, networks: int) -> int:
    """Merge the two served sets that lose least by it, again and again.

    Args:
        terms: What networks are worth.
        served: `[num_sets, num_tasks]` of int8, changed in place: what is left comes first.
        networks: How many sets may be left.

    Returns:
        How many sets are left.
    """
    left, num_tasks = served.shape
    worth, union = np.empty(num_tasks), np.empty(num_tasks, np.int8)
    value, gain = np.empty(left), np.full((left, left), -np.inf)
    first, second = -1, -1
    while True:
        for a in range(left):
            if first < 0 or a == first:
                value[a], _ = value_of(terms, served[a], worth)
        for a in range(left):
            for b in range(a):
                if first < 0 or a == first or b == first:
                    for task in range(num_tasks):
                        union[task] = served[a, task] + served[b, task]
                    gain[a, b] = value_of(terms, union, worth)[0] - value[a] - value[b]
        if left <= networks:
            return left
        best = -np.inf
        for a in range(left):
            for b in range(a):
                if gain[a, b] > best:
                    best, first, second = gain[a, b], b, a
        # The second set joins the first, and the last one takes its place.
        left -= 1
        for task in range(num_tasks):
            served[first, task] += served[second, task]
            served[second, task] = served[left, task]
        value[second] = value[left]
        for other in range(left):
            if other != second:
                gain[max(other, second), min(other, second)] = gain[left, other]


@compiled
def move(terms: Terms, served: np.ndarray) -> float:
    """Move one task to another set as long as the values together gain by it.

    Args:
        terms: What networks are worth.
        served: `[num_sets, num_tasks]` of int8, changed in place.

    Returns:
        The sum of the values.
    """
    num_sets, num_tasks = served.shape
    worth = np.empty(num_tasks)
    value, flipped = np.empty(num_sets), np.empty((num_sets, num_tasks))
    first, second = -1, -1
    while True:
        for network in range(num_sets):
            if first < 0 or network in (first, second):
                value[network], _ = value_of(terms, served[network], worth)
                for task in range(num_tasks):
                    served[network, task] = 1 - served[network, task]
                    flipped[network, task], _ = value_of(terms, served[network], worth)
                    served[network, task] = 1 - served[network, task]
        gain, mover = 1e-12, -1
        for network in range(num_sets):
            for task in range(num_tasks):
                if served[network, task]:
                    without = flipped[network, task] - value[network]
                    for other in range(num_sets):
                        change = without + flipped[other, task] - value[other]
                        if other != network and change > gain:
                            gain, mover, first, second = change, task, network, other
        if mover < 0:
            return float(value.sum())
        served[first, mover], served[second, mover] = 0, 1


def good_partitions(terms: Terms, networks: int, kicks: int, deadline: float) -> list[np.ndarray]:
    """Search for the best partition into at most so many served sets.

    Merging alone finds groups that stand out. Where it has put two groups into one set and torn
    another in two, no single move helps: so now and then one set is dissolved into all others,
    another is split in two, and tasks are moved again.

    Args:
        terms: What networks are worth.
        networks: How many sets there may be.
        kicks: How often to do so.
        deadline: In `time.monotonic` seconds.

    Returns:
        Partitions, `[networks, num_tasks]` of int8, each as good as those before it.
    """
    num_tasks = len(terms.lone)
    served = np.eye(num_tasks, dtype=np.int8)
    merge(terms, served, networks)
    best = np.ascontiguousarray(served[:networks])
    total = move(terms, best)
    found = [best]
    random = Random(0)
    for _ in range(kicks if networks > 1 else 0):
        if monotonic() > deadline:
            break
        tried = best.copy()
        dissolved = int(random.random() * networks)
        split = (dissolved + 1 + int(random.random() * (networks - 1))) % networks
        for task in np.flatnonzero(best[dissolved]).tolist():
            tried[dissolved, task] = 0
            tried[int(random.random() * networks), task] = 1
        for task in np.flatnonzero(tried[split]).tolist():
            if random.random() < 0.5:
                tried[split, task], tried[dissolved, task] = 0, 1
        reached = move(terms, tried)
        if reached >= total - 1e-9 * abs(total):
            found.append(tried)
        if reached > total:
            best, total = tried, reached
    return found
