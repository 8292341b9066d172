"""`select_groups` and `budget_curve`: the exact optimum, from `problem` to `Grouping`."""

import math
from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from time import monotonic
from typing import Any, Unpack

import numpy as np

from keras_tag.affinity import Affinity
from keras_tag.provenance import made_with
from keras_tag.selection.arguments.choice import Choice, ChoiceArguments, lists_arguments
from keras_tag.selection.frequency import warn_of_chance, with_frequency
from keras_tag.selection.grouping import Grouping
from keras_tag.selection.problem import MOST_TASKS_LISTED, Problem, build_problem
from keras_tag.selection.scores.measured_groups import GroupScores
from keras_tag.selection.solver.best_choice import OutOfTime
from keras_tag.selection.solver.column_generation import Solution, solve
from keras_tag.selection.solver.columns import Column
from keras_tag.selection.solver.listed_groups import GroupTable, Uncoverable
from keras_tag.selection.solver.measured_choice import best_measured
from keras_tag.selection.task_masks import bits


@lists_arguments(ChoiceArguments)
def select_groups(
    affinity: Affinity | GroupScores,
    budget: float,
    *,
    time_limit: float | None = None,
    **choice: Unpack[ChoiceArguments],
) -> Grouping:
    """Choose the best groups of tasks to train together within a budget, by proof.

    Every task is served by exactly one group; groups may overlap, so a group may train tasks that
    it does not serve, because they help those it does. The objective is the sum over the tasks of
    the score in the group that serves them. For member j of group S, with Z[i, j] what an update
    of task i does for the loss of task j:

        "members":   mean over i in S         of Z[i, j] / Z[j, j]
        "partners":  mean over i in S, i != j, of Z[i, j]

    "partners" is the paper's. Affinities between unrelated tasks are about 0, not negative. So
    "partners" pairs the two tasks that help each other most, and a weak task loses nothing in a
    group of unrelated ones. "members" counts how much of its own progress every task keeps; every
    unrelated task in the group lowers it.

    Args:
        affinity: What was measured: an `Affinity`, or `GroupScores` to choose among trained
            groups (then `score`, `alone` and `costs` don't apply).
        budget: How many networks may be served, at least 1. More than there are tasks is fine.
            With costs: what the networks may cost together.
        time_limit: Seconds after which the best found is returned with its bound. By default the
            answer is proven, however long it takes.
        score: "members", "partners", or for up to 15 tasks a function (sorted names of the group,
            task) -> float.
        alone: The score of a task that is trained alone: "forbid", a number, "self" (its diagonal
            entry), or a mapping from task to one of these. By default "partners", whose mean is
            over no task there, forbids it, under "members" it is 1, and a function is asked.
        overlap: False for a partition: every task is trained by one group only.
        min_size: The least number of tasks in a group.
        max_size: The largest number of tasks in a group.
        weights: How much each task matters: its score is multiplied by its weight, 1 where none
            is given.
        costs: What a network costs: by size, {1: 0.5, 2: 1.0, ...} or a sequence whose k-th number
            is the cost of k tasks; for up to 15 tasks also by group, {("a", "b"): 1.0, ...} or a
            function of the sorted names. A group without a cost can't be chosen. Costs are
            decimal numbers of at most 6 places: three times 0.1 fits into 0.3.
        must_link: Pairs of tasks: every network that trains one trains both.
        cannot_link: Pairs of tasks that no network trains together.
        risk: How many standard errors every affinity (under "members": every ratio) loses before
            anything is chosen. Above 0, tasks that help by chance perhaps count for less; the
            objective is then that of the lowered affinities. It needs standard errors: see
            `Affinity`.

    Returns:
        The `Grouping`. Where the affinity has standard errors, its `frequency` says how often these
        groups, helpers aside, are the best ones when the affinities are resampled within their
        errors; with more than 15 tasks, no proof in time, or too fine a budget nothing is
        resampled, and `replicates` is 0. Among equally good groupings it is one of
        fewest networks, then of smallest total size, and the same one whatever the order of the
        tasks.

    Raises:
        TypeError: `affinity` is neither an `Affinity` nor a `GroupScores`.
        ValueError: Unmeasured pairs, a diagonal that is not positive under "members", a single
            task, a budget below 1 or below the cheapest cover, constraints that no set of groups
            meets, or arguments of the wrong kind.
        TimeoutError: The time limit came before any set of groups was found.

    Warns:
        UncertainGroupsWarning: The groups come out in fewer than half of the resampled affinities,
            or the affinity was measured with too few probes for standard errors.

    Example:
        >>> affinity = Affinity.from_array(
        ...     [[1.0, 0.8, 0.0], [0.6, 1.0, 0.1], [0.0, 0.0, 1.0]], ["a", "b", "c"], rows="source")
        >>> select_groups(affinity, budget=2).groups
        (('a', 'b'), ('c',))

    Reference:
        Fifty et al., "Efficiently Identifying Task Groupings for Multi-Task Learning", NeurIPS
        2021, arXiv:2109.04617, section 3.2.
    """
    asked = Choice.of("select_groups", choice)
    return _choose(affinity, [budget], time_limit, asked)[0]


@lists_arguments(ChoiceArguments)
def budget_curve(
    affinity: Affinity | GroupScores,
    budgets: Iterable[float],
    *,
    time_limit: float | None = None,
    **choice: Unpack[ChoiceArguments],
) -> dict[Any, Grouping]:
    """Choose groups for several budgets, to see what every further network would buy.

    The problem is checked and translated once, and networks that were seen at one budget are
    where the next one starts. Measured groups of more than 15 tasks with overlap start anew.
    Every answer is what `select_groups` gives, but for its `statistics`.

    Args:
        affinity: See `select_groups`.
        budgets: The budgets.
        time_limit: Seconds for each budget.
        **choice: The other arguments of `select_groups`: `score`, `alone`, `overlap`, ...

    Returns:
        Budget -> `Grouping`, in the order given.

    Raises:
        TypeError: See `select_groups`.
        ValueError: See `select_groups`; also no budgets at all.
        TimeoutError: See `select_groups`.

    Example:
        >>> curve = budget_curve(affinity, [1, 2, 3])
        >>> [round(grouping.objective, 3) for grouping in curve.values()]
        [1.5, 2.7, 3.0]
    """
    every_budget = list(budgets)
    if not every_budget:
        raise ValueError("Expected at least one budget. Received: budgets=[].")
    asked = Choice.of("budget_curve", choice)
    found = _choose(affinity, every_budget, time_limit, asked)
    return dict(zip(every_budget, found, strict=True))


def _choose(
    affinity: Affinity | GroupScores, budgets: list[Any], time_limit: float | None, asked: Choice
) -> list[Grouping]:
    """Return the best grouping for each budget, and warn if groups may be the best by chance."""
    problem, tasks = build_problem(affinity, asked)
    found: list[Grouping] = []
    known: list[Column] = []
    for budget in budgets:
        deadline = deadline_of(time_limit)
        grouping, known = solve_problem(problem, tasks, budget, deadline, known)
        settings = {"budget": budget, **asked.settings(), "time_limit": time_limit}
        found.append(replace(grouping, metadata=made_with(settings, affinity)))
    # Trained groups and functions have no errors to resample.
    if isinstance(affinity, Affinity) and isinstance(asked.score, str):
        found = [
            with_frequency(grouping, affinity, problem, asked, budget)
            for grouping, budget in zip(found, budgets, strict=True)
        ]
        warn_of_chance(found, affinity, asked)
    return found


def deadline_of(time_limit: Any) -> float:
    """Return the time limit as a point in `time.monotonic` seconds.

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


def solve_problem(
    problem: Problem,
    tasks: tuple[str, ...],
    budget: Any,
    deadline: float = math.inf,
    known: Iterable[Column] = (),
) -> tuple[Grouping, list[Column]]:
    """Solve for one budget.

    Args:
        problem: The problem.
        tasks: The tasks in the caller's order.
        budget: The budget as the caller gave it.
        deadline: In `time.monotonic` seconds.
        known: Columns that an earlier budget has seen.

    Returns:
        The grouping, and the columns that this budget has seen.
    """
    whole = problem.whole_budget(budget)
    try:
        source, overlap = problem.source, problem.constraints.overlap
        if isinstance(source, GroupTable) and overlap and len(tasks) > MOST_TASKS_LISTED:
            solution = best_measured(source, whole, deadline)
        else:
            solution = solve(source, whole, deadline, known)
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
        text = f"Nothing can serve {lost}: no {reason} group can serve them"
    elif error.cheapest is not None:
        unit = problem.cost_unit
        what = f"{error.cheapest} networks" if unit is None else f"{float(error.cheapest * unit)}"
        least = "at least the cheapest set of groups that serves every task"
        if not error.proven:
            least = "a set of groups that serves every task, such as the cheapest one found"
        text = f"Expected a budget of {least}, {what}. Received: budget={budget!r}"
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
