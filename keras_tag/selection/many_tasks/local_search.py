"""An iterated local search for a good partition into served sets, compiled.

It proves nothing; it gives column generation a start from which the prices are nearly right.
"""

import numpy as np

from keras_tag.selection.many_tasks.ascent import best_size
from keras_tag.selection.many_tasks.numba_jit import compiled

# In place of minus infinity, which can't be subtracted.
_FORBIDDEN = -1e6


@compiled
def _value(
    array: np.ndarray,
    served: np.ndarray,
    left_out: int,
    size_price: np.ndarray,
    lone: np.ndarray,
    overlap: bool,
    help_of: np.ndarray,
    scratch: np.ndarray,
) -> float:
    """Return the value of a served set with its best helpers."""
    num_tasks = len(served)
    count, last = 0, 0
    for i in range(num_tasks):
        help_of[i] = 0.0
    for j in range(num_tasks):
        if served[j]:
            count += 1
            last = j
            for i in range(num_tasks):
                help_of[i] += array[i, j]
    if count == 0:
        return 0.0
    inside = 0.0
    for j in range(num_tasks):
        if served[j]:
            inside += help_of[j]
    value, _ = best_size(
        array, help_of, served, count, inside, left_out, size_price, lone[last], overlap, scratch
    )
    return max(value, _FORBIDDEN)


@compiled
def improve_partition(
    array: np.ndarray,
    left_out: int,
    size_price: np.ndarray,
    lone: np.ndarray,
    overlap: bool,
    num_networks: int,
    kicks: int,
    best: np.ndarray,
    seen: np.ndarray,
) -> int:
    """Search for the best partition into at most `num_networks` served sets.

    Args:
        array: `[num_tasks, num_tasks]`, rows source, columns target: A.
        left_out: 1 if a task's score leaves out itself.
        size_price: `[num_tasks + 1]`, 0 for an allowed size, inf for another.
        lone: `[num_tasks]`, the score of a lone task; -inf where forbidden.
        overlap: Whether helpers are allowed.
        num_networks: The number of served sets.
        kicks: How often to disturb the best partition and improve it again.
        best: `[num_networks, num_tasks]` of int8, receives the best served sets; must be zero.
        seen: `[limit, num_tasks]` of int8, receives the served sets of good partitions.

    Returns:
        How many rows of `seen` were filled.
    """
    num_tasks = len(array)
    help_of, scratch = np.empty(num_tasks), np.empty(num_tasks)
    served = np.zeros((num_networks, num_tasks), np.int8)
    home, best_home = np.zeros(num_tasks, np.int64), np.zeros(num_tasks, np.int64)
    value = np.zeros(num_networks)
    flipped = np.zeros((num_networks, num_tasks))
    best_total, filled = -np.inf, 0
    random = np.uint64(88172645463325252)
    for kick in range(kicks + 1):
        if kick == 0:
            for task in range(num_tasks):
                home[task] = task % num_networks
        else:
            for task in range(num_tasks):
                home[task] = best_home[task]
            for _ in range(2 + kick % 4):
                # Marsaglia's xorshift: the same numbers on every machine.
                random ^= random << np.uint64(13)
                random ^= random >> np.uint64(7)
                random ^= random << np.uint64(17)
                draw = random >> np.uint64(11)
                task = int(draw % np.uint64(num_tasks))
                home[task] = int((draw // np.uint64(num_tasks)) % np.uint64(num_networks))
        for network in range(num_networks):
            for task in range(num_tasks):
                served[network, task] = 1 if home[task] == network else 0
        first, second = -1, -1
        while True:
            for network in range(num_networks):
                if first >= 0 and network != first and network != second:
                    continue
                row = served[network]
                value[network] = _value(
                    array, row, left_out, size_price, lone, overlap, help_of, scratch
                )
                for task in range(num_tasks):
                    row[task] = 1 - row[task]
                    flipped[network, task] = _value(
                        array, row, left_out, size_price, lone, overlap, help_of, scratch
                    )
                    row[task] = 1 - row[task]
            gain, mover, target = 1e-12, -1, -1
            for task in range(num_tasks):
                at = home[task]
                without = flipped[at, task] - value[at]
                for network in range(num_networks):
                    if network != at:
                        change = without + flipped[network, task] - value[network]
                        if change > gain:
                            gain, mover, target = change, task, network
            if mover < 0:
                break
            first, second = home[mover], target
            served[first, mover], served[second, mover] = 0, 1
            home[mover] = target
        total = 0.0
        for network in range(num_networks):
            total += value[network]
        if total >= best_total - 1e-9 * abs(best_total) and filled + num_networks <= len(seen):
            for network in range(num_networks):
                for task in range(num_tasks):
                    seen[filled, task] = served[network, task]
                filled += 1
        if total > best_total:
            best_total = total
            for task in range(num_tasks):
                best_home[task] = home[task]
    for task in range(num_tasks):
        best[best_home[task], task] = 1
    return filled
