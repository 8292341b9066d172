"""The selection problem in the form that is solved: sorted tasks, whole costs, a maximum."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from keras_tag.affinity import Affinity
from keras_tag.selection.arguments.affinities import check_affinity, check_measured, pessimistic
from keras_tag.selection.arguments.choice import Choice, ScoreFunction
from keras_tag.selection.arguments.constraints import Constraints
from keras_tag.selection.arguments.costs import Costs, amount, by_size, group_cost, whole_costs
from keras_tag.selection.arguments.lone_tasks import lone_scores
from keras_tag.selection.many_tasks.searched_groups import ServedSets
from keras_tag.selection.scores.closed_form import ExactScore, power_of_two_above
from keras_tag.selection.scores.measured_groups import GroupScores
from keras_tag.selection.solver.columns import ColumnSource
from keras_tag.selection.solver.listed_groups import GroupTable
from keras_tag.selection.task_masks import bits, mask_of

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
    measured, score = isinstance(affinity, GroupScores), choice.score
    if choice.risk and (measured or callable(score)):
        raise ValueError(
            "`risk` lowers affinities, which neither GroupScores nor a score function read. "
            f"Received: risk={choice.risk}."
        )
    names = affinity.tasks if measured else check_affinity(affinity).tasks
    tasks = tuple(sorted(names))
    constraints, weights = choice.constraints(tasks), choice.weights_of(tasks)
    if isinstance(affinity, GroupScores):
        if score != "members" or choice.alone is not None or choice.costs is not None:
            raise ValueError(
                "`score`, `alone` and `costs` don't apply to GroupScores: a measured lone task is "
                "an ordinary group, and costs belong into GroupScores(groups, costs=...)."
            )
        return Problem(tasks, *_measured(affinity, constraints, weights), "measured"), names
    order = [names.index(task) for task in tasks]
    if isinstance(score, str):
        check_measured(affinity, score)
        matrix = pessimistic(affinity, score, choice.risk)[np.ix_(order, order)]
        lone = lone_scores(choice.alone, score, tasks, matrix)
        scores = ExactScore.build(tasks, matrix, score, lone, weights)
        return Problem(tasks, *_predicted(scores, constraints, choice.costs), score), names
    if len(tasks) > MOST_TASKS_LISTED:
        raise ValueError(
            f"A score function is asked for every group, which takes at most {MOST_TASKS_LISTED} "
            f"tasks. Received: {len(tasks)} tasks. Use 'members' or 'partners'."
        )
    lone = lone_scores(choice.alone, "function", tasks, affinity.mean[np.ix_(order, order)])
    asked = _asked(score, constraints, lone, weights, choice.costs)
    return Problem(tasks, *asked, "function"), names


# The networks, what their unit is in the caller's units, the unit of their costs (None if the
# budget counts networks), and the constraints.
Source = tuple[ColumnSource, Fraction, Fraction | None, Constraints]


def _predicted(scores: ExactScore, constraints: Constraints, costs: Costs) -> Source:
    """Return the allowed groups with scores in closed form, listed or searched for."""
    num_tasks, scale = len(scores.tasks), Fraction(2) ** scores.exponent
    if num_tasks <= MOST_TASKS_LISTED:
        groups, whole, unit = _listed(constraints, scores.lone, costs)
        member = np.array(groups, np.int64)[:, None] >> np.arange(num_tasks) & 1

        def exact(row: int, task: int) -> Fraction:
            return scores.member(groups[row], task)

        table = scores.table(member.astype(np.float64))
        source = GroupTable(groups, table, whole, exact, constraints.overlap)
        return source, scale, unit, constraints
    if costs is None:
        counted = dict.fromkeys(range(1, num_tasks + 1), 1)
        return ServedSets(scores, constraints, counted), scale, None, constraints
    sizes = by_size(costs)
    if sizes is None:
        raise ValueError(
            f"Costs by group are listed for every group, which takes at most {MOST_TASKS_LISTED} "
            f"tasks. Received: {num_tasks} tasks. Give costs by size."
        )
    whole, unit = whole_costs(list(sizes.values()))
    cost_of_size = dict(zip(sizes, whole, strict=True))
    return ServedSets(scores, constraints, cost_of_size), scale, unit, constraints


def _asked(
    score: ScoreFunction,
    constraints: Constraints,
    lone: list[float | None],
    weights: list[float],
    costs: Costs,
) -> Source:
    """Return the allowed groups of up to 15 tasks, scored by the caller's function.

    Raises:
        ValueError: The function returned something that is not a finite number.
    """
    tasks = constraints.tasks
    groups, whole, unit = _listed(constraints, lone, costs)
    rows: list[dict[int, Exact]] = []
    for group in groups:
        members = bits(group)
        names = tuple(tasks[i] for i in members)
        # NaN: the function says what a lone task scores.
        alone = lone[members[0]] if len(members) == 1 else None
        if alone is None or math.isnan(alone):
            values = [_answer(score, names, name) for name in names]
        else:
            values = [alone]
        rows.append({j: _weighted(v, weights[j]) for j, v in zip(members, values, strict=True)})
    table, scale = _table_of(groups, rows, whole, constraints)
    return table, scale, unit, constraints


def _measured(scores: GroupScores, constraints: Constraints, weights: list[float]) -> Source:
    """Return the measured groups that the constraints allow; losses are negative."""
    sign = 1 if scores.sense == "max" else -1
    position = {task: index for index, task in enumerate(constraints.tasks)}
    groups, rows, costs = [], [], []
    for entry in scores.entries:
        group = mask_of(position[task] for task in entry.tasks)
        if constraints.allows(group):
            groups.append(group)
            costs.append(entry.cost)
            values = {position[task]: value for task, value in entry.scores.items()}
            rows.append({j: _weighted(sign * v, weights[j]) for j, v in values.items()})
    whole, unit = whole_costs(costs)
    table, scale = _table_of(groups, rows, whole, constraints)
    counted = all(entry.cost == 1 for entry in scores.entries)
    return table, sign * scale, None if counted else unit, constraints


def _listed(
    constraints: Constraints, lone: Sequence[Any], costs: Costs
) -> tuple[list[int], list[int], Fraction | None]:
    """List every allowed group of up to 15 tasks that has a cost.

    Args:
        constraints: What groups must look like.
        lone: Each lone task's score; None forbids the group.
        costs: What groups cost; None if every network costs 1.

    Returns:
        The groups as bit masks, their costs in whole units, and the unit.
    """
    tasks = constraints.tasks
    forbidden = {1 << task for task, value in enumerate(lone) if value is None}
    groups = [g for g in range(1, 1 << len(tasks)) if g not in forbidden and constraints.allows(g)]
    if costs is None:
        return groups, [1] * len(groups), None
    cost = group_cost(costs, tasks)
    costs_of = {group: cost(tuple(tasks[i] for i in bits(group))) for group in groups}
    known = {group: own for group, own in costs_of.items() if own is not None}
    return list(known), *whole_costs(list(known.values()))


# A float is an exact number too, and most are never needed as a fraction.
Exact = float | Fraction


def _weighted(value: Exact, weight: float) -> Exact:
    return value if weight == 1 else Fraction(value) * Fraction(weight)


def _table_of(
    groups: list[int], rows: list[dict[int, Exact]], costs: list[int], constraints: Constraints
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


def _answer(score: ScoreFunction, group: tuple[str, ...], task: str) -> Exact:
    value = score(group, task)
    try:
        exact = value if isinstance(value, Fraction) else float(value)
        if not math.isfinite(exact):
            raise ValueError
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"Expected the score function to return a finite number. Received: {value!r} for group "
            f"{group} and task {task!r}."
        ) from error
    return exact
