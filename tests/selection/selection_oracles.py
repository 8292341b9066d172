"""Slow and simple ways to the same optimum; they share no code with the package."""

import itertools

import numpy as np


def score_table(z, score, lone):
    """[2**n, n]: the score of each member in each group (bit masks); -inf where not allowed."""
    n = len(z)
    table = np.full((1 << n, n), -np.inf)
    for mask in range(1, 1 << n):
        members = [i for i in range(n) if mask >> i & 1]
        for j in members:
            if len(members) == 1:
                value = lone[j]
            elif score == "partners":
                value = sum(z[i][j] for i in members if i != j) / (len(members) - 1)
            else:
                value = sum(z[i][j] / z[j][j] for i in members) / len(members)
            table[mask, j] = -np.inf if value is None else value
    return table


def best_of_all_sets_of_groups(table, budget):
    """Try every set of at most `budget` groups: (objective, networks, total size) or None."""
    n = table.shape[1]
    usable = [m for m in range(1, 1 << n) if np.isfinite(table[m]).any()]
    sizes = np.array([m.bit_count() for m in usable])
    rows = table[usable]
    best = None
    for count in range(1, min(budget, n, len(usable)) + 1):
        sets = np.array(list(itertools.combinations(range(len(usable)), count)))
        served = rows[sets[:, 0]]
        for column in range(1, count):
            served = np.maximum(served, rows[sets[:, column]])
        totals = served.sum(axis=1)
        top = totals.max()
        if not np.isfinite(top):
            continue
        if best is None or top > best[0] + 1e-9 * max(1.0, abs(top)):
            near = totals >= top - 1e-9 * max(1.0, abs(top))
            best = (top, count, int(sizes[sets[near]].sum(axis=1).min()))
    return best
