"""`select_groups`: the exact optimum, through CP-SAT."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from fractions import Fraction
from time import monotonic
from typing import Any, Literal

import numpy as np

from keras_tag.affinity import Affinity
from keras_tag.selection.arguments.affinities import check_affinity, check_measured
from keras_tag.selection.arguments.constraints import Constraints, check_weights
from keras_tag.selection.arguments.costs import Costs, by_size, group_cost
from keras_tag.selection.arguments.lone_tasks import Alone, lone_scores
from keras_tag.selection.arguments.robust_affinity import check_risk, pessimistic
from keras_tag.selection.chosen_with import chosen_with
from keras_tag.selection.grouping import Grouping
from keras_tag.selection.problem import (
    Problem,
    ScoreFunction,
    affinity_search,
    affinity_table,
    function_table,
    measured_table,
)
from keras_tag.selection.scores.closed_form import GroupScore
from keras_tag.selection.scores.measured_groups import GroupScores
from keras_tag.selection.solver.best_choice import OutOfTime
from keras_tag.selection.solver.column_generation import Solution, solve
from keras_tag.selection.solver.columns import Column, bits
from keras_tag.selection.solver.listed_groups import Uncoverable

Score = Literal["members", "partners"] | ScoreFunction
Pairs = Iterable[tuple[str, str]]

# Up to here all 2**n - 1 groups are listed.
MOST_TASKS_LISTED = 15


def select_groups(
    affinity: Affinity | GroupScores,
    budget: float,
    *,
    score: Score = "members",
    alone: Alone = None,
    overlap: bool = True,
    min_size: int = 1,
    max_size: int | None = None,
    weights: Mapping[str, float] | None = None,
    costs: Costs = None,
    must_link: Pairs = (),
    cannot_link: Pairs = (),
    risk: float = 0.0,
    time_limit: float | None = None,
) -> Grouping:
    """The best groups of tasks to train together within a budget, by proof.

    Every task is served by exactly one group; groups may overlap, so a group may train tasks that
    it does not serve, because they help those it does. The objective is the sum over the tasks of
    the score in the group that serves them. For member j of group S, with Z[i, j] what an update
    of task i does for the loss of task j:

        "members":   mean over i in S         of Z[i, j] / Z[j, j]
        "partners":  mean over i in S, i != j, of Z[i, j]

    "partners" is the paper's. Affinities between unrelated tasks are about 0, not negative, so it
    gladly pairs two best friends and leaves a weak task among strangers; "members" counts how much
    of its own progress every task keeps, and being trained among strangers costs.

    Args:
        affinity: What was measured: an `Affinity`, or `GroupScores` to choose among trained
            groups (then `score`, `alone` and `costs` don't apply).
        budget: How many networks may be served, at least 1. More than there are tasks is fine.
            With costs: what the networks may cost together.
        score: "members", "partners", or for up to 15 tasks a function (sorted names of the group,
            task) -> float.
        alone: The score of a task that is trained alone: "forbid", a number, "self" (its diagonal
            entry), or a mapping from task to one of these. By default "partners", whose mean is
            over nobody there, forbids it, under "members" it is 1, and a function is asked.
        overlap: False for a partition: every task is trained by one group only.
        min_size: The least number of tasks in a group.
        max_size: The largest number of tasks in a group.
        weights: How much each task matters: its score is multiplied by its weight, 1 where none
            is given.
        costs: What a network costs: by size, {1: 0.5, 2: 1.0, ...} or a sequence whose k-th number
            is the cost of k tasks; for up to 15 tasks also by group, {("a", "b"): 1.0, ...} or a
            function of the sorted names. A group without a cost can't be chosen. Costs and
            budget are read as decimal numbers: three times 0.1 fits into 0.3.
        must_link: Pairs of tasks: every network that trains one trains both.
        cannot_link: Pairs of tasks that no network trains together.
        risk: How many standard errors every affinity (under "members": every ratio) loses before
            anything is chosen. Above 0, friends that may be so by chance count for less; the
            objective is then that of the lowered affinities. It needs standard errors: see
            `Affinity`.
        time_limit: Seconds after which the best found is returned with its bound. By default the
            answer is proven, however long it takes.

    Returns:
        The `Grouping`. Among equally good ones it is one of fewest networks, then of smallest
        total size, and the same one whatever the order of the tasks.

    Raises:
        TypeError: `affinity` is neither an `Affinity` nor a `GroupScores`.
        ValueError: Unmeasured pairs, a diagonal that is not positive under "members", a single
            task, a budget below 1 or below the cheapest cover, constraints that no set of groups
            meets, or arguments of the wrong kind.
        TimeoutError: The time limit came before any set of groups was found.

    Example:
        >>> affinity = Affinity.from_array(
        ...     [[1.0, 0.8, 0.0], [0.6, 1.0, 0.1], [0.0, 0.0, 1.0]], ["a", "b", "c"], rows="source")
        >>> select_groups(affinity, budget=2).groups
        (('a', 'b'), ('c',))

    Reference:
        Fifty et al., "Efficiently Identifying Task Groupings for Multi-Task Learning", NeurIPS
        2021, arXiv:2109.04617, section 3.2.
    """
    deadline = deadline_of(time_limit)
    choice: dict[str, Any] = {
        "score": score,
        "alone": alone,
        "overlap": overlap,
        "min_size": min_size,
        "max_size": max_size,
        "weights": weights,
        "costs": costs,
        "must_link": must_link,
        "cannot_link": cannot_link,
        "risk": risk,
    }
    problem, tasks = build_problem(affinity, **choice)
    grouping = solve_problem(problem, tasks, budget, deadline)[0]
    metadata = chosen_with(affinity, {"budget": budget, **choice, "time_limit": time_limit})
    return replace(grouping, metadata=metadata)


def deadline_of(time_limit: Any) -> float:
    """The time limit as a point in `time.monotonic` seconds.

    Raises:
        ValueError: Not a positive number.
    """
    if time_limit is None:
        return math.inf
    if not isinstance(time_limit, int | float | np.number) or not time_limit > 0:
        raise ValueError(
            f"Expected `time_limit` to be a positive number of seconds. Received: {time_limit!r}."
        )
    return monotonic() + float(time_limit)


def build_problem(
    affinity: Affinity | GroupScores,
    *,
    score: Score,
    alone: Alone,
    overlap: bool,
    min_size: int,
    max_size: int | None,
    weights: Mapping[str, float] | None,
    costs: Costs,
    must_link: Pairs,
    cannot_link: Pairs,
    risk: float = 0.0,
) -> tuple[Problem, tuple[str, ...]]:
    """Validate everything but the budget; see `select_groups`.

    Returns:
        The problem, and the tasks in the caller's order.
    """
    measured = isinstance(affinity, GroupScores)
    risk = check_risk(risk)
    if risk and (measured or callable(score)):
        raise ValueError(
            "`risk` lowers affinities, which neither GroupScores nor a score function read. "
            f"Received: risk={risk}."
        )
    if not measured:
        affinity = check_affinity(affinity)
    names = affinity.tasks
    tasks = tuple(sorted(names))
    constraints = Constraints.check(tasks, overlap, min_size, max_size, must_link, cannot_link)
    weight = check_weights(weights, tasks)
    if isinstance(affinity, GroupScores):
        if score != "members" or alone is not None or costs is not None:
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
        lone = lone_scores(alone, "function", tasks, matrix)
        table, scale, unit = function_table(score, constraints, lone, weight, cost)
        return Problem(tasks, table, scale, unit, constraints, "function"), names
    check_measured(affinity, score)
    matrix = pessimistic(affinity, score, risk)[np.ix_(order, order)]
    group_score = GroupScore.build(
        tasks, matrix, score, lone_scores(alone, score, tasks, matrix), weight
    )
    scale = Fraction(2) ** group_score.exponent
    if len(tasks) > MOST_TASKS_LISTED:
        source, unit = affinity_search(group_score, constraints, by_size(costs))
        return Problem(tasks, source, scale, unit, constraints, score), names
    table, unit = affinity_table(group_score, constraints, cost)
    return Problem(tasks, table, scale, unit, constraints, score), names


def _check_reach(score: Any, costs: Costs, num_tasks: int) -> None:
    if not callable(score) and score not in ("members", "partners"):
        raise ValueError(
            "Expected `score` to be 'members', 'partners' or a function (group, task) -> float. "
            f"Received: score={score!r}."
        )
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


def solve_problem(
    problem: Problem,
    tasks: tuple[str, ...],
    budget: Any,
    deadline: float,
    known: Iterable[Column] = (),
) -> tuple[Grouping, list[Column]]:
    """Solve for one budget.

    Args:
        problem: The problem.
        tasks: The tasks in the caller's order.
        budget: The budget as the caller gave it.
        deadline: In `time.monotonic` seconds.
        known: Columns that an earlier budget has found useful.

    Returns:
        The grouping, and the columns that this budget has found useful.
    """
    whole = problem.whole_budget(budget)
    try:
        solution = solve(problem.source, whole, deadline, known)
    except Uncoverable as error:
        raise _infeasible(problem, budget, error) from error
    except OutOfTime as error:
        raise TimeoutError(
            "The time limit came before any set of groups was found. Give more time, or loosen "
            f"{problem.constraints.describe() or 'the budget'}."
        ) from error
    return _grouping(problem, solution, tasks), solution.seen


def _infeasible(problem: Problem, budget: Any, error: Uncoverable) -> ValueError:
    described = problem.constraints.describe()
    if error.tasks:
        lost = [problem.tasks[task] for task in error.tasks]
        reason = "measured" if problem.score == "measured" else "allowed"
        text = f"Nothing can serve {lost}: no {reason} group trains them"
    elif error.cheapest is not None:
        unit = problem.cost_unit
        what = f"{error.cheapest} networks" if unit is None else f"{float(error.cheapest * unit)}"
        text = (
            f"Expected a budget of at least the cheapest set of groups that serves every task, "
            f"{what}. Received: budget={budget!r}"
        )
    else:
        text = "No set of groups, however large the budget, serves every task"
    if problem.score == "partners":
        described = ", ".join(filter(None, [described, "lone tasks as `alone` says"]))
    return ValueError(text + (f", under {described}." if described else "."))


def _grouping(problem: Problem, solution: Solution, tasks: tuple[str, ...]) -> Grouping:
    columns = sorted(solution.columns, key=lambda column: bits(column.served))
    serves: dict[str, int] = {}
    scores: dict[str, float] = {}
    for index, column in enumerate(columns):
        for task in bits(column.served):
            serves[problem.tasks[task]] = index
            exact = problem.source.member_score(column, task) * problem.scale
            scores[problem.tasks[task]] = _float(exact)
    unit = problem.cost_unit
    spent = sum(column.cost for column in columns)
    return Grouping(
        groups=tuple(tuple(problem.tasks[i] for i in bits(c.group)) for c in columns),
        serves={task: serves[task] for task in tasks},
        task_scores={task: scores[task] for task in tasks},
        objective=_float(solution.value * problem.scale),
        bound=_float(solution.bound * problem.scale),
        status="optimal" if solution.optimal else "feasible",
        score=problem.score,
        cost=float(spent if unit is None else spent * unit),
        statistics=solution.statistics,
    )


def _float(value: Fraction) -> float:
    try:
        return float(value)
    except OverflowError as error:
        raise ValueError(
            "The scores are too large for a float (about 1e308). Divide the affinities, or the "
            "weights, by a constant: no choice depends on it."
        ) from error
