"""Sums of the largest of some numbers, of which every bound of the search is made."""

import numpy as np

from keras_tag.selection.many_tasks.numba_jit import compiled


@compiled
def best_between(
    values: np.ndarray, labels: np.ndarray, count: int, least: int, most: int
) -> tuple[float, int]:
    """Return the largest sum of at least `least` and at most `most` of the first `count` values.

    Args:
        values: Numbers; reordered so that those chosen come first.
        labels: The task of each value; reordered alike.
        count: How many there are.
        least: How many must be chosen; -inf is returned if there are fewer.
        most: How many may be chosen.

    Returns:
        The sum, and how many were chosen.
    """
    chosen = 0
    for place in range(count):
        if values[place] > 0.0:
            chosen += 1
    chosen = max(least, min(most, chosen))
    if count < least or most < least:
        return -np.inf, 0
    # Quickselect: the chosen ones to the front.
    low, high = 0, count - 1
    while low < high and chosen > 0:
        pivot = values[(low + high) // 2]
        left, right = low, high
        while left <= right:
            while values[left] > pivot:
                left += 1
            while values[right] < pivot:
                right -= 1
            if left <= right:
                value, label = values[left], labels[left]
                values[left], labels[left] = values[right], labels[right]
                values[right], labels[right] = value, label
                left += 1
                right -= 1
        if chosen - 1 <= right:
            high = right
        elif chosen - 1 >= left:
            low = left
        else:
            break
    total = 0.0
    for place in range(chosen):
        total += values[place]
    return total, chosen
