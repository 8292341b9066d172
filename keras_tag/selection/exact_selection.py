"""`select_groups`: the exact optimum, through CP-SAT."""

from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from typing import Any, Literal

import numpy as np

from keras_tag.affinity import Affinity
from keras_tag.selection.column_generation import Solution, solve
from keras_tag.selection.columns import bits
from keras_tag.selection.group_score import GroupScore
from keras_tag.selection.group_table import GroupTable, Uncoverable
from keras_tag.selection.grouping import Grouping
from keras_tag.selection.lone_tasks import Alone, lone_scores
from keras_tag.selection.measured_pairs import check_affinity, check_measured

Score = Literal["members", "partners"]

# Up to here all 2**n - 1 groups are listed.
_MOST_TASKS_LISTED = 15


def select_groups(
    affinity: Affinity, budget: int, *, score: Score = "members", alone: Alone = None
) -> Grouping:
    """The best at most `budget` groups of tasks to train together, by proof.

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
        affinity: What was measured.
        budget: How many networks may be served, at least 1. More than there are tasks is fine.
        score: "members" or "partners".
        alone: The score of a task that is trained alone: "forbid", a number, "self" (its diagonal
            entry), or a mapping from task to one of these. By default "partners", whose mean is
            over nobody there, forbids it, and under "members" it is 1.

    Returns:
        The `Grouping`. Among equally good ones it is one of fewest networks, then of smallest
        total size, and the same one whatever the order of the tasks.

    Raises:
        TypeError: `affinity` is not an `Affinity`.
        ValueError: Unmeasured pairs, a diagonal that is not positive under "members", a single
            task, a budget below 1, or an unknown `score` or `alone`.

    Example:
        >>> affinity = Affinity.from_array(
        ...     [[1.0, 0.8, 0.0], [0.6, 1.0, 0.1], [0.0, 0.0, 1.0]], ["a", "b", "c"], rows="source")
        >>> select_groups(affinity, budget=2).groups
        (('a', 'b'), ('c',))

    Reference:
        Fifty et al., "Efficiently Identifying Task Groupings for Multi-Task Learning", NeurIPS
        2021, arXiv:2109.04617, section 3.2.
    """
    affinity = check_affinity(affinity)
    if score not in ("members", "partners"):
        raise ValueError(f"Expected `score` to be 'members' or 'partners'. Received: {score!r}.")
    check_measured(affinity, score)
    networks = min(_check_budget(budget), len(affinity.tasks))
    order = sorted(range(len(affinity.tasks)), key=lambda index: affinity.tasks[index])
    tasks = [affinity.tasks[index] for index in order]
    matrix = affinity.mean[np.ix_(order, order)]
    group_score = GroupScore.build(
        tasks, matrix, score, lone_scores(alone, score, tasks, matrix), [1.0] * len(tasks)
    )
    if len(tasks) > _MOST_TASKS_LISTED:
        raise NotImplementedError(f"More than {_MOST_TASKS_LISTED} tasks: {len(tasks)}.")
    try:
        solution = solve(_table(group_score), networks)
    except Uncoverable as error:
        raise ValueError("No set of groups serves every task.") from error
    return _grouping(solution, group_score, affinity.tasks, score)


def _check_budget(budget: Any) -> int:
    whole = isinstance(budget, int | np.integer) and not isinstance(budget, bool)
    if not whole or budget < 1:
        raise ValueError(
            f"Expected `budget`, the number of networks, to be an integer of at least 1. "
            f"Received: budget={budget!r}."
        )
    return int(budget)


def _table(score: GroupScore) -> GroupTable:
    num_tasks = len(score.tasks)
    groups = [
        group
        for group in range(1, 1 << num_tasks)
        if group & (group - 1) or score.lone[group.bit_length() - 1] is not None
    ]
    member = (np.array(groups)[:, None] >> np.arange(num_tasks) & 1).astype(np.float64)
    sizes = member.sum(axis=1)
    scores = member @ score.array / np.maximum(sizes - score.left_out, 1)[:, None]
    single = np.flatnonzero(sizes == 1)
    scores[single] = np.where(member[single] > 0, score.lone_array, 0.0)

    @cache
    def exact(row: int, task: int) -> Fraction:
        return score.member(groups[row], task)

    return GroupTable(groups, scores, [1] * len(groups), exact)


def _grouping(solution: Solution, score: GroupScore, tasks: Sequence[str], name: str) -> Grouping:
    unit = Fraction(2) ** score.exponent
    columns = sorted(solution.columns, key=lambda column: bits(column.served))
    serves, scores = {}, {}
    for index, column in enumerate(columns):
        for task in bits(column.served):
            serves[score.tasks[task]] = index
            scores[score.tasks[task]] = float(score.member(column.group, task) * unit)
    return Grouping(
        groups=tuple(tuple(score.tasks[i] for i in bits(c.group)) for c in columns),
        serves={task: serves[task] for task in tasks},
        task_scores={task: scores[task] for task in tasks},
        objective=float(solution.value * unit),
        bound=float(solution.bound * unit),
        status="optimal" if solution.optimal else "feasible",
        score=name,
    )
