"""The exact search for networks of large excess, compiled.

A network trains the group S and serves T; d is what the score divides by (|S| or |S| - 1). The
*toll* is the threshold plus the price of the network. Then

    d (excess - threshold) = sum over i in S of (sum over j in T of pairs[j, i] - toll) + rest
    pairs[j, i] = A[i, j] - price[j]

where rest = toll for "partners", whose d is |S| - 1, and 0 for "members". So groups of all sizes
that cost the same are searched at once. The search looks for S and T for which this is not
negative.

A node of the search has decided for some tasks whether they are served, trained or out (see
`search_state`). Its bound is a number that no network which agrees with the decisions exceeds: what
decided tasks do for each other and for the open ones is linear, so it is added up as it is
(`_spread`); what the open tasks do for each other `pair_bound` overestimates. A bound below zero
means that the node holds no network of interest, and it is dropped. If the bound would fall below
zero with a decision about a task, no network of interest has taken it, so the opposite one is taken
(`_settle`). Then the search branches on the task that is most surely served; the two children share
no network and together have all. Once no open task can be served and no links are open, the best
helpers are those with the largest sums.
"""

import numpy as np

from keras_tag.selection.many_tasks.linked_decisions import put_in, put_out
from keras_tag.selection.many_tasks.numba_jit import compiled
from keras_tag.selection.many_tasks.pair_bound import tighten
from keras_tag.selection.many_tasks.search_state import (
    FREE,
    HELPER,
    OUT,
    SERVED,
    TRAINED,
    UNSERVED,
    OpenNodes,
    Scratch,
    SearchProblem,
)

# Steps of the subgradient method at the first node, and at any other.
_FIRST_STEPS, _STEPS = 200, 4


@compiled
def _spread(problem: SearchProblem, scratch: Scratch) -> float:
    """Compute the value of the decided tasks, and the certain part of every open one's.

    Returns:
        The former; -inf if the node holds nothing of interest.
    """
    pairs, toll, margin = problem.pairs, problem.toll, problem.margin
    left_out, overlap = problem.left_out, problem.overlap
    state, certain = scratch.state, scratch.certain
    num_tasks, inside, num_open = len(state), 0, 0
    for task in range(num_tasks):
        if state[task] >= TRAINED:
            inside += 1
    least, most = max(0, problem.first - inside), problem.last - inside
    if most < 0:
        return -np.inf
    for task in range(num_tasks):
        if most == 0 and state[task] < TRAINED:
            state[task] = OUT
        if FREE <= state[task] <= TRAINED:
            scratch.open[num_open] = task
            num_open += 1
    scratch.counts[0], scratch.counts[1], scratch.counts[2] = num_open, least, most
    total = toll * (left_out - inside)
    for task in range(num_tasks):
        code = state[task]
        # What it gains by itself and from the tasks that are trained for certain.
        own = pairs[task, task]
        # What it gives to the served tasks, and may give.
        given, gift = 0.0, 0.0
        for other in range(num_tasks):
            if other == task or state[other] == OUT:
                continue
            value, back = pairs[task, other], pairs[other, task]
            if state[other] == SERVED:
                given += back
            elif back > 0.0 and (state[other] == FREE or state[other] == TRAINED):
                gift += back
            if state[other] >= HELPER:
                own += value
        certain[0, task], certain[1, task] = -np.inf, -np.inf
        if code == SERVED:
            total += own
        elif code == TRAINED:
            total += given
            given = 0.0
        elif FREE <= code <= UNSERVED:
            # A helper that gives less than the toll pulls the mean down.
            if not problem.idle_helpers and given + gift < toll - margin:
                gift = -np.inf
            given -= toll
        is_open = FREE <= code <= TRAINED
        if is_open and code != UNSERVED:
            certain[0, task] = own + given
        if is_open and overlap and gift > -np.inf:
            certain[1, task] = given
    return total


@compiled
def _decide(
    problem: SearchProblem,
    state: np.ndarray,
    task: int,
    can_serve: bool,
    can_help: bool,
    can_leave: bool,
) -> int:
    """Decide about a task what is left to decide.

    Returns:
        0 if nothing changed, 1 if something did, 2 if nothing is possible.
    """
    code, possible = state[task], True
    if code == TRAINED and can_serve != can_help:
        state[task] = SERVED if can_serve else HELPER
    elif not can_serve and not can_help:
        possible = can_leave and put_out(problem, state, task)
    elif not can_leave and code < TRAINED:
        inside = TRAINED
        if not can_serve:
            inside = HELPER
        elif not can_help:
            inside = SERVED
        possible = put_in(problem, state, task, inside)
    elif code == FREE and not can_serve:
        state[task] = UNSERVED
    else:
        return 0
    return 1 if possible else 2


@compiled
def _settle(problem: SearchProblem, scratch: Scratch, bound: float) -> int:
    """Take every decision whose opposite would push the bound below zero.

    Returns:
        -1 if something was decided, -2 if nothing is possible; else the task to branch on: the
        task that costs most when it is not served, or whose links are open; the number of tasks if
        there is none.
    """
    state, worth, counts = scratch.state, scratch.worth, scratch.counts
    num_open, least, most, chosen = counts[0], counts[1], counts[2], counts[3]
    # `values` still has the worths of the tasks that may join, the chosen ones first.
    count = 0
    for index in range(num_open):
        if state[scratch.open[index]] < TRAINED:
            count += 1
    worst, next_best = np.inf, -np.inf
    for place in range(count):
        value = scratch.values[place]
        if place < chosen:
            worst = min(worst, value)
        else:
            next_best = max(next_best, value)
    # The worth that a task must exceed to join, and that of the one that replaces a leaving one.
    edge = worst if chosen == most else min(0.0, worst)
    heir = next_best if chosen <= least else max(0.0, next_best)
    branch, best, changed = len(state), -np.inf, 0
    for index in range(num_open):
        task = scratch.open[index]
        code = state[task]
        others, without = bound - worth[2, task], -np.inf
        if code < TRAINED:
            if worth[2, task] >= worst:
                without = others + heir
            else:
                others, without = bound - edge, bound
        serving, helping = others + worth[0, task], others + worth[1, task]
        if serving < 0.0 or helping < 0.0 or without < 0.0:
            change = _decide(problem, state, task, serving >= 0.0, helping >= 0.0, without >= 0.0)
            changed = max(changed, change)
            if changed == 2:
                return -2
        surest = serving - 2.0 * max(helping, without)
        if code == UNSERVED:
            # Only the links of a helper are of interest, and those last.
            surest = -1e300 if problem.linked[task] else -np.inf
        if surest > best:
            branch, best = task, surest
    return -1 if changed else branch


@compiled
def _branch(problem: SearchProblem, state: np.ndarray, task: int, serve: bool) -> bool:
    """Decide that a task is served, or that it is not; of a helper, that it is trained, or not.

    Return False if that can't be.
    """
    code = state[task]
    if serve or code == TRAINED:
        return put_in(problem, state, task, SERVED if serve and code != UNSERVED else HELPER)
    if code == UNSERVED or not problem.overlap:
        return put_out(problem, state, task)
    state[task] = UNSERVED
    return True


@compiled
def search(
    problem: SearchProblem,
    nodes: OpenNodes,
    height: int,
    scratch: Scratch,
    found: np.ndarray,
    limit: int,
) -> tuple[int, int]:
    """Continue a search for networks whose excess reaches a threshold.

    Args:
        problem: What is searched for.
        nodes: The open nodes; grows and shrinks.
        height: Their number.
        scratch: Memory.
        found: `[most, num_tasks]` of int8; receives what was found: the tasks SERVED, each HELPER,
            and the tasks that may be helpers (UNSERVED).
        limit: Stop after so many nodes.

    Returns:
        The number of open nodes left, and of what was found.
    """
    num_tasks, margin = len(problem.block), problem.margin
    state, share = scratch.state, scratch.share
    largest_share = 2.0 * np.abs(problem.pairs).max()
    searched, count = 0, 0
    while height > 0 and searched < limit and count < len(found):
        height -= 1
        searched += 1
        if nodes.bounds[height] < -margin:
            continue
        steps = _FIRST_STEPS if nodes.bounds[height] == np.inf else _STEPS
        # Loops, because slices take numba seconds to compile.
        for task in range(num_tasks):
            state[task] = nodes.states[height, task]
            for other in range(num_tasks):
                share[task, other] = nodes.shares[height, task, other]
        # Decide what there is no choice about, until nothing changes any more.
        bound, branch = np.inf, -1
        while branch == -1:
            bound = _spread(problem, scratch)
            if bound > -np.inf:
                bound += tighten(problem, largest_share, -margin - bound, steps, scratch)
            branch = -2
            if bound >= -margin:
                branch = _settle(problem, scratch, bound + margin)
            steps = _STEPS // 2
        if branch == num_tasks:
            for task in range(num_tasks):
                found[count, task] = state[task]
            count += 1
        if branch < 0 or branch == num_tasks:
            continue
        # The unserved child first: it is taken up after the served one.
        for child in range(2):
            nodes.bounds[height] = bound
            for task in range(num_tasks):
                nodes.states[height, task] = state[task]
                for other in range(num_tasks):
                    nodes.shares[height, task, other] = share[task, other]
            if _branch(problem, nodes.states[height], branch, child == 1):
                height += 1
    return height, count
