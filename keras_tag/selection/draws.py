"""Choices of groups for many affinities of the same tasks, in floats."""

from collections.abc import Iterator, Sequence

import numpy as np

from keras_tag.selection.arguments.choice import Choice
from keras_tag.selection.arguments.lone_tasks import lone_scores
from keras_tag.selection.grouping import Grouping
from keras_tag.selection.problem import Problem
from keras_tag.selection.scores.closed_form import FloatScore
from keras_tag.selection.solver.listed_groups import GroupTable
from keras_tag.selection.solver.subset_programme import SubsetProgramme
from keras_tag.selection.task_masks import bits, mask_of

# Units of budget times different costs up to which the subset programme is the quick way.
_MOST_UNITS = 100
# The size of an array over subsets and draws.
_CHUNK = 1 << 20

# The networks of a grouping, each as two bit masks over the sorted tasks: those that it trains and
# those that it serves.
Networks = tuple[tuple[int, int], ...]


class DrawnChoice:
    """A choice of groups that is made again for every draw of the affinities.

    Args:
        problem: The problem for the mean affinities, by the score "members" or "partners".
        choice: What is asked. `risk` is not applied: a draw is taken as it is.
        budget: As for `select_groups`.

    Attributes:
        resamples_quickly: Whether the other methods than `scores` can be used: all groups are
            listed, and the budget has few units.
    """

    def __init__(self, problem: Problem, choice: Choice, budget: float) -> None:
        self._tasks, self._choice = problem.tasks, choice
        self._weights = choice.weights_of(problem.tasks)
        self._overlap = problem.constraints.overlap
        self._whole_budget = problem.whole_budget(budget)
        self.resamples_quickly = False
        if isinstance(problem.source, GroupTable):
            self._list(problem.source)

    def _list(self, table: GroupTable) -> None:
        self._groups = np.array(table.groups, np.int64)
        self._costs = np.array(table.costs, np.int64)
        self._member = (self._groups[:, None] >> np.arange(len(self._tasks)) & 1).astype(float)
        units = self._whole_budget * len(np.unique(self._costs))
        self.resamples_quickly = len(self._groups) > 0 and units <= _MOST_UNITS

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

    def choose(self, scores: Sequence[FloatScore]) -> Iterator[tuple[Networks, float]]:
        """Yield the best networks for every draw, and their value. Needs `resamples_quickly`."""
        for programme in self._programmes(scores):
            for draw, value in enumerate(programme.value.tolist()):
                yield programme.networks(draw), value

    def values(self, scores: Sequence[FloatScore]) -> Iterator[float]:
        """Yield the value of the best networks for every draw. Needs `resamples_quickly`."""
        for programme in self._programmes(scores):
            yield from programme.value.tolist()

    def value_served(self, scores: FloatScore, networks: Networks) -> float:
        """Return the best value of networks that serve the same tasks together.

        Needs `resamples_quickly`.

        Args:
            scores: Of a draw.
            networks: Which tasks are served together. They may be trained with other helpers, as
                far as the budget and the constraints allow.
        """
        if not self._overlap:
            return scores.value(networks)
        table = scores.table(self._member)
        # Budget spent -> the best value of the networks so far.
        best = {0: 0.0}
        for _, served in networks:
            fits = self._groups & served == served
            costs, worth = self._costs[fits], table[fits][:, bits(served)].sum(axis=1)
            most = {cost: worth[costs == cost].max() for cost in set(costs.tolist())}
            after: dict[int, float] = {}
            for spent, value in best.items():
                for cost, more in most.items():
                    if spent + cost <= self._whole_budget:
                        known = after.get(spent + cost, -np.inf)
                        after[spent + cost] = max(known, value + more)
            best = after
        return max(best.values())

    def _programmes(self, scores: Sequence[FloatScore]) -> Iterator[SubsetProgramme]:
        # So many draws at once as take some ten megabytes an array.
        step = max(1, _CHUNK >> len(self._tasks))
        for start in range(0, len(scores), step):
            yield SubsetProgramme(
                self._groups,
                self._costs,
                self._whole_budget,
                self._overlap,
                scores[start : start + step],
            )


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
