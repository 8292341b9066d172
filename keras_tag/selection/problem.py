"""The selection problem in the form that is solved: sorted tasks, whole costs, a maximum."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from keras_tag.affinity import Affinity
from keras_tag.selection.arguments.affinities import check_affinity, check_measured, pessimistic
from keras_tag.selection.arguments.choice import Choice, ScoreFunction
from keras_tag.selection.arguments.constraints import Constraints
from keras_tag.selection.arguments.costs import (
    Costs,
    GroupCost,
    amount,
    by_size,
    group_cost,
    whole_costs,
)
from keras_tag.selection.arguments.lone_tasks import lone_scores
from keras_tag.selection.many_tasks.searched_groups import ServedSets
from keras_tag.selection.scores.closed_form import GroupScore, power_of_two_above
from keras_tag.selection.scores.measured_groups import GroupScores
from keras_tag.selection.solver.columns import ColumnSource
from keras_tag.selection.solver.listed_groups import GroupTable
from keras_tag.selection.task_masks import bits

# Up to here all 2**n - 1 groups are listed.
MOST_TASKS_LISTED = 15


@dataclass(frozen=True, eq=False)
class Problem:
    """The networks to choose from, and the units of the answer.

    Args:
        tasks: The task names, sorted: task j of every bit mask is `tasks[j]`.
        source: The networks, in normalised units, to be maximised.
        scale: Normalised units times this are the caller's; negative where the caller minimises.
        cost_unit: What a whole unit of cost is in the caller's; None if the budget counts networks.
        constraints: What was asked of the groups.
        score: The score's name.
    """

    tasks: tuple[str, ...]
    source: ColumnSource
    scale: Fraction
    cost_unit: Fraction | None
    constraints: Constraints
    score: str

    def whole_budget(self, budget: Any) -> int:
        """Return the budget in whole units of cost.

        Raises:
            ValueError: Not a positive number, or, where it counts networks, not a whole one.
        """
        if self.cost_unit is None:
            whole = not isinstance(budget, bool) and isinstance(budget, int | np.integer)
            if isinstance(budget, float | np.floating):
                whole = float(budget).is_integer()
            if not whole or budget < 1:
                raise ValueError(
                    "Expected `budget`, the number of networks, to be an integer of at least 1. "
                    f"Received: budget={budget!r}."
                )
            return min(int(budget), len(self.tasks))
        most = amount("budget", budget)
        if most == 0:
            raise ValueError("Expected `budget` to be positive. Received: budget=0.")
        # More than every task's own network at the highest cost can't be spent.
        return min(math.floor(most / self.cost_unit), len(self.tasks) * self.source.most_cost)


def build_problem(
    affinity: Affinity | GroupScores, choice: Choice
) -> tuple[Problem, tuple[str, ...]]:
    """Check a choice against the affinities and translate it.

    Args:
        affinity: What was measured.
        choice: What is asked, besides the budget.

    Returns:
        The problem, and the tasks in the caller's order.

    Raises:
        TypeError: `affinity` is neither an `Affinity` nor a `GroupScores`.
        ValueError: Affinities that the score can't be computed from, or arguments that do not fit
            the tasks.
    """
    measured = isinstance(affinity, GroupScores)
    score, costs = choice.score, choice.costs
    if choice.risk and (measured or callable(score)):
        raise ValueError(
            "`risk` lowers affinities, which neither GroupScores nor a score function read. "
            f"Received: risk={choice.risk}."
        )
    if not measured:
        affinity = check_affinity(affinity)
    names = affinity.tasks
    tasks = tuple(sorted(names))
    constraints = choice.constraints(tasks)
    weight = choice.weights_of(tasks)
    if isinstance(affinity, GroupScores):
        if score != "members" or choice.alone is not None or costs is not None:
            raise ValueError(
                "`score`, `alone` and `costs` don't apply to GroupScores: a measured lone task is "
                "an ordinary group, and costs belong into GroupScores(groups, costs=...)."
            )
        table, scale, unit = measured_table(affinity, constraints, weight)
        return Problem(tasks, table, scale, unit, constraints, "measured"), names
    _check_reach(score, costs, len(tasks))
    order = sorted(range(len(names)), key=lambda index: names[index])
    matrix = affinity.mean[np.ix_(order, order)]
    cost = None if costs is None else group_cost(costs, tasks)
    if not isinstance(score, str):
        lone = lone_scores(choice.alone, "function", tasks, matrix)
        table, scale, unit = function_table(score, constraints, lone, weight, cost)
        return Problem(tasks, table, scale, unit, constraints, "function"), names
    check_measured(affinity, score)
    matrix = pessimistic(affinity, score, choice.risk)[np.ix_(order, order)]
    group_score = GroupScore.build(
        tasks, matrix, score, lone_scores(choice.alone, score, tasks, matrix), weight
    )
    scale = Fraction(2) ** group_score.exponent
    if len(tasks) > MOST_TASKS_LISTED:
        source, unit = affinity_search(group_score, constraints, by_size(costs))
        return Problem(tasks, source, scale, unit, constraints, score), names
    table, unit = affinity_table(group_score, constraints, cost)
    return Problem(tasks, table, scale, unit, constraints, score), names


def _check_reach(score: Any, costs: Costs, num_tasks: int) -> None:
    if num_tasks <= MOST_TASKS_LISTED:
        return
    if callable(score):
        raise ValueError(
            f"A score function is asked for every group, which takes at most {MOST_TASKS_LISTED} "
            f"tasks. Received: {num_tasks} tasks. Use 'members' or 'partners'."
        )
    if costs is not None and by_size(costs) is None:
        raise ValueError(
            f"Costs by group are listed for every group, which takes at most {MOST_TASKS_LISTED} "
            f"tasks. Received: {num_tasks} tasks. Give costs by size."
        )


def affinity_table(
    score: GroupScore, constraints: Constraints, cost: GroupCost | None
) -> tuple[GroupTable, Fraction | None]:
    """List every allowed group of up to 15 tasks.

    Args:
        score: The scores.
        constraints: What groups must look like.
        cost: What groups cost; None if every network costs 1.

    Returns:
        The table, and the unit of its costs (None if it counts networks).
    """
    num_tasks = len(score.tasks)
    groups = np.arange(1, 1 << num_tasks, dtype=np.int64)
    groups = groups[constraints.allowed(groups)]
    forbidden = [1 << task for task, lone in enumerate(score.lone) if lone is None]
    groups = groups[~np.isin(groups, forbidden)]
    groups, costs, unit = _affordable(groups, score.tasks, cost)
    scores = score.table((groups[:, None] >> np.arange(num_tasks) & 1).astype(np.float64))
    masks = groups.tolist()

    def exact(row: int, task: int) -> Fraction:
        return score.member(masks[row], task)

    return GroupTable(masks, scores, costs, exact, constraints.overlap), unit


def affinity_search(
    score: GroupScore, constraints: Constraints, sizes: Mapping[int, Fraction] | None
) -> tuple[ServedSets, Fraction | None]:
    """Make the source of allowed groups of any number of tasks.

    Args:
        score: The scores.
        constraints: What groups must look like.
        sizes: What groups cost, by size; None if every network costs 1.

    Returns:
        The source, and the unit of its costs (None if it counts networks).
    """
    if sizes is None:
        return ServedSets(
            score, constraints, dict.fromkeys(range(1, len(score.tasks) + 1), 1)
        ), None
    costs, unit = whole_costs(list(sizes.values()))
    return ServedSets(score, constraints, dict(zip(sizes, costs, strict=True))), unit


def function_table(
    score: ScoreFunction,
    constraints: Constraints,
    lone: Iterable[float | None],
    weights: list[float],
    cost: GroupCost | None,
) -> tuple[GroupTable, Fraction, Fraction | None]:
    """List every allowed group of up to 15 tasks, scored by the caller's function.

    Args:
        score: The function.
        constraints: What groups must look like.
        lone: Each lone task's score if it isn't the function's: a number, None to forbid it, NaN
            to ask the function.
        weights: How much each task matters.
        cost: What groups cost; None if every network costs 1.

    Returns:
        The table, what its unit is in the caller's units, and the unit of its costs.

    Raises:
        ValueError: The function returned something that is not a finite number.
    """
    tasks = constraints.tasks
    groups = np.arange(1, 1 << len(tasks), dtype=np.int64)
    groups = groups[constraints.allowed(groups)]
    alone = list(lone)
    forbidden = [1 << task for task, value in enumerate(alone) if value is None]
    groups = groups[~np.isin(groups, forbidden)]
    groups, costs, unit = _affordable(groups, tasks, cost)
    rows: list[dict[int, Exact]] = []
    for group in groups.tolist():
        members = bits(group)
        names = tuple(tasks[i] for i in members)
        override = alone[members[0]] if len(members) == 1 else math.nan
        if override is not None and math.isnan(override):
            values = {j: _asked(score, names, tasks[j]) for j in members}
        else:
            assert override is not None
            values = {members[0]: float(override)}
        rows.append({j: _weighted(value, weights[j]) for j, value in values.items()})
    table, scale = _table_of(groups.tolist(), rows, costs, constraints)
    return table, scale, unit


def measured_table(
    scores: GroupScores, constraints: Constraints, weights: list[float]
) -> tuple[GroupTable, Fraction, Fraction | None]:
    """List the measured groups that the constraints allow.

    Args:
        scores: The measurements.
        constraints: What groups must look like.
        weights: How much each task matters.

    Returns:
        The table, what its unit is in the caller's units (negative for losses), and the unit of
        its costs.
    """
    sign = 1 if scores.sense == "max" else -1
    position = {task: index for index, task in enumerate(constraints.tasks)}
    groups, rows, prices = [], [], []
    for entry in scores.entries:
        group = sum(1 << position[task] for task in entry.tasks)
        if not constraints.allows(group):
            continue
        groups.append(group)
        prices.append(entry.cost)
        rows.append(
            {
                position[task]: _weighted(sign * value, weights[position[task]])
                for task, value in entry.scores.items()
            }
        )
    costs, unit = whole_costs(prices)
    table, scale = _table_of(groups, rows, costs, constraints)
    counted = all(entry.cost == 1 for entry in scores.entries)
    return table, sign * scale, None if counted else unit


# A float is an exact number too, and most are never needed as a fraction.
Exact = float | Fraction


def _weighted(value: Exact, weight: float) -> Exact:
    return value if weight == 1 else Fraction(value) * Fraction(weight)


def _table_of(
    groups: list[int],
    rows: list[dict[int, Exact]],
    costs: list[int],
    constraints: Constraints,
) -> tuple[GroupTable, Fraction]:
    sizes: list[Any] = [abs(value) for row in rows for value in row.values()]
    exponent = power_of_two_above(Fraction(max(sizes, default=0)))
    scale = Fraction(2) ** exponent
    scores = np.full((len(groups), len(constraints.tasks)), np.nan)
    for index, row in enumerate(rows):
        for task, value in row.items():
            if isinstance(value, float):
                scores[index, task] = math.ldexp(value, -exponent)
            else:
                scores[index, task] = float(value / scale)

    def exact(row: int, task: int) -> Fraction:
        return Fraction(rows[row][task]) / scale

    return GroupTable(groups, scores, costs, exact, constraints.overlap), scale


def _affordable(
    groups: np.ndarray, tasks: tuple[str, ...], cost: GroupCost | None
) -> tuple[np.ndarray, list[int], Fraction | None]:
    if cost is None:
        return groups, [1] * len(groups), None
    prices = [cost(tuple(tasks[i] for i in bits(group))) for group in groups.tolist()]
    priced = np.array([price is not None for price in prices], dtype=bool)
    costs, unit = whole_costs([price for price in prices if price is not None])
    return groups[priced], costs, unit


def _asked(score: ScoreFunction, group: tuple[str, ...], task: str) -> Exact:
    value = score(group, task)
    try:
        exact = value if isinstance(value, Fraction) else float(value)
        if not isinstance(exact, Fraction) and not math.isfinite(exact):
            raise ValueError
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"Expected the score function to return a finite number. Received: {value!r} for group "
            f"{group} and task {task!r}."
        ) from error
    return exact
