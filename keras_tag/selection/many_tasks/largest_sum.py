"""Sums of the largest of some numbers, of which every bound of the search is made."""

import numpy as np

from keras_tag.selection.many_tasks.numba_jit import compiled


@compiled
def _swap(values: np.ndarray, labels: np.ndarray, one: int, other: int) -> None:
    value, label = values[one], labels[one]
    values[one], labels[one] = values[other], labels[other]
    values[other], labels[other] = value, label


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
    if count < least or most < least:
        return -np.inf, 0
    chosen = 0
    for place in range(count):
        if values[place] > 0.0:
            _swap(values, labels, place, chosen)
            chosen += 1
    while chosen < least:
        best = chosen
        for place in range(chosen, count):
            if values[place] > values[best]:
                best = place
        _swap(values, labels, best, chosen)
        chosen += 1
    while chosen > most:
        chosen -= 1
        worst = chosen
        for place in range(chosen):
            if values[place] < values[worst]:
                worst = place
        _swap(values, labels, worst, chosen)
    total = 0.0
    for place in range(chosen):
        total += values[place]
    return total, chosen
