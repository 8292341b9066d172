"""A quick search for networks of positive excess, which flips one served task at a time."""

import numpy as np

from keras_tag.selection.many_tasks.numba_jit import compiled


@compiled
def best_size(
    array: np.ndarray,
    help_of: np.ndarray,
    served: np.ndarray,
    num_served: int,
    inside: float,
    left_out: int,
    size_price: np.ndarray,
    lone: float,
    overlap: bool,
    scratch: np.ndarray,
) -> tuple[float, int]:
    """Return the best value, less the price of the size, over all sizes of a served set's group."""
    num_tasks = len(served)
    best, best_size = -np.inf, 0
    if num_served == 1 and lone - size_price[1] > best:
        best, best_size = lone - size_price[1], 1
    # The helpers by falling worth, by insertion: there are few.
    count = 0
    if overlap:
        for task in range(num_tasks):
            if not served[task]:
                place = count
                while place > 0 and scratch[place - 1] < help_of[task]:
                    scratch[place] = scratch[place - 1]
                    place -= 1
                scratch[place] = help_of[task]
                count += 1
    total = inside
    for size in range(num_served, num_served + count + 1):
        if size > num_served:
            total += scratch[size - num_served - 1]
        if size >= 2:
            value = total / (size - left_out) - size_price[size]
            if value > best:
                best, best_size = value, size
    return best, best_size


@compiled
def ascend(
    array: np.ndarray,
    price: np.ndarray,
    left_out: int,
    size_price: np.ndarray,
    lone: np.ndarray,
    overlap: bool,
    starts: np.ndarray,
    values: np.ndarray,
    sizes: np.ndarray,
) -> None:
    """Improve served sets in place until no single flip raises the excess.

    Args:
        array: `[num_tasks, num_tasks]`, rows source, columns target: A.
        price: `[num_tasks]`, the tasks' prices.
        left_out: 1 if a task's score leaves out itself.
        size_price: `[num_tasks + 1]`, what a size costs in the objective; inf where not allowed.
        lone: `[num_tasks]`, the score of a lone task; -inf where forbidden.
        overlap: Whether helpers are allowed.
        starts: `[num_starts, num_tasks]` of int8; the served sets, changed in place.
        values: `[num_starts]`, receives the excesses.
        sizes: `[num_starts]`, receives the sizes of the groups.
    """
    num_tasks = len(price)
    scratch = np.empty(num_tasks)
    help_of = np.empty(num_tasks)
    into = np.empty(num_tasks)
    for start in range(len(starts)):
        served = starts[start]
        for j in range(num_tasks):
            help_of[j], into[j] = 0.0, 0.0
        inside, paid, count, last = 0.0, 0.0, 0, 0
        for j in range(num_tasks):
            if served[j]:
                count += 1
                last = j
                paid += price[j]
                for i in range(num_tasks):
                    help_of[i] += array[i, j]
                    into[i] += array[j, i]
        for j in range(num_tasks):
            if served[j]:
                inside += help_of[j]
        while True:
            value, size = best_size(
                array,
                help_of,
                served,
                count,
                inside,
                left_out,
                size_price,
                lone[last],
                overlap,
                scratch,
            )
            value -= paid
            best, best_task = value + 1e-12, -1
            for j in range(num_tasks):
                sign = -1.0 if served[j] else 1.0
                new_count = count + (-1 if served[j] else 1)
                if new_count == 0:
                    continue
                if served[j]:
                    new_inside = inside - help_of[j] - into[j] + array[j, j]
                else:
                    new_inside = inside + help_of[j] + into[j] + array[j, j]
                for i in range(num_tasks):
                    help_of[i] += sign * array[i, j]
                served[j] = 1 - served[j]
                only = j
                if new_count == 1:
                    for i in range(num_tasks):
                        if served[i]:
                            only = i
                new_value, _ = best_size(
                    array,
                    help_of,
                    served,
                    new_count,
                    new_inside,
                    left_out,
                    size_price,
                    lone[only],
                    overlap,
                    scratch,
                )
                new_value -= paid + sign * price[j]
                served[j] = 1 - served[j]
                for i in range(num_tasks):
                    help_of[i] -= sign * array[i, j]
                if new_value > best:
                    best, best_task = new_value, j
            if best_task < 0:
                break
            j = best_task
            sign = -1.0 if served[j] else 1.0
            if served[j]:
                inside = inside - help_of[j] - into[j] + array[j, j]
                count -= 1
            else:
                inside = inside + help_of[j] + into[j] + array[j, j]
                count += 1
            paid += sign * price[j]
            served[j] = 1 - served[j]
            for i in range(num_tasks):
                help_of[i] += sign * array[i, j]
                into[i] += sign * array[j, i]
            for i in range(num_tasks):
                if served[i]:
                    last = i
        values[start], sizes[start] = value, size
