"""A column source that lists every allowed group: all subsets of up to 15 tasks, or measured ones.

For given prices the best column of a group is found by looking. With overlap it serves exactly the
members whose score in that group is above their price; without, all of them.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from time import monotonic

import numpy as np

from keras_tag.selection.solver.best_choice import Cover, OutOfTime
from keras_tag.selection.solver.columns import Column, ColumnSource, Listing, Prices
from keras_tag.selection.task_masks import bits, first_of, mask_of

# How many columns one round of pricing hands to the linear programme.
_COLUMNS_PER_ROUND = 60
# Excesses up to here count as none while columns are generated.
_TOLERANCE = 1e-9
# How long a budget that does not suffice is compared with the cheapest cover, for the message.
_SECONDS_TO_REFUSE = 10.0


class GroupTable(ColumnSource):
    """A `ColumnSource` over listed groups.

    Args:
        groups: `[num_groups]`, each group as a bit mask over the tasks.
        scores: `[num_groups, num_tasks]`, each member's score in normalised units (to be
            maximised), NaN for a member it can't serve; for non-members anything.
        costs: `[num_groups]`, whole units of the budget.
        exact_score: (row of the table, task) -> the score without rounding.
        overlap: Whether a group may train tasks that another network serves.

    Attributes:
        groups: As given.
        costs: As given.
        member: `[num_groups, num_tasks]`: whether a group may serve a task.
        scores: As given, and 0 where it may not.
    """

    most_listed = 3_000

    def __init__(
        self,
        groups: Sequence[int],
        scores: np.ndarray,
        costs: Sequence[int],
        exact_score: Callable[[int, int], Fraction],
        overlap: bool = True,
    ) -> None:
        super().__init__(scores.shape[1], costs)
        self.groups = [int(group) for group in groups]
        self.costs = [int(cost) for cost in costs]
        self._cost_array = np.array(self.costs, dtype=np.float64)
        masks = np.array(self.groups, dtype=object if self.num_tasks > 62 else np.int64)
        shifted = masks[:, None] >> np.arange(self.num_tasks)[None, :].astype(masks.dtype)
        self._trained = (shifted & 1).astype(bool).reshape(scores.shape)
        self.member = self._trained & ~np.isnan(scores)
        # A partition's network serves whomever it trains.
        if not overlap:
            whole = (self.member == self._trained).all(axis=1)
            self.member &= whole[:, None]
        self.scores = np.where(self.member, scores, 0.0)
        self._servable = [mask_of(np.flatnonzero(row).tolist()) for row in self.member]
        self._exact_score = exact_score
        self._overlap = overlap
        self._scale = float(np.abs(self.scores).max(initial=0.0))

    def suggest(self, prices: Prices, deadline: float = math.inf) -> list[Column]:
        """Return the best column of each of the best groups."""
        gain, excess = self._excesses(prices)
        rows = np.flatnonzero(excess > _TOLERANCE)
        best = rows[np.argsort(-excess[rows], kind="stable")][:_COLUMNS_PER_ROUND]
        columns = []
        for row in best.tolist():
            # The tasks that gain by it, or the one that loses least.
            least = min(0.0, gain[row].max()) if self._overlap else -np.inf
            served = self.member[row] & (gain[row] >= least)
            columns.append(self.column(row, mask_of(np.flatnonzero(served).tolist())))
        return columns

    def within(
        self, prices: Prices, threshold: float, limit: int, deadline: float, tolerance: float
    ) -> Listing:
        """Return every column whose excess reaches the threshold, one per served set and cost."""
        _, excess = self._excesses(prices)
        bound = float(excess.max(initial=-np.inf))
        rows: dict[tuple[int, int], list[int]] = {}
        order = np.argsort(-excess, kind="stable")
        count = 0
        for row in order[excess[order] >= threshold].tolist():
            for served in self._served_sets(row, prices, threshold):
                rows.setdefault((served, self.costs[row]), []).append(row)
                count += 1
                if len(rows) > limit or count > 10 * limit:
                    return Listing(self._best_of_each(rows), False, bound, bound)
        return Listing(self._best_of_each(rows), True, bound, bound)

    def most_value(self) -> float:
        """Return the sum of what every task scores in the group that is best for itself."""
        return float(np.where(self.member, self.scores, -np.inf).max(axis=0).sum())

    def first_cover(self, budget: int, deadline: float) -> list[Column]:
        """Return one network for all tasks if allowed, else some cover, by CP-SAT."""
        everything = (1 << self.num_tasks) - 1
        for row, group in enumerate(self._servable):
            if group == everything and self.costs[row] <= budget:
                return [self.column(row, everything)]
        cover = Cover(self.num_tasks, self._servable, self.costs, budget, not self._overlap)
        chosen = cover.some(deadline)
        if chosen is None:
            # Only now, and not for ever: of hundreds of groups the cheapest cover may take hours.
            cover, proven = replace(cover, budget=self.num_tasks * self.most_cost), True
            try:
                chosen = cover.cheapest(min(deadline, monotonic() + _SECONDS_TO_REFUSE))
            except OutOfTime as error:
                chosen, proven = error.best or cover.some(deadline), False
            if chosen is not None:
                raise Uncoverable([], sum(self.costs[row] for row in chosen), proven)
            never = np.flatnonzero(~self.member.any(axis=0))
            raise Uncoverable(never.tolist(), None)
        served = first_of(self._servable[row] for row in chosen)
        return [self.column(row, own) for row, own in zip(chosen, served, strict=True) if own]

    def member_score(self, column: Column, task: int) -> Fraction:
        """Return one served task's exact score."""
        return self._exact_score(column.row, task)

    def _excesses(self, prices: Prices) -> tuple[np.ndarray, np.ndarray]:
        """Return the members' scores less their prices, and the excess of each best column."""
        gain = np.where(self.member, self.scores - prices.task, -np.inf)
        if self._overlap:
            total = np.maximum(gain, 0.0).sum(axis=1)
            total = np.where(total > 0, total, gain.max(axis=1))
        else:
            total = np.where(self.member, gain, 0.0).sum(axis=1)
            total[~self.member.any(axis=1)] = -np.inf
        return gain, total - prices.unit * self._cost_array

    def _served_sets(self, row: int, prices: Prices, threshold: float) -> Iterator[int]:
        gains = {
            task: float(self.scores[row, task] - prices.task[task])
            for task in bits(self._servable[row])
        }
        excess = -prices.unit * self.costs[row]
        if not self._overlap:
            yield self._servable[row]
            return
        best = sum(1 << task for task, value in gains.items() if value > 0)
        excess += sum(value for value in gains.values() if value > 0)
        # Serving one more or one less than the best choice loses |gain|.
        flips = sorted((abs(value), task) for task, value in gains.items())
        stack = [(0, best, excess)]
        while stack:
            start, served, value = stack.pop()
            if served:
                yield served
            for index in range(start, len(flips)):
                loss, task = flips[index]
                if value - loss < threshold:
                    break
                stack.append((index + 1, served ^ (1 << task), value - loss))

    def _best_of_each(self, rows: dict[tuple[int, int], list[int]]) -> list[Column]:
        columns = []
        for (served, _), candidates in rows.items():
            tasks = bits(served)
            values = self.scores[np.array(candidates)][:, tasks].sum(axis=1)
            near = values >= values.max() - 1e-12 * self.num_tasks * self._scale
            close = [self.column(candidates[i], served) for i in np.flatnonzero(near).tolist()]
            columns.append(min(close, key=self.preference) if len(close) > 1 else close[0])
        return columns

    def column(self, row: int, served: int) -> Column:
        """Return the network of a group that serves some tasks."""
        value = float(self.scores[row, bits(served)].sum())
        return Column(served, self.groups[row], value, self.costs[row], row)


class Uncoverable(Exception):
    """No choice of groups serves every task within the budget.

    Args:
        tasks: Tasks that no allowed group can serve.
        cheapest: What the cheapest cover costs, in whole units; None if there is none at all.
        proven: Whether there is no cheaper one.
    """

    def __init__(self, tasks: list[int], cheapest: int | None, proven: bool = True) -> None:
        super().__init__("no cover")
        self.tasks, self.cheapest, self.proven = tasks, cheapest, proven
