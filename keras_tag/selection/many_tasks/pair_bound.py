"""The bound of a search node, which shares what a pair gains between its two tasks.

A network that trains S and serves T is worth, up to a constant,

    sum over i in S of (sum over j in T of pairs[j, i] - toll)

(see `branch_and_bound`). If tasks i and j are both served, only pairs[j, i] + pairs[i, j] counts,
so any amount may be moved between the two before every task is credited with its best partners:

    pairs'[j, i] = pairs[j, i] + share[j, i],   share[i, j] = -share[j, i]

A helper i is no target, so as a helper of j it is paid back -share[j, i]. Moving credit changes no
network's value. Then every task is credited with the partners that are best for itself, and the
best S takes the tasks of largest worth: one S for all of them can't reach more, so that any shares
give a valid bound. The shares of the least bound are approached by a subgradient method, anew at
every node. It makes the search smaller by orders of magnitude, because partners that many tasks
would like can't all be had at once.

Reference:
    Caprara, Pisinger, Toth, "Exact solution of the quadratic knapsack problem", INFORMS Journal on
    Computing 11(2), 1999, use such a bound, at the root.
"""

import numpy as np

from keras_tag.selection.many_tasks.largest_sum import best_between
from keras_tag.selection.many_tasks.numba_jit import compiled
from keras_tag.selection.many_tasks.search_state import TRAINED, Scratch, SearchProblem

# Failed steps after which the step is halved, and the smallest part of a full step.
_PATIENCE, _SMALLEST_STEP = 5, 0.05


@compiled
def _relax(problem: SearchProblem, share: np.ndarray, scratch: Scratch) -> float:
    """Return what the undecided tasks add at most, at these shares; fill the worths."""
    pairs = problem.pairs
    state, open_tasks, worth, certain = scratch.state, scratch.open, scratch.worth, scratch.certain
    values, labels, partners = scratch.values, scratch.labels, scratch.partners
    num_open, least, most = scratch.counts[0], scratch.counts[1], scratch.counts[2]
    total = 0.0
    for index in range(num_open):
        task = open_tasks[index]
        # A task that is not in S yet takes a place itself.
        joins = 0 if state[task] == TRAINED else 1
        for role in range(2):
            # A served task is credited with the tasks trained with it, a helper with those helped.
            sure, count, need = certain[role, task], 0, 0
            gain, taken = sure, 0
            if sure > -np.inf:
                for place in range(num_open):
                    other = open_tasks[place]
                    value = pairs[task, other] + share[task, other]
                    counts = other != task
                    if role == 1:
                        value = -share[other, task]
                        counts = counts and value > 0.0 and certain[0, other] > -np.inf
                    if counts and state[other] == TRAINED:
                        sure += value
                        partners[role, task, taken] = other
                        taken += 1
                    elif counts:
                        values[count], labels[count] = value, other
                        count += 1
                if role == 0:
                    need = max(0, least - joins)
                gain, chosen = best_between(values, labels, count, need, most - joins)
                gain += sure
                for place in range(chosen):
                    partners[role, task, taken] = labels[place]
                    taken += 1
            scratch.num_partners[role, task] = taken
            worth[role, task] = gain
        worth[2, task] = max(worth[0, task], worth[1, task])
        if joins == 0:
            total += worth[2, task]
    count = 0
    for index in range(num_open):
        task = open_tasks[index]
        if state[task] != TRAINED:
            values[count], labels[count] = worth[2, task], task
            count += 1
    gain, chosen = best_between(values, labels, count, least, most)
    scratch.counts[3] = chosen
    return total + gain


@compiled
def _descend(scratch: Scratch) -> float:
    """Store the subgradient of the last bound below the diagonal of the open tasks.

    Returns:
        Its squared length.
    """
    gradient, open_tasks, num_open = scratch.gradient, scratch.open, scratch.counts[0]
    partners, worth = scratch.partners, scratch.worth
    for row in range(num_open):
        for column in range(num_open):
            gradient[open_tasks[row], open_tasks[column]] = 0.0
    # `labels` still has the chosen tasks first; those in S anyway come on top.
    chosen = scratch.counts[3]
    for place in range(chosen + num_open):
        task = scratch.labels[place] if place < chosen else open_tasks[place - chosen]
        if place >= chosen and scratch.state[task] != TRAINED:
            continue
        role = 0 if worth[0, task] >= worth[1, task] else 1
        for index in range(scratch.num_partners[role, task]):
            other = partners[role, task, index]
            if role == 0:
                gradient[task, other] += 1.0
            else:
                gradient[other, task] -= 1.0
    norm = 0.0
    for row in range(num_open):
        for column in range(row):
            first, second = open_tasks[row], open_tasks[column]
            gradient[first, second] -= gradient[second, first]
            norm += gradient[first, second] ** 2
    return norm


@compiled
def _copy_open(source: np.ndarray, target: np.ndarray, scratch: Scratch) -> None:
    open_tasks, num_open = scratch.open, scratch.counts[0]
    for row in range(num_open):
        for column in range(num_open):
            first, second = open_tasks[row], open_tasks[column]
            target[first, second] = source[first, second]


@compiled
def tighten(
    problem: SearchProblem, largest: float, target: float, steps: int, scratch: Scratch
) -> float:
    """Improve the node's shares by subgradient steps.

    Args:
        problem: What is searched for.
        largest: The size that no share exceeds, larger than any useful one.
        target: Stop as soon as the bound is below.
        steps: How many steps to take at most.
        scratch: The node; its shares are improved and its worths filled.

    Returns:
        What the undecided tasks add at most.
    """
    present, open_tasks, num_open = scratch.trial, scratch.open, scratch.counts[0]
    _copy_open(scratch.share, present, scratch)
    bound, best, step, failed, last = np.inf, np.inf, 1.0, 0, False
    for turn in range(steps + 2):
        bound = _relax(problem, present, scratch)
        if bound < target or last:
            break
        better = bound < best
        if better:
            best, failed = bound, 0
            _copy_open(present, scratch.share, scratch)
        else:
            failed += 1
        norm = _descend(scratch)
        if failed == _PATIENCE:
            step /= 2
        last = turn >= steps or norm == 0.0 or step < _SMALLEST_STEP
        if last and better:
            break
        if last or failed == _PATIENCE:
            # Back to the best shares; in the last turn for the worths that belong to them.
            failed = 0
            _copy_open(scratch.share, present, scratch)
            continue
        length = step * (bound - target) / norm
        for row in range(num_open):
            for column in range(row):
                first, second = open_tasks[row], open_tasks[column]
                moved = present[first, second] - length * scratch.gradient[first, second]
                moved = min(largest, max(-largest, moved))
                present[first, second], present[second, first] = moved, -moved
    return bound
