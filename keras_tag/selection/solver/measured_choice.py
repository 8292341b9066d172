"""The best choice among few listed groups of many tasks, by branch and bound over the groups.

For `GroupScores` with overlap and more than 15 tasks. A column fixes which tasks a network serves.
A proof by columns does not end: of a group of 40 tasks, 2**40 columns tie at the prices at which
every task pays what it gets. Here only the groups are chosen: each task is served by the best of
them. What groups add to a choice shrinks as it grows, so that the largest sum of what single groups
add bounds what all of them add together.
"""

import math
from fractions import Fraction
from time import monotonic
from typing import Any

import numpy as np

from keras_tag.selection.solver.column_generation import Solution
from keras_tag.selection.solver.columns import Column
from keras_tag.selection.solver.listed_groups import GroupTable
from keras_tag.selection.task_masks import bits, mask_of


def best_measured(source: GroupTable, budget: int, deadline: float = math.inf) -> Solution:
    """Find the best choice of listed groups that may overlap.

    Args:
        source: The groups.
        budget: In whole units of cost.
        deadline: In `time.monotonic` seconds.

    Returns:
        The optimum, of those that tie the one of the fewest networks, then of the smallest total
        size, then the first by name; or at the deadline the best found, with its bound.

    Raises:
        Uncoverable: No groups within the budget serve every task.
    """
    start = monotonic()
    search = _Search(source, source.first_cover(budget, deadline), deadline)
    most = search.extend([], search.nothing, budget, np.arange(len(source.groups)))
    value = -search.best[0]
    bound = value
    if search.late:
        # Both are sums of floats.
        most = min(most, source.most_value()) + search.tolerance
        bound = max(value, Fraction(most))
    return Solution(
        columns=search.columns,
        value=value,
        bound=bound,
        optimal=not search.late,
        seen=search.columns,
        statistics={
            # No linear programme is solved, and where it is proven the optimum is exact.
            "rounds": 0,
            "columns": len(search.columns),
            "bound_rounding": 0.0,
            "seconds": monotonic() - start,
        },
    )


class _Search:
    """The best choice so far.

    Args:
        source: The groups.
        columns: A choice to begin with.
        deadline: When to end.

    Attributes:
        nothing: `[num_tasks]`: less than any score, by so much that a choice which leaves a task
            out is worse than any that does not.
        tolerance: What sums of scores may be off by.
    """

    def __init__(self, source: GroupTable, columns: list[Column], deadline: float) -> None:
        self._source, self._deadline = source, deadline
        low, high = (float(reach(source.scores[source.member])) for reach in (np.min, np.max))
        least = low - (1 + source.num_tasks) * max(high - low, 1.0)
        self._scores = np.where(source.member, source.scores, least)
        self.nothing = np.full(source.num_tasks, least)
        self._costs = np.array(source.costs)
        self.tolerance = 1e-12 * (1 + source.num_tasks) * max(abs(least), abs(high))
        self.columns, self.best = columns, self._order(columns)
        self.late = False

    def extend(self, chosen: list[int], reached: np.ndarray, left: int, rows: np.ndarray) -> float:
        """Look at all choices of some groups and of any others.

        Args:
            chosen: The groups.
            reached: `[num_tasks]`: the best score of every task in them.
            left: What may still be spent.
            rows: The others.

        Returns:
            What such a choice is worth at most.
        """
        total = float(reached.sum())
        if total >= -float(self.best[0]) - self.tolerance and (reached > self.nothing).all():
            columns = self._assigned(chosen)
            order = self._order(columns)
            if order < self.best:
                self.columns, self.best = columns, order
        rows = rows[self._costs[rows] <= left]
        gains = np.maximum(self._scores[rows] - reached, 0.0).sum(axis=1)
        best = np.argsort(-gains, kind="stable")[: np.count_nonzero(gains)]
        rows, gains = rows[best], gains[best]
        least_cost = self._source.least_cost
        count = left // least_cost if least_cost else len(rows)
        most = total + float(gains[:count].sum())
        for k, row in enumerate(rows.tolist()):
            self.late = self.late or monotonic() > self._deadline
            bound = total + float(gains[k : k + count].sum())
            if self.late or bound < -float(self.best[0]) - self.tolerance:
                break
            cost = int(self._costs[row])
            better = np.maximum(reached, self._scores[row])
            self.extend([*chosen, row], better, left - cost, rows[k + 1 :])
        return most

    def _order(self, columns: list[Column]) -> tuple[Any, ...]:
        """Return what choices are ordered by, the best one first."""
        value = sum((self._source.exact(column) for column in columns), Fraction(0))
        groups = [bits(column.group) for column in sorted(columns, key=lambda c: bits(c.served))]
        return -value, len(groups), sum(map(len, groups)), groups

    def _assigned(self, rows: list[int]) -> list[Column]:
        """Return the networks of some groups, of which each task has its best; ties by name."""
        source = self._source
        rows = sorted(rows, key=lambda row: bits(source.groups[row]))
        served: dict[int, list[int]] = {}
        for task in range(source.num_tasks):
            able = [row for row in rows if source.member[row, task]]
            best = max(able, key=lambda row: source.exact(source.column(row, mask_of([task]))))
            served.setdefault(best, []).append(task)
        return [source.column(row, mask_of(own)) for row, own in served.items()]
