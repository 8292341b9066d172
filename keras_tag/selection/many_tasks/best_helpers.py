"""The best group around a served set, in closed form.

Of all groups of a size that serve a set T the best one takes the helpers that the tasks of T gain
most from.
"""

from collections.abc import Mapping
from fractions import Fraction

import numpy as np

from keras_tag.selection.scores.closed_form import GroupScore
from keras_tag.selection.solver.columns import Column
from keras_tag.selection.task_masks import bits, mask_of


class BestGroups:
    """Columns with their values, and the best columns where no links restrict them.

    Args:
        score: The scores.
        costs: Size -> cost in whole units, of the sizes that are allowed.
        overlap: Whether helpers are allowed.
    """

    def __init__(self, score: GroupScore, costs: Mapping[int, int], overlap: bool) -> None:
        self._score, self._costs, self._overlap = score, costs, overlap
        self._num_tasks = len(score.tasks)

    def column(self, served: int, group: int) -> Column:
        """Return the network that trains `group` and serves `served`."""
        value = self._score.network(group, served)
        return Column(served, group, value, self._costs[group.bit_count()])

    def of_all_sizes(self, served: int) -> list[Column]:
        """Return the best network for a served set at every cost that occurs."""
        tasks = bits(served)
        worth = self._score.array[:, tasks].sum(axis=1)
        others = np.setdiff1d(np.arange(self._num_tasks), tasks)
        others = others[np.argsort(-worth[others], kind="stable")][: None if self._overlap else 0]
        totals = worth[tasks].sum() + np.concatenate([[0.0], worth[others].cumsum()])
        sizes = len(tasks) + np.arange(len(totals))
        values = totals / np.maximum(sizes - self._score.left_out, 1)
        if len(tasks) == 1:
            values[0] = self._score.lone_array[tasks[0]]
        best: dict[int, int] = {}
        for place, size in enumerate(sizes.tolist()):
            cost = self._costs.get(size)
            if cost is None or values[place] == -np.inf:
                continue
            if cost not in best or values[place] > values[best[cost]]:
                best[cost] = place
        return [self.column(served, served | mask_of(others[:k].tolist())) for k in best.values()]

    def group(self, served: int, size: int) -> int:
        """Return the best group of this size for a served set, ties by the order of the names."""
        places = size - served.bit_count()
        if not places:
            return served
        tasks = bits(served)
        others = [task for task in range(self._num_tasks) if not served >> task & 1]
        worth = self._score.array[:, tasks].sum(axis=1)
        others.sort(key=lambda task: -worth[task])
        edge = worth[others[places - 1]]
        near = 1e-12 * (1 + len(tasks))
        close = [task for task in others if abs(worth[task] - edge) <= near]
        sure = [task for task in others if worth[task] > edge + near]
        if len(close) > 1:
            terms = self._score.terms
            exact = {t: sum((terms[t][j] for j in tasks), Fraction(0)) for t in close}
            close.sort(key=lambda task: (-exact[task], task))
        return served | mask_of(sure + close[: places - len(sure)])
