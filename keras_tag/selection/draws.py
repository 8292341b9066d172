"""Choices of groups for many affinities of the same tasks, in floats."""

import numpy as np

from keras_tag.selection.arguments.choice import Choice
from keras_tag.selection.arguments.lone_tasks import lone_scores
from keras_tag.selection.grouping import Grouping
from keras_tag.selection.problem import Problem
from keras_tag.selection.scores.closed_form import FloatScore
from keras_tag.selection.solver.listed_groups import GroupTable
from keras_tag.selection.task_masks import bits, mask_of

# Units of budget times different costs up to which the subset programme is the quick way.
_MOST_UNITS = 100

# The networks of a grouping, each as two bit masks over the sorted tasks: those that it trains and
# those that it serves.
Networks = tuple[tuple[int, int], ...]


class DrawnChoice:
    """A choice of groups that is made again for every draw of the affinities.

    Args:
        problem: The problem for the mean affinities, by the score "members" or "partners".
        choice: What is asked. `risk` is not applied: a draw is taken as it is.
        budget: As for `select_groups`.
    """

    def __init__(self, problem: Problem, choice: Choice, budget: float) -> None:
        self._tasks, self._choice = problem.tasks, choice
        self._weights = choice.weights_of(problem.tasks)
        self._overlap = problem.constraints.overlap
        self._whole_budget = problem.whole_budget(budget)
        self.listed = False
        if isinstance(problem.source, GroupTable):
            self._list(problem.source)

    def _list(self, table: GroupTable) -> None:
        costs, level = np.unique(np.array(table.costs, np.int64), return_inverse=True)
        # More budget than a network of the dearest kind for every task buys nothing.
        self._whole_budget = min(self._whole_budget, len(self._tasks) * int(costs.max(initial=0)))
        # Whether `choose` can be used: few tasks, and few units of budget.
        self.listed = len(table.groups) > 0 and self._whole_budget * len(costs) <= _MOST_UNITS
        if self.listed:
            self._groups = np.array(table.groups, np.int64)
            self._level_cost, self._level = costs, level.astype(np.int64)
            self._member = (self._groups[:, None] >> np.arange(len(self._tasks)) & 1).astype(float)

    def scores(self, matrix: np.ndarray) -> FloatScore | None:
        """Return the scores by one draw; None if it has a diagonal that can't be divided by.

        Args:
            matrix: `[num_tasks, num_tasks]`, rows source, columns target, of the sorted tasks.
        """
        score = str(self._choice.score)
        if score == "members" and not (np.diagonal(matrix) > 0).all():
            return None
        lone = lone_scores(self._choice.alone, score, self._tasks, matrix)
        return FloatScore.of(matrix, score, lone, self._weights)

    def choose(self, scores: FloatScore) -> tuple[Networks, float]:
        """Return the best networks by one draw, and their value. Needs `listed`."""
        from keras_tag.selection.solver.subset_programme import best_cover

        chosen, served = np.full((2, len(self._tasks)), -1, np.int64)
        value = best_cover(
            self._groups,
            scores.table(self._member),
            self._level,
            self._level_cost,
            self._whole_budget,
            self._overlap,
            chosen,
            served,
        )
        rows = chosen[chosen >= 0]
        pairs = zip(self._groups[rows].tolist(), served[: len(rows)].tolist(), strict=True)
        return tuple(sorted(pairs)), value


def networks_of(grouping: Grouping, tasks: tuple[str, ...]) -> Networks:
    """Return the networks of a grouping; equal for groupings of the same networks.

    Args:
        grouping: The grouping.
        tasks: Its tasks, sorted.
    """
    place = {task: position for position, task in enumerate(tasks)}
    return tuple(
        sorted(
            (mask_of(place[t] for t in group), mask_of(place[t] for t in grouping.served(i)))
            for i, group in enumerate(grouping.groups)
        )
    )


def grouping_of(networks: Networks, tasks: tuple[str, ...]) -> Grouping:
    """Return the grouping of these networks, without scores."""
    groups = [tuple(tasks[i] for i in bits(trained)) for trained, _ in networks]
    serves = {tasks[i]: index for index, (_, served) in enumerate(networks) for i in bits(served)}
    return Grouping.from_groups(groups, {task: serves[task] for task in tasks})
