"""A recomputation of a grouping's scores without the solver's arithmetic; for tests only."""

import math
from collections.abc import Mapping
from fractions import Fraction

from keras_tag.affinity import Affinity
from keras_tag.selection.arguments.lone_tasks import Alone, lone_scores
from keras_tag.selection.grouping import Grouping
from keras_tag.selection.scores.measured_groups import GroupScores

# Scores are reported as floats: the nearest ones to the exact values.
_RELATIVE = 1e-12


def verify(
    grouping: Grouping,
    affinity: Affinity | GroupScores,
    *,
    alone: Alone = None,
    weights: Mapping[str, float] | None = None,
) -> float:
    """Recompute every score of a grouping from its definition, in exact rational arithmetic.

    It shares no arithmetic with the solver. It checks the scores, their sum, and that the bound is
    on the right side of it; it does not prove again that nothing is better.

    Args:
        grouping: What `select_groups` gave, with the score "members" or "partners", or from
            `GroupScores`.
        affinity: What it was selected from.
        alone: As in the call of `select_groups`.
        weights: As in the call of `select_groups`.

    Returns:
        The objective, recomputed.

    Raises:
        ValueError: A score, the objective or the bound is not what it should be; or the grouping
            has no scores to check.
    """
    weight = {task: Fraction((weights or {}).get(task, 1.0)) for task in grouping.tasks}
    smaller_is_better = False
    if isinstance(affinity, GroupScores):
        exact = {task: _measured(grouping, affinity, task, weight[task]) for task in weight}
        smaller_is_better = affinity.sense == "min"
    elif grouping.score in ("members", "partners"):
        lone = dict(
            zip(
                affinity.tasks,
                lone_scores(alone, grouping.score, affinity.tasks, affinity.mean),
                strict=True,
            )
        )
        exact = {task: _predicted(grouping, affinity, task, lone) for task in grouping.tasks}
    else:
        raise ValueError(
            "Expected a grouping selected with score='members' or 'partners', or from GroupScores. "
            f"Received: score={grouping.score!r}."
        )
    for task, value in exact.items():
        exact[task] = value * weight[task]
        _compare(f"the score of {task!r}", grouping.task_scores[task], exact[task])
    total = sum(exact.values(), Fraction(0))
    _compare("the objective", grouping.objective, total)
    room = (grouping.bound - grouping.objective) * (-1 if smaller_is_better else 1)
    if not room >= 0 or (
        grouping.status == "optimal" and room > 1e-9 * max(1.0, abs(float(total)))
    ):
        raise ValueError(
            f"Expected the bound to be no worse than the objective, and equal to it if optimal. "
            f"Received: bound={grouping.bound}, objective={grouping.objective}, "
            f"status={grouping.status!r}."
        )
    return float(total)


def _predicted(
    grouping: Grouping, affinity: Affinity, task: str, lone: Mapping[str, float | None]
) -> Fraction:
    position = {name: index for index, name in enumerate(affinity.tasks)}
    group = grouping.groups[grouping.serves[task]]
    target = position[task]
    if len(group) == 1:
        value = lone[task]
        if value is None:
            raise ValueError(f"Expected no lone tasks. Received: {task!r} on its own.")
        return Fraction(value)
    others = [
        Fraction(float(affinity.mean[position[name], target])) for name in group if name != task
    ]
    if grouping.score == "partners":
        return sum(others, Fraction(0)) / len(others)
    diagonal = Fraction(float(affinity.mean[target, target]))
    return (sum(others, Fraction(0)) + diagonal) / diagonal / len(group)


def _measured(grouping: Grouping, scores: GroupScores, task: str, weight: Fraction) -> Fraction:
    group = grouping.groups[grouping.serves[task]]
    values = [
        Fraction(entry.scores[task])
        for entry in scores.entries
        if set(entry.tasks) == set(group) and task in entry.scores
    ]
    if not values:
        raise ValueError(f"Expected a measured group. Nothing is known of {task!r} in {group}.")
    # The same tasks may have been measured at several costs: the one that was meant.
    reported = Fraction(grouping.task_scores[task])
    return min(values, key=lambda value: abs(value * weight - reported))


def _compare(what: str, reported: float, exact: Fraction) -> None:
    if not math.isclose(reported, float(exact), rel_tol=_RELATIVE, abs_tol=0.0):
        raise ValueError(
            f"Expected {what} to be {float(exact)!r}, computed from its definition. Received: "
            f"{reported!r}."
        )
