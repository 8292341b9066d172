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
def _copy(stack: np.ndarray, row: int, state: np.ndarray) -> None:
    # A loop, because slices take numba seconds to compile.
    for task in range(len(state)):
        state[task] = stack[row, task]


@compiled
def _paste(state: np.ndarray, stack: np.ndarray, row: int) -> None:
    for task in range(len(state)):
        stack[row, task] = state[task]


@compiled
def _best_others(
    shared: np.ndarray,
    shared_order: np.ndarray,
    true: np.ndarray,
    true_order: np.ndarray,
    state: np.ndarray,
    task: int,
    count: int,
    helpers: bool,
) -> float:
    """The sum of the `count` best undecided sources for `task`.

    Whoever may still be served counts with the shared entry, whoever may only help with the true
    one; both orders are merged.
    """
    total, first, second, num_tasks = 0.0, 0, 0, len(state)
    while count > 0:
        while first < num_tasks:
            other = shared_order[task, first]
            if state[other] == FREE and other != task:
                break
            first += 1
        while second < num_tasks and helpers:
            other = true_order[task, second]
            if state[other] == UNSERVED and other != task:
                break
            second += 1
        left, right = -np.inf, -np.inf
        if first < num_tasks:
            left = shared[task, shared_order[task, first]]
        if helpers and second < num_tasks:
            right = true[task, true_order[task, second]]
        if left == -np.inf and right == -np.inf:
            return -np.inf
        if left >= right:
            total += left
            first += 1
        else:
            total += right
            second += 1
        count -= 1
    return total


@compiled
def _paid_back(
    shift: np.ndarray, credit_order: np.ndarray, state: np.ndarray, task: int, count: int
) -> float:
    """What `task`, as a helper, is paid back at most by tasks that may still be served."""
    total = 0.0
    for index in range(len(state)):
        target = credit_order[task, index]
        if count <= 0 or shift[target, task] >= 0.0:
            break
        if (state[target] == FREE or state[target] == TRAINED) and target != task:
            total -= shift[target, task]
            # A place that is taken already does not use up one of those that are open.
            if state[target] == FREE:
                count -= 1
    return total


@compiled
def _may_help(
    beyond: np.ndarray, beyond_order: np.ndarray, state: np.ndarray, task: int, places: int
) -> float:
    """At most how far the served tasks' gain from `task` can be above their prices."""
    total = 0.0
    for index in range(len(state)):
        target = beyond_order[task, index]
        gain = beyond[task, target]
        if target == task:
            continue
        if state[target] == SERVED or (gain > 0.0 and state[target] == TRAINED):
            total += gain
        elif gain > 0.0 and state[target] == FREE and places > 0:
            total += gain
            places -= 1
    return total


@compiled
def _largest(values: np.ndarray, count: int, top: np.ndarray) -> float:
    """The sum of the `count` largest values, which are left in `top`, descending."""
    if count == 0:
        return 0.0
    filled = 0
    for index in range(len(values)):
        value = values[index]
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
    true: np.ndarray,
    true_order: np.ndarray,
    shared: np.ndarray,
    shared_order: np.ndarray,
    shift: np.ndarray,
    credit_order: np.ndarray,
    beyond: np.ndarray,
    beyond_order: np.ndarray,
    idle_helpers: bool,
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
        true: `[num_tasks, num_tasks]`, rows target, columns source: A transposed.
        true_order: `[num_tasks, num_tasks]`; row j: the sources by falling `true[j]`.
        shared: `true` + `shift`, see `pair_shares`.
        shared_order: Likewise by falling `shared[j]`.
        shift: `[num_tasks, num_tasks]`, rows target, columns source; antisymmetric.
        credit_order: `[num_tasks, num_tasks]`; row i: the targets by rising `shift[:, i]`.
        beyond: `[num_tasks, num_tasks]`, rows source: A[i, j] - price[j].
        beyond_order: Row i: the targets by falling `beyond[i]`.
        idle_helpers: Whether helpers that pull the mean down are of interest (without them the
            group would be one smaller, and better).
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
    alike = np.empty(num_tasks)
    owed = np.empty(num_tasks)
    own = np.empty(num_tasks)
    aid = np.empty(num_tasks)
    kept = np.empty(num_tasks)
    helps = np.empty(num_tasks, np.int8)
    worth = np.empty(num_tasks)
    top = np.empty(num_tasks + 1)
    nodes = 0
    while height > 0 and nodes < node_limit and found < len(value_out):
        height -= 1
        if bounds[height] < threshold:
            continue
        nodes += 1
        _copy(stack, height, state)
        places, num_served = size, 0
        for task in range(num_tasks):
            if state[task] == SERVED:
                num_served += 1
            if state[task] == SERVED or state[task] == HELPER or state[task] == TRAINED:
                places -= 1
        if places < 0:
            continue
        # The best group of a served set has no helper that gives less than the mean.
        for task in range(num_tasks):
            helps[task] = 1
            undecided = state[task] == FREE or state[task] == UNSERVED
            if undecided and overlap and not idle_helpers:
                most = _may_help(beyond, beyond_order, state, task, places - 1)
                if most < threshold - 1e-9 * (1.0 + abs(threshold)):
                    helps[task] = 0
                    if state[task] == UNSERVED:
                        state[task] = OUT
        for task in range(num_tasks):
            help_of[task], inside[task], alike[task] = 0.0, true[task, task], true[task, task]
            owed[task] = 0.0
        for task in range(num_tasks):
            is_helper = state[task] == HELPER
            if state[task] == SERVED or is_helper or state[task] == TRAINED:
                for other in range(num_tasks):
                    if other != task:
                        alike[other] += true[other, task]
                        inside[other] += true[other, task] if is_helper else shared[other, task]
            if state[task] == SERVED:
                for other in range(num_tasks):
                    help_of[other] += true[task, other]
                    owed[other] -= shift[task, other]
        # What the served tasks have, and what they can still get.
        base, hopeless = 0.0, False
        for task in range(num_tasks):
            if state[task] == SERVED:
                base += inside[task] / divisor - price[task]
                if overlap:
                    most = _best_others(
                        true, true_order, true, true_order, state, task, places, True
                    )
                    if (alike[task] + most) / divisor - price[task] < -served_slack:
                        hopeless = True
                        break
        if hopeless:
            continue
        extra = 0.0
        for task in range(num_tasks):
            own[task], worth[task], aid[task] = -np.inf, -np.inf, -np.inf
            trained = state[task] == TRAINED
            if not trained and (places == 0 or (state[task] != FREE and state[task] != UNSERVED)):
                continue
            room = places if trained else places - 1
            if overlap and helps[task]:
                back = 0.0
                if state[task] != UNSERVED:
                    back = _paid_back(shift, credit_order, state, task, room)
                aid[task] = ((owed[task] if trained else help_of[task]) + back) / divisor
            if state[task] == UNSERVED:
                worth[task] = aid[task]
                continue
            can_serve = True
            if overlap:
                most = _best_others(true, true_order, true, true_order, state, task, room, True)
                can_serve = (alike[task] + most) / divisor - price[task] >= -served_slack
            if can_serve:
                most = _best_others(
                    shared, shared_order, true, true_order, state, task, room, overlap
                )
                own[task] = (inside[task] + most) / divisor - price[task]
                if not trained:
                    # As a partner of those who are served already.
                    own[task] += (help_of[task] - owed[task]) / divisor
            worth[task] = max(own[task], aid[task])
            if trained:
                extra += worth[task]
                kept[task] = worth[task]
                worth[task] = -np.inf
            if own[task] == -np.inf:
                state[task] = HELPER if trained else (UNSERVED if helps[task] else OUT)
        bound = base + extra + _largest(worth, places, top)
        if bound < threshold:
            continue
        # Whoever can't be served without falling below the threshold is not served.
        branch, branch_bound = -1, -np.inf
        for task in range(num_tasks):
            if state[task] == TRAINED:
                limit = bound - kept[task] + own[task]
                if limit < threshold:
                    extra += aid[task] - kept[task]
                    state[task] = HELPER
                    continue
            elif state[task] == FREE and places > 0:
                if worth[task] < top[places - 1]:
                    limit = bound - top[places - 1] + own[task]
                else:
                    limit = bound - worth[task] + own[task]
                if limit < threshold:
                    state[task] = UNSERVED if helps[task] else OUT
                    worth[task] = aid[task]
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
            _paste(state, stack, height)
            bounds[height] = bound
            if state[branch] == TRAINED:
                stack[height, branch] = HELPER
                height += 1
            elif overlap and helps[branch]:
                stack[height, branch] = UNSERVED
                height += 1
            elif _put_out(stack[height], branch, block):
                height += 1
            _paste(state, stack, height)
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
            _paste(state, stack, height)
            bounds[height] = bound
            if _put_out(stack[height], clash, block):
                height += 1
            _paste(state, stack, height)
            bounds[height] = bound
            if _put_in(stack[height], clash, HELPER, overlap, conflict, block):
                height += 1
            continue
        # Without shifts, which cancel up to rounding.
        value = 0.0
        for task in range(num_tasks):
            if state[task] == SERVED:
                value -= price[task]
                for other in range(num_tasks):
                    if group[other]:
                        value += true[task, other] / divisor
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
