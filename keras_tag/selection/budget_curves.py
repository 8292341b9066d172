"""`budget_curve`: a grouping for every budget, with shared work."""

from collections.abc import Iterable, Mapping
from typing import Any

from keras_tag.affinity import Affinity
from keras_tag.selection.arguments.costs import Costs
from keras_tag.selection.arguments.lone_tasks import Alone
from keras_tag.selection.grouping import Grouping
from keras_tag.selection.scores.measured_groups import GroupScores
from keras_tag.selection.select import (
    Pairs,
    Score,
    build_problem,
    deadline_of,
    solve_problem,
)
from keras_tag.selection.solver.columns import Column


def budget_curve(
    affinity: Affinity | GroupScores,
    budgets: Iterable[float],
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
) -> dict[Any, Grouping]:
    """What every further network would buy: `select_groups` for several budgets.

    The problem is checked and translated once, and networks that were useful at one budget are
    where the next one starts. Every answer is what `select_groups` gives.

    Args:
        affinity: See `select_groups`, also for all that follows.
        budgets: The budgets.
        score: The group score.
        alone: The score of a lone task.
        overlap: False for partitions.
        min_size: The least number of tasks in a group.
        max_size: The largest number of tasks in a group.
        weights: How much each task matters.
        costs: What a network costs.
        must_link: Pairs of tasks that are trained together.
        cannot_link: Pairs of tasks that are not.
        risk: How many standard errors every affinity loses before anything is chosen.
        time_limit: Seconds for each budget.

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
    asked = list(budgets)
    if not asked:
        raise ValueError("Expected at least one budget. Received: budgets=[].")
    problem, tasks = build_problem(
        affinity,
        score=score,
        alone=alone,
        overlap=overlap,
        min_size=min_size,
        max_size=max_size,
        weights=weights,
        costs=costs,
        must_link=must_link,
        cannot_link=cannot_link,
        risk=risk,
    )
    curve: dict[Any, Grouping] = {}
    known: list[Column] = []
    for budget in asked:
        deadline = deadline_of(time_limit)
        curve[budget], known = solve_problem(problem, tasks, budget, deadline, known)
    return curve
