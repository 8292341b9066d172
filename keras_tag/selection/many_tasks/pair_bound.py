"""The bound of a search node, which shares what a pair gains between its two tasks.

A network that trains S and serves T is worth, up to a constant,

    sum over i in S of (sum over j in T of pairs[j, i] - toll)

(see `branch_and_bound`). If tasks i and j are both served, only pairs[j, i] + pairs[i, j] counts,
so any amount may be moved between the two before every task is credited with its best partners:

    pairs'[j, i] = pairs[j, i] + share[j, i],   share[i, j] = -share[j, i]

A helper i is no target, so as a helper of j it is paid back -share[j, i]. Then the tasks are
independent of each other, and the best S takes the tasks of largest worth. Every share gives a
valid bound; the one of least bound is approached by a subgradient method, anew at every node. It
makes the search smaller by orders of magnitude, because partners that many tasks would like can't
all be had at once.

Reference:
    Caprara, Pisinger, Toth, "Exact solution of the quadratic knapsack problem", INFORMS Journal on
    Computing 11(2), 1999, use such a bound, at the root.
"""

from typing import NamedTuple

import numpy as np

from keras_tag.selection.many_tasks.decisions import TRAINED
from keras_tag.selection.many_tasks.largest_sum import best_between
from keras_tag.selection.many_tasks.numba_jit import compiled

# Failed steps after which the step is halved, and the smallest part of a full step.
_PATIENCE, _SMALLEST_STEP = 5, 0.05


class Node(NamedTuple):
    """A node: its decisions, and what they leave to each undecided task.

    Args:
        state: `[num_tasks]` of the codes of `decisions`.
        open: `[num_tasks]`, of which the first `counts[0]` are the undecided tasks: FREE,
            UNSERVED and TRAINED.
        counts: `[4]`: the number of open tasks; the least and the most tasks that may still join
            S; how many of them the bound has chosen.
        certain: `[2, num_tasks]`: what an open task brings in for certain if served, and as a
            helper; -inf if it can't be.
        share: `[num_tasks, num_tasks]`, rows target; antisymmetric.
        worth: `[3, num_tasks]`: receives what a task is worth at most if it is served, as a helper,
            and the larger of the two.
    """

    state: np.ndarray
    open: np.ndarray
    counts: np.ndarray
    certain: np.ndarray
    share: np.ndarray
    worth: np.ndarray


class Scratch(NamedTuple):
    """Working memory that is written before it is read.

    Args:
        values: `[num_tasks]`.
        labels: `[num_tasks]` of int64.
        partners: `[2, num_tasks, num_tasks]` of int64: the tasks that a task was credited with, as
            a served task and as a helper.
        num_partners: `[2, num_tasks]` of int64.
        share: `[num_tasks, num_tasks]`.
        gradient: `[num_tasks, num_tasks]`.
    """

    values: np.ndarray
    labels: np.ndarray
    partners: np.ndarray
    num_partners: np.ndarray
    share: np.ndarray
    gradient: np.ndarray


@compiled
def _relax(pairs: np.ndarray, share: np.ndarray, node: Node, scratch: Scratch) -> float:
    """Return what the undecided tasks add at most, at these shares; fill the node's worths."""
    state, open_tasks, worth, certain = node.state, node.open, node.worth, node.certain
    values, labels, partners = scratch.values, scratch.labels, scratch.partners
    num_open, least, most = node.counts[0], node.counts[1], node.counts[2]
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
    node.counts[3] = chosen
    return total + gain


@compiled
def _descend(node: Node, scratch: Scratch) -> float:
    """Store the subgradient of the last bound below the diagonal of the open tasks.

    Returns:
        Its squared length.
    """
    gradient, open_tasks, num_open = scratch.gradient, node.open, node.counts[0]
    partners, worth = scratch.partners, node.worth
    for row in range(num_open):
        for column in range(num_open):
            gradient[open_tasks[row], open_tasks[column]] = 0.0
    # `labels` still has the chosen tasks first; those in S anyway come on top.
    chosen = node.counts[3]
    for place in range(chosen + num_open):
        task = scratch.labels[place] if place < chosen else open_tasks[place - chosen]
        if place >= chosen and node.state[task] != TRAINED:
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
def _copy_open(source: np.ndarray, target: np.ndarray, node: Node) -> None:
    open_tasks, num_open = node.open, node.counts[0]
    for row in range(num_open):
        for column in range(num_open):
            first, second = open_tasks[row], open_tasks[column]
            target[first, second] = source[first, second]


@compiled
def tighten(
    pairs: np.ndarray, largest: float, target: float, steps: int, node: Node, scratch: Scratch
) -> float:
    """Improve the node's shares by subgradient steps.

    Args:
        pairs: `[num_tasks, num_tasks]`, rows target, columns source, with a zero diagonal.
        largest: The size that no share exceeds, larger than any useful one.
        target: Stop as soon as the bound is below.
        steps: How many steps to take at most.
        node: The node; its shares are improved and its worths filled.
        scratch: Memory.

    Returns:
        What the undecided tasks add at most.
    """
    present, open_tasks, num_open = scratch.share, node.open, node.counts[0]
    _copy_open(node.share, present, node)
    bound, best, step, failed, last = np.inf, np.inf, 1.0, 0, False
    for turn in range(steps + 2):
        bound = _relax(pairs, present, node, scratch)
        if bound < target or last:
            break
        better = bound < best
        if better:
            best, failed = bound, 0
            _copy_open(present, node.share, node)
        else:
            failed += 1
        norm = _descend(node, scratch)
        if failed == _PATIENCE:
            step /= 2
        last = turn >= steps or norm == 0.0 or step < _SMALLEST_STEP
        if last and better:
            break
        if last or failed == _PATIENCE:
            # Back to the best shares; in the last turn for the worths that belong to them.
            failed = 0
            _copy_open(node.share, present, node)
            continue
        length = step * (bound - target) / norm
        for row in range(num_open):
            for column in range(row):
                first, second = open_tasks[row], open_tasks[column]
                moved = present[first, second] - length * scratch.gradient[first, second]
                moved = min(largest, max(-largest, moved))
                present[first, second], present[second, first] = moved, -moved
    return bound
