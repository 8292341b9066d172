"""A tighter bound for the search: who of a pair gets the credit for what both gain.

If tasks i and j are both served by one network, only the sum A[i, j] + A[j, i] counts, so any
amount may be moved between the two before every task is credited with its best partners:

    A'[i, j] = A[i, j] + shift[i, j],   shift[j, i] = -shift[i, j]

A helper i is no target, so as a helper of j it is paid back -shift[i, j]. Every shift gives a valid
bound; the one of least bound is approached by a subgradient method. It makes the search smaller by
orders of magnitude, because partners that many tasks would like can't all be had at once.
"""

import numpy as np

from keras_tag.selection.compiled import compiled


@compiled
def select_largest(
    values: np.ndarray, row: int, skip: int, count: int, chosen: np.ndarray, top: np.ndarray
) -> float:
    """Sum of the `count` largest of `values[row]` but `skip`; `chosen` receives their places."""
    filled = 0
    for index in range(values.shape[1]):
        if index == skip:
            continue
        value = values[row, index]
        if filled == count and (count == 0 or value <= top[count - 1]):
            continue
        place = filled if filled < count else count - 1
        while place > 0 and top[place - 1] < value:
            top[place] = top[place - 1]
            chosen[place] = chosen[place - 1]
            place -= 1
        top[place] = value
        chosen[place] = index
        if filled < count:
            filled += 1
    total = 0.0
    for index in range(filled):
        total += top[index]
    return total


@compiled
def tighten(
    by_target: np.ndarray,
    price: np.ndarray,
    size: int,
    divisor: float,
    overlap: bool,
    threshold: float,
    iterations: int,
    shift: np.ndarray,
) -> float:
    """Improve the shifts for one size by a subgradient method.

    Args:
        by_target: `[num_tasks, num_tasks]`, rows target, columns source: A transposed.
        price: `[num_tasks]`.
        size: The size of the groups.
        divisor: What the score divides by.
        overlap: Whether helpers are allowed.
        threshold: Stop as soon as the bound is below.
        iterations: How many steps to take.
        shift: `[num_tasks, num_tasks]`, rows target, columns source; changed in place.

    Returns:
        The best bound, whose shifts are left in `shift`.
    """
    num_tasks = len(price)
    shared = np.empty((num_tasks, num_tasks))
    credit = np.empty((num_tasks, num_tasks))
    present = np.empty((num_tasks, num_tasks))
    gradient = np.empty((num_tasks, num_tasks))
    partners = np.empty((num_tasks, num_tasks), np.int64)
    helped = np.empty((num_tasks, num_tasks), np.int64)
    worth = np.empty((1, num_tasks))
    serves = np.empty(num_tasks, np.int64)
    chosen = np.empty(num_tasks, np.int64)
    top = np.empty(num_tasks)
    for j in range(num_tasks):
        for i in range(num_tasks):
            present[j, i] = shift[j, i]
    best, step, since = np.inf, 1.0, 0
    for _ in range(iterations + 1):
        for j in range(num_tasks):
            for i in range(num_tasks):
                shared[j, i] = by_target[j, i] + present[j, i]
                # Row = the helper: what it is paid back by each task it helps.
                credit[i, j] = max(0.0, -present[j, i])
                gradient[j, i] = 0.0
        for j in range(num_tasks):
            gain = select_largest(shared, j, j, size - 1, partners[j], top)
            worth[0, j] = (by_target[j, j] + gain) / divisor - price[j]
            serves[j] = 1
            if overlap:
                back = select_largest(credit, j, j, size - 1, helped[j], top) / divisor
                if back > worth[0, j]:
                    worth[0, j], serves[j] = back, 0
        bound = select_largest(worth, 0, -1, size, chosen, top)
        if bound < best:
            best, since = bound, 0
            for j in range(num_tasks):
                for i in range(num_tasks):
                    shift[j, i] = present[j, i]
            if best < threshold:
                break
        else:
            since += 1
            if since == 15:
                step, since = step / 2, 0
                for j in range(num_tasks):
                    for i in range(num_tasks):
                        present[j, i] = shift[j, i]
                continue
        for place in range(size):
            j = chosen[place]
            for index in range(size - 1):
                if serves[j]:
                    gradient[j, partners[j, index]] += 1.0
                elif present[helped[j, index], j] < 0.0:
                    gradient[helped[j, index], j] -= 1.0
        norm = 0.0
        for j in range(num_tasks):
            for i in range(j):
                both = (gradient[j, i] - gradient[i, j]) / divisor
                gradient[j, i] = both
                norm += both * both
        if norm == 0.0:
            break
        length = step * (bound - best + 0.05 * abs(best) + 1e-9) / norm
        for j in range(num_tasks):
            for i in range(j):
                present[j, i] -= length * gradient[j, i]
                present[i, j] = -present[j, i]
    return best
