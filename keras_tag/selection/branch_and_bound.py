"""The exact search for networks of large excess, compiled.

Fix the size k of the group S, and let d be what the score divides by (k or k - 1). Then

    excess(S, T) = sum over j in T of (sum over i in S of A[i, j] / d - price[j]) - price of k

A node of the search has decided for some tasks whether they are served (in T), trained (in S) or
out. With r places left in S, an undecided task i is worth at most

    as a helper:  sum over served j of A[i, j] / d
    if served:    that, and (what the trained and its r - 1 best others give it) / d - price[i]

so the node is worth at most what it has plus its r best tasks. A task that can't be served without
falling below the threshold is not branched on; once nobody else can be served, the best helpers
are those with the largest sums.
"""

import numpy as np

from keras_tag.selection.compiled import compiled

# What a node has decided about a task.
FREE, SERVED, UNSERVED, HELPER, OUT, TRAINED = 0, 1, 2, 3, 4, 5
# FREE: nothing. SERVED: in T. UNSERVED: not in T, may be in S. HELPER: in S, not in T. OUT: not in
# S. TRAINED: in S, nothing decided about T.


@compiled
def _put_in(
    state: np.ndarray,
    task: int,
    code: int,
    overlap: bool,
    conflict: np.ndarray,
    block: np.ndarray,
) -> bool:
    """Train `task`; whoever is tied to it comes along, whoever must not meet it leaves."""
    if state[task] == OUT:
        return False
    state[task] = code
    for other in range(len(state)):
        if other == task:
            continue
        if block[other] == block[task]:
            if state[other] == OUT or (state[other] == UNSERVED and not overlap):
                return False
            if state[other] == FREE:
                state[other] = TRAINED if overlap else SERVED
            elif state[other] == UNSERVED:
                state[other] = HELPER
    for member in range(len(state)):
        if block[member] != block[task]:
            continue
        for other in range(len(state)):
            if (
                conflict[member, other]
                and state[other] != OUT
                and not _put_out(state, other, block)
            ):
                return False
    return True


@compiled
def _put_out(state: np.ndarray, task: int, block: np.ndarray) -> bool:
    """Do not train `task`, nor whoever is tied to it."""
    for other in range(len(state)):
        if block[other] == block[task]:
            if state[other] == SERVED or state[other] == HELPER or state[other] == TRAINED:
                return False
            state[other] = OUT
    return True


@compiled
def _best_others(
    column: np.ndarray, order: np.ndarray, state: np.ndarray, task: int, count: int, helpers: bool
) -> float:
    """The sum of the `count` largest entries of undecided tasks other than `task`."""
    total = 0.0
    for index in range(len(order)):
        if count <= 0:
            break
        other = order[index]
        if other != task and (state[other] == FREE or (helpers and state[other] == UNSERVED)):
            total += column[other]
            count -= 1
    return total if count <= 0 else -np.inf


@compiled
def _largest(values: np.ndarray, count: int, top: np.ndarray) -> float:
    """The sum of the `count` largest values, which are left in `top`, descending."""
    if count == 0:
        return 0.0
    filled = 0
    for value in values:
        if value == -np.inf or (filled == count and value <= top[count - 1]):
            continue
        place = filled if filled < count else count - 1
        while place > 0 and top[place - 1] < value:
            top[place] = top[place - 1]
            place -= 1
        top[place] = value
        if filled < count:
            filled += 1
    if filled < count:
        return -np.inf
    total = 0.0
    for index in range(count):
        total += top[index]
    return total


@compiled
def _fill_with_helpers(
    state: np.ndarray,
    help_of: np.ndarray,
    places: int,
    conflict: np.ndarray,
    block: np.ndarray,
    group: np.ndarray,
) -> int:
    """Put the best helpers into `group`.

    Returns the first task that the links forbid there, -1 if none, -2 if there are too few.
    """
    for task in range(len(state)):
        group[task] = 1 if state[task] in (SERVED, HELPER, TRAINED) else 0
    for _ in range(places):
        best = -1
        for task in range(len(state)):
            if state[task] != UNSERVED or group[task]:
                continue
            if best < 0 or help_of[task] > help_of[best]:
                best = task
        if best < 0:
            return -2
        group[best] = 1
    for task in range(len(state)):
        if state[task] != UNSERVED:
            continue
        for other in range(len(state)):
            if group[task] and group[other] and conflict[task, other]:
                return task
            if group[task] and not group[other] and block[other] == block[task]:
                return task
    return -1


@compiled
def search(
    array: np.ndarray,
    order: np.ndarray,
    price: np.ndarray,
    size: int,
    divisor: float,
    threshold: float,
    served_slack: float,
    overlap: bool,
    conflict: np.ndarray,
    block: np.ndarray,
    rising: bool,
    stack: np.ndarray,
    bounds: np.ndarray,
    height: int,
    served_out: np.ndarray,
    group_out: np.ndarray,
    value_out: np.ndarray,
    found: int,
    node_limit: int,
) -> tuple[int, int, float]:
    """Go on with a search for networks of `size` tasks whose excess reaches `threshold`.

    Args:
        array: `[num_tasks, num_tasks]`, rows source, columns target: A.
        order: `[num_tasks, num_tasks]`; row j: the sources by falling A[:, j].
        price: `[num_tasks]`.
        size: The number of tasks to train, at least 2.
        divisor: What the score divides by.
        threshold: The least excess, the price of this size included.
        served_slack: A served task may bring in at least minus this (less is dominated).
        overlap: Whether tasks may be trained without being served.
        conflict: `[num_tasks, num_tasks]` of 0 and 1: not trained together.
        block: `[num_tasks]`: tasks of the same number are trained together.
        rising: Whether the threshold rises with the best network found.
        stack: `[height, num_tasks]` of int8, the open nodes; grows and shrinks.
        bounds: `[height]`, what the open nodes are worth at most.
        height: The number of open nodes.
        served_out: `[limit, num_tasks]`, receives what was found: the served tasks.
        group_out: Likewise, the trained tasks.
        value_out: Likewise, the excesses.
        found: How many have been found.
        node_limit: Stop after so many nodes.

    Returns:
        The number of open nodes left, of networks found, and the threshold.
    """
    num_tasks = len(price)
    state = np.empty(num_tasks, np.int8)
    group = np.empty(num_tasks, np.int8)
    help_of = np.empty(num_tasks)
    inside = np.empty(num_tasks)
    own = np.empty(num_tasks)
    worth = np.empty(num_tasks)
    top = np.empty(num_tasks + 1)
    nodes = 0
    while height > 0 and nodes < node_limit and found < len(value_out):
        height -= 1
        if bounds[height] < threshold:
            continue
        nodes += 1
        state[:] = stack[height]
        places, num_served = size, 0
        for task in range(num_tasks):
            if state[task] == SERVED:
                num_served += 1
            if state[task] == SERVED or state[task] == HELPER or state[task] == TRAINED:
                places -= 1
        if places < 0:
            continue
        for task in range(num_tasks):
            help_of[task], inside[task] = 0.0, array[task, task]
        for task in range(num_tasks):
            is_served = state[task] == SERVED
            if is_served or state[task] == HELPER or state[task] == TRAINED:
                for other in range(num_tasks):
                    if other != task:
                        inside[other] += array[task, other]
            if is_served:
                for other in range(num_tasks):
                    help_of[other] += array[other, task]
        # What the served tasks have, and what they can still get.
        base, hopeless = 0.0, False
        for task in range(num_tasks):
            if state[task] == SERVED:
                base += inside[task] / divisor - price[task]
                if overlap:
                    most = _best_others(array[:, task], order[task], state, task, places, True)
                    if (inside[task] + most) / divisor - price[task] < -served_slack:
                        hopeless = True
                        break
        if hopeless:
            continue
        extra = 0.0
        for task in range(num_tasks):
            own[task], worth[task] = -np.inf, -np.inf
            if state[task] == TRAINED:
                most = _best_others(array[:, task], order[task], state, task, places, overlap)
                gain = (inside[task] + most) / divisor - price[task]
                if gain < -served_slack:
                    state[task] = HELPER
                else:
                    own[task] = gain
                    extra += max(0.0, gain)
            elif places > 0 and (state[task] == FREE or state[task] == UNSERVED):
                if overlap:
                    worth[task] = help_of[task] / divisor
                if state[task] == FREE:
                    most = _best_others(
                        array[:, task], order[task], state, task, places - 1, overlap
                    )
                    gain = (inside[task] + most) / divisor - price[task]
                    if gain == -np.inf or (overlap and gain < -served_slack):
                        state[task] = UNSERVED
                    else:
                        own[task] = help_of[task] / divisor + gain
                        worth[task] = max(worth[task], own[task])
        bound = base + extra + _largest(worth, places, top)
        if bound < threshold:
            continue
        # Whoever can't be served without falling below the threshold is not served.
        branch, branch_bound = -1, -np.inf
        for task in range(num_tasks):
            if state[task] == TRAINED:
                limit = bound - max(0.0, own[task]) + own[task]
                if limit < threshold:
                    state[task] = HELPER
                    continue
            elif state[task] == FREE and places > 0:
                if worth[task] < top[places - 1]:
                    limit = bound - top[places - 1] + own[task]
                else:
                    limit = bound - worth[task] + own[task]
                if limit < threshold:
                    state[task] = UNSERVED
                    if overlap:
                        worth[task] = help_of[task] / divisor
                    else:
                        worth[task] = -np.inf
                    continue
            else:
                continue
            if limit > branch_bound:
                branch, branch_bound = task, limit
        if branch >= 0:
            bound = min(bound, base + extra + _largest(worth, places, top))
            if bound < threshold:
                continue
            # The unserved child first: it is taken up after the served one.
            stack[height] = state
            bounds[height] = bound
            if state[branch] == TRAINED:
                stack[height, branch] = HELPER
                height += 1
            elif overlap:
                stack[height, branch] = UNSERVED
                height += 1
            elif _put_out(stack[height], branch, block):
                height += 1
            stack[height] = state
            bounds[height] = min(bound, branch_bound)
            if _put_in(stack[height], branch, SERVED, overlap, conflict, block):
                height += 1
            continue
        if num_served == 0 or (not overlap and places > 0):
            continue
        clash = _fill_with_helpers(state, help_of, places, conflict, block, group)
        if clash == -2:
            continue
        if clash >= 0:
            stack[height] = state
            bounds[height] = bound
            if _put_out(stack[height], clash, block):
                height += 1
            stack[height] = state
            bounds[height] = bound
            if _put_in(stack[height], clash, HELPER, overlap, conflict, block):
                height += 1
            continue
        value = base
        for task in range(num_tasks):
            if group[task] and state[task] == UNSERVED:
                value += help_of[task] / divisor
        if value < threshold:
            continue
        for task in range(num_tasks):
            served_out[found, task] = state[task] == SERVED
            group_out[found, task] = group[task]
        value_out[found] = value
        found += 1
        if rising:
            threshold = max(threshold, value)
    return height, found, threshold
