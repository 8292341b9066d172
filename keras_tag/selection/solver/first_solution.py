"""A first solution for many tasks, whatever the constraints; or the proof that there is none.

It is used by `searched_groups` only.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

from keras_tag.selection.arguments.constraints import Constraints
from keras_tag.selection.solver import or_tools
from keras_tag.selection.solver.best_choice import OutOfTime
from keras_tag.selection.solver.listed_groups import Uncoverable
from keras_tag.selection.task_masks import first_of, mask_of


def feasible_cover(
    constraints: Constraints,
    costs: Mapping[int, int],
    budget: int,
    may_be_alone: Sequence[bool],
    deadline: float,
) -> list[tuple[int, int]]:
    """Find some allowed groups within the budget that serve every task, as (served, group) masks.

    Args:
        constraints: What groups must look like.
        costs: Size -> cost in whole units; sizes that are missing can't be bought.
        budget: In whole units.
        may_be_alone: For every task whether a group of its own is allowed.
        deadline: In `time.monotonic` seconds.

    Returns:
        The served sets and groups.

    Raises:
        Uncoverable: There are none; says what the cheapest cost without a budget, or the cheapest
            found at the deadline.
        OutOfTime: The deadline came first.
    """
    num_tasks = len(constraints.tasks)
    everything = (1 << num_tasks) - 1
    if constraints.allows(everything) and costs.get(num_tasks, math.inf) <= budget:
        return [(everything, everything)]
    if constraints.must_link or constraints.cannot_link:
        groups, proven = _solve(constraints, costs, budget, may_be_alone, deadline)
        if groups is None:
            groups, proven = _solve(constraints, costs, None, may_be_alone, deadline)
    else:
        groups, proven = _count_sizes(constraints, costs, may_be_alone), True
    if groups is None:
        raise Uncoverable([], None)
    spent = sum(costs[group.bit_count()] for group in groups)
    if spent > budget:
        raise Uncoverable([], spent, proven)
    return [(own, group) for own, group in zip(first_of(groups), groups, strict=True) if own]


def _count_sizes(
    constraints: Constraints, costs: Mapping[int, int], may_be_alone: Sequence[bool]
) -> list[int] | None:
    """Choose the cheapest sizes; without links it does not matter which tasks are in them."""
    num_tasks = len(constraints.tasks)
    sizes = [s for s in range(constraints.min_size, constraints.max_size + 1) if s in costs]
    larger = [size for size in sizes if size > 1]
    # best[k]: the cheapest sizes above 1 for k tasks, each in one group (or at least one).
    best: list[tuple[int, list[int]] | None] = [(0, [])]
    for count in range(1, num_tasks + 1):
        options = [
            (rest[0] + costs[size], [*rest[1], size])
            for size in larger
            if (size <= count or constraints.overlap) and (rest := best[max(0, count - size)])
        ]
        best.append(min(options, default=None))
    lonely = [task for task in range(num_tasks) if may_be_alone[task]] if 1 in sizes else []
    choices = [
        (others[0] + alone * costs.get(1, 0), alone, others[1])
        for alone in range(len(lonely) + 1)
        if (others := best[num_tasks - alone])
    ]
    if not choices:
        return None
    _, alone, chosen = min(choices)
    groups = [1 << task for task in lonely[:alone]]
    left = [task for task in range(num_tasks) if task not in lonely[:alone]]
    for size in chosen:
        members, left = left[:size], left[size:]
        members += [task for task in range(num_tasks) if task not in members][: size - len(members)]
        groups.append(mask_of(members))
    return groups


def _solve(
    constraints: Constraints,
    costs: Mapping[int, int],
    budget: int | None,
    may_be_alone: Sequence[bool],
    deadline: float,
) -> tuple[list[int] | None, bool]:
    """Find groups that cover all tasks: any within a budget, the cheapest without one.

    Returns:
        The groups, None if there are none; and whether that is proven, or at the deadline the
        cheapest ones found.
    """
    cp_model = or_tools.load("ortools.sat.python.cp_model")

    num_tasks = len(constraints.tasks)
    sizes = [s for s in range(constraints.min_size, constraints.max_size + 1) if s in costs]
    if not sizes:
        return None, True
    networks = num_tasks
    least = min(costs[size] for size in sizes)
    if budget is not None and least > 0:
        networks = min(networks, budget // least)
    model = cp_model.CpModel()
    trains, spent = [], []
    for _ in range(networks):
        row = [model.new_bool_var("") for _ in range(num_tasks)]
        of_size = {size: model.new_bool_var("") for size in sizes}
        model.add_at_most_one(of_size.values())
        model.add(sum(row) == sum(size * chosen for size, chosen in of_size.items()))
        for a, b in constraints.must_link:
            model.add(row[a] == row[b])
        for a, b in constraints.cannot_link:
            model.add_at_most_one([row[a], row[b]])
        for task, lonely in enumerate(may_be_alone):
            if not lonely and 1 in of_size:
                model.add_implication(of_size[1], row[task].negated())
        trains.append(row)
        spent.append(sum(costs[size] * chosen for size, chosen in of_size.items()))
    for task in range(num_tasks):
        servers = [row[task] for row in trains]
        if not servers:
            return None, True
        if constraints.overlap:
            model.add_at_least_one(servers)
        else:
            model.add_exactly_one(servers)
    # The networks are interchangeable: order them by what they cost.
    for first, second in pairwise(spent):
        model.add(first >= second)
    if budget is None:
        model.minimize(sum(spent))
    else:
        model.add(sum(spent) <= budget)
    solver = or_tools.cp_solver(deadline)
    status = solver.solve(model)
    if status == cp_model.INFEASIBLE:
        return None, True
    if status == cp_model.UNKNOWN:
        raise OutOfTime(None)
    groups = [mask_of(task for task, x in enumerate(row) if solver.value(x)) for row in trains]
    return [group for group in groups if group], status == cp_model.OPTIMAL
