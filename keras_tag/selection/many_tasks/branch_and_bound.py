"""The exact search for networks of large excess, compiled.

A network trains the group S and serves T; d is what the score divides by (|S| or |S| - 1). With a
threshold on the excess and the price of a network, together the *toll* of a unit of d,

    d (excess - threshold) = sum over i in S of (sum over j in T of pairs[j, i] - toll) + rest
    pairs[j, i] = A[i, j] - price[j]

where rest = toll for "partners", whose d is |S| - 1, and 0 for "members". So groups of all sizes
that cost the same are searched at once: what is looked for are S and T for which this is not
negative.

A node of the search has decided for some tasks whether they are served, trained or out (see
`decisions`). What
decided tasks do for each other and for the open ones is linear; for what the open tasks do for each
other `pair_shares` gives a bound. A task for which a decision would push the bound below zero gets
the opposite one; then the search branches on the task whose being served is surest. Once no other
task can be served (nor any task with links be decided about), the best helpers are those with the
largest sums.
"""

import numpy as np

from keras_tag.selection.many_tasks.decisions import FREE, HELPER, OUT, SERVED, TRAINED, UNSERVED
from keras_tag.selection.many_tasks.largest_sum import best_between
from keras_tag.selection.many_tasks.linked_decisions import put_in, put_out
from keras_tag.selection.many_tasks.numba_jit import compiled
from keras_tag.selection.many_tasks.pair_bound import Node, Scratch, tighten

# Steps of the subgradient method at the first node, and at any other.
_FIRST_STEPS, _STEPS = 200, 4


@compiled
def _spread(
    pairs: np.ndarray,
    diagonal: np.ndarray,
    toll: float,
    margin: float,
    left_out: int,
    first: int,
    last: int,
    slack: float,
    overlap: bool,
    idle_helpers: bool,
    node: Node,
    scratch: Scratch,
) -> float:
    """Compute the value of the decided tasks, and the certain part of every open one's.

    Returns:
        The former; -inf if the node holds nothing of interest.
    """
    state, certain = node.state, node.certain
    num_tasks, inside, num_open = len(state), 0, 0
    for task in range(num_tasks):
        if state[task] >= TRAINED:
            inside += 1
    least, most = max(0, first - inside), last - inside
    if most < 0:
        return -np.inf
    for task in range(num_tasks):
        if most == 0 and state[task] < TRAINED:
            state[task] = OUT
        if FREE <= state[task] <= TRAINED:
            node.open[num_open] = task
            num_open += 1
    node.counts[0], node.counts[1], node.counts[2] = num_open, least, most
    total = toll * (left_out - inside)
    for task in range(num_tasks):
        code = state[task]
        # The tasks that are trained with it for certain, and those that may be.
        own, reach, count = diagonal[task], (1 - left_out) * slack, 0
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
                reach += slack
            elif state[other] == TRAINED:
                reach += value + slack
            else:
                scratch.values[count] = value + slack
                count += 1
        joins = 1 if code < TRAINED else 0
        possible = True
        if overlap and code != OUT and code != HELPER:
            # A task whose score can't reach its price is not served: the others have more of it.
            most_more, _ = best_between(
                scratch.values, scratch.labels, count, max(0, least - joins), most - joins
            )
            possible = own + reach + most_more >= -margin
        certain[0, task], certain[1, task] = -np.inf, -np.inf
        if code == SERVED:
            total += own
            if not possible:
                return -np.inf
        elif code == TRAINED:
            total += given
            given = 0.0
        elif FREE <= code <= UNSERVED:
            # A helper that gives less than the toll pulls the mean down.
            if not idle_helpers and given + gift < toll - margin:
                gift = -np.inf
            given -= toll
        is_open = FREE <= code <= TRAINED
        if is_open and possible and code != UNSERVED:
            certain[0, task] = own + given
        if is_open and overlap and gift > -np.inf:
            certain[1, task] = given
    return total


@compiled
def _decide(
    state: np.ndarray,
    task: int,
    can_serve: bool,
    can_help: bool,
    can_leave: bool,
    overlap: bool,
    conflict: np.ndarray,
    block: np.ndarray,
) -> int:
    """Decide about a task what is left to decide.

    Returns:
        0 if nothing changed, 1 if something did, 2 if nothing is possible.
    """
    code, possible = state[task], True
    if code == TRAINED and can_serve != can_help:
        state[task] = SERVED if can_serve else HELPER
    elif not can_serve and not can_help:
        possible = can_leave and put_out(state, task, block)
    elif not can_leave and code < TRAINED:
        inside = TRAINED
        if not can_serve:
            inside = HELPER
        elif not can_help:
            inside = SERVED
        possible = put_in(state, task, inside, overlap, conflict, block)
    elif code == FREE and not can_serve:
        state[task] = UNSERVED
    else:
        return 0
    return 1 if possible else 2


@compiled
def _settle(
    bound: float,
    node: Node,
    scratch: Scratch,
    linked: np.ndarray,
    overlap: bool,
    conflict: np.ndarray,
    block: np.ndarray,
) -> int:
    """Take every decision whose opposite would push the bound below zero.

    Returns:
        -1 if something was decided, -2 if nothing is possible; else the task to branch on: the
        task that costs most when it is not served, or whose links are open; the number of tasks if
        there is none.
    """
    state, worth, counts = node.state, node.worth, node.counts
    num_open, least, most, chosen = counts[0], counts[1], counts[2], counts[3]
    # `values` still has the worths of the tasks that may join, the chosen ones first.
    count = 0
    for index in range(num_open):
        if state[node.open[index]] < TRAINED:
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
        task = node.open[index]
        code = state[task]
        others, without = bound - worth[2, task], -np.inf
        if code < TRAINED:
            if worth[2, task] >= worst:
                without = others + heir
            else:
                others, without = bound - edge, bound
        serving, helping = others + worth[0, task], others + worth[1, task]
        if serving < 0.0 or helping < 0.0 or without < 0.0:
            change = _decide(
                state,
                task,
                serving >= 0.0,
                helping >= 0.0,
                without >= 0.0,
                overlap,
                conflict,
                block,
            )
            changed = max(changed, change)
            if changed == 2:
                return -2
        surest = serving - 2.0 * max(helping, without)
        if code == UNSERVED:
            # Only the links of a helper are of interest, and those last.
            surest = -1e300 if linked[task] else -np.inf
        if surest > best:
            branch, best = task, surest
    return -1 if changed else branch


@compiled
def search(
    pairs: np.ndarray,
    diagonal: np.ndarray,
    toll: float,
    margin: float,
    left_out: int,
    first: int,
    last: int,
    served_slack: float,
    overlap: bool,
    idle_helpers: bool,
    conflict: np.ndarray,
    block: np.ndarray,
    linked: np.ndarray,
    stack: np.ndarray,
    shares: np.ndarray,
    bounds: np.ndarray,
    height: int,
    found_states: np.ndarray,
    node_limit: int,
) -> tuple[int, int]:
    """Continue a search for networks whose excess reaches a threshold.

    Args:
        pairs: `[num_tasks, num_tasks]`, rows target, columns source: A[source, target] less the
            target's price; the diagonal is 0.
        diagonal: `[num_tasks]`: what a served task adds by itself: likewise, or 0 if a score
            leaves out the task itself.
        toll: The threshold plus what a network of these sizes costs, at the price of the budget.
        margin: Room for rounding: only what is below zero by more than this is pruned.
        left_out: 1 if a score leaves out the task itself: what it divides by is smaller by this.
        first: The smallest number of tasks to train, at least 2.
        last: The largest.
        served_slack: A served task may bring in at least minus this (less is dominated).
        overlap: Whether tasks may be trained without being served.
        idle_helpers: Whether helpers that pull the mean down are of interest (without them the
            group would be one smaller, and better).
        conflict: `[num_tasks, num_tasks]` of 0 and 1: not trained together.
        block: `[num_tasks]`: tasks of the same number are trained together.
        linked: `[num_tasks]` of 0 and 1: whether there is such a number or conflict.
        stack: `[limit, num_tasks]` of int8, the open nodes; grows and shrinks.
        shares: `[limit, num_tasks, num_tasks]`, their pair shares.
        bounds: `[limit]`, what they are worth at most (see the top of this file).
        height: The number of open nodes.
        found_states: `[limit, num_tasks]` of int8; receives what was found: the tasks SERVED, each
            HELPER, and the tasks that may be helpers (UNSERVED).
        node_limit: Stop after so many nodes.

    Returns:
        The number of open nodes left, and of what was found.
    """
    num_tasks = len(block)
    node = Node(
        np.empty(num_tasks, np.int8),
        np.empty(num_tasks, np.int64),
        np.empty(4, np.int64),
        np.empty((2, num_tasks)),
        np.empty((num_tasks, num_tasks)),
        np.empty((3, num_tasks)),
    )
    scratch = Scratch(
        np.empty(num_tasks),
        np.empty(num_tasks, np.int64),
        np.empty((2, num_tasks, num_tasks), np.int64),
        np.empty((2, num_tasks), np.int64),
        np.empty((num_tasks, num_tasks)),
        np.empty((num_tasks, num_tasks)),
    )
    state, share = node.state, node.share
    largest_share = 2.0 * np.abs(pairs).max()
    nodes, found = 0, 0
    while height > 0 and nodes < node_limit and found < len(found_states):
        height -= 1
        nodes += 1
        if bounds[height] < -margin:
            continue
        steps = _FIRST_STEPS if bounds[height] == np.inf else _STEPS
        # Loops, because slices take numba seconds to compile.
        for task in range(num_tasks):
            state[task] = stack[height, task]
            for other in range(num_tasks):
                share[task, other] = shares[height, task, other]
        # Decide what there is no choice about, until nothing changes any more.
        bound, branch = np.inf, -1
        while branch == -1:
            bound = _spread(
                pairs,
                diagonal,
                toll,
                margin,
                left_out,
                first,
                last,
                served_slack,
                overlap,
                idle_helpers,
                node,
                scratch,
            )
            if bound > -np.inf:
                bound += tighten(pairs, largest_share, -margin - bound, steps, node, scratch)
            branch = -2
            if bound >= -margin:
                branch = _settle(bound + margin, node, scratch, linked, overlap, conflict, block)
            steps = _STEPS // 2
        if branch == num_tasks:
            for task in range(num_tasks):
                found_states[found, task] = state[task]
            found += 1
        if branch < 0 or branch == num_tasks:
            continue
        code = state[branch]
        # The unserved child first: it is taken up after the served one.
        for child in range(2):
            bounds[height] = bound
            for task in range(num_tasks):
                stack[height, task] = state[task]
                for other in range(num_tasks):
                    shares[height, task, other] = share[task, other]
            inside = SERVED if child == 1 else HELPER
            leaves = child == 0
            if code == UNSERVED:
                inside = HELPER
            elif code == TRAINED:
                leaves = False
            elif child == 0 and overlap:
                stack[height, branch] = UNSERVED
                height += 1
                continue
            if leaves:
                possible = put_out(stack[height], branch, block)
            else:
                possible = put_in(stack[height], branch, inside, overlap, conflict, block)
            if possible:
                height += 1
    return height, found
