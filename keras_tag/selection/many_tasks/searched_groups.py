"""A column source for many tasks, whose networks are searched for instead of listed.

Of all networks that serve a set T with k tasks in all, the best one takes the k - |T| helpers that
the tasks of T gain most from. So only served sets and sizes are searched.
"""

import math
from collections import deque
from collections.abc import Mapping
from fractions import Fraction
from time import monotonic
from typing import TYPE_CHECKING

import numpy as np

from keras_tag.selection.arguments.constraints import Constraints
from keras_tag.selection.many_tasks.network_search import NetworkSearch
from keras_tag.selection.scores.closed_form import ExactScore
from keras_tag.selection.solver.columns import Column, ColumnSource, Listing, Prices
from keras_tag.selection.task_masks import mask_of

if TYPE_CHECKING:
    from keras_tag.selection.many_tasks.ascent import Terms

# Kicks of a search for good partitions: a tenth of a second for 60 tasks, a second for 200.
_KICKS = 100
# Ascents between two looks at the clock.
_ASCENTS = 50
# Excesses up to here count as none while columns are generated.
_TOLERANCE = 1e-9
# Nodes of the first look at some sizes; the nodes of a further one, times the entries of a matrix.
_FIRST_NODES, _STEP_EFFORT = 100, 3_000_000
# How often a search for ever better networks, where links forbid the ascent, is taken up again.
_LOOKS = 5


class ServedSets(ColumnSource):
    """A `ColumnSource` for any number of tasks.

    Args:
        score: The scores.
        constraints: What groups must look like.
        costs: Size -> cost in whole units; sizes that are missing can't be bought.
    """

    most_listed = 1_000

    def __init__(
        self, score: ExactScore, constraints: Constraints, costs: Mapping[int, int]
    ) -> None:
        sizes = range(constraints.min_size, constraints.max_size + 1)
        self._costs = {size: costs[size] for size in sizes if size in costs}
        super().__init__(len(score.tasks), self._costs.values())
        self._score, self._constraints = score, constraints
        self._sizes = list(self._costs)
        self._linked = bool(constraints.cannot_link or constraints.must_link)
        # So many nodes take some tenths of a second.
        self._step = max(50, _STEP_EFFORT // self.num_tasks**2)
        # Served sets of good networks, the latest last: starts of later ascents.
        self._starts: deque[int] = deque(maxlen=3 * self.num_tasks)

    def seeds(self, budget: int, deadline: float = math.inf) -> list[Column]:
        """Return the networks of good partitions, and of the best one each with one flip."""
        if self._linked:
            return []
        from keras_tag.selection.many_tasks.ascent import FORBIDDEN, value_of
        from keras_tag.selection.many_tasks.partition import good_partitions

        terms, memory = self._terms(0.0), np.empty(self.num_tasks)
        partitions = good_partitions(terms, self.most_networks(budget), _KICKS, deadline)
        flips = np.eye(self.num_tasks, dtype=np.int8)
        rows = [*partitions[-1], *(row ^ flip for row in partitions[-1] for flip in flips)]
        columns = {}
        for row in [*rows, *(row for partition in partitions for row in partition)]:
            mask = _mask(row)
            if mask and mask not in columns:
                value, size = value_of(terms, row, memory)
                if value > FORBIDDEN / 2:
                    columns[mask] = self._network(mask, self._best_group(mask, size))
        self._starts.extend(columns)
        return list(columns.values())

    def _terms(self, price: float) -> "Terms":
        """Return what networks are worth, less the price of a unit of the budget."""
        from keras_tag.selection.many_tasks.ascent import FORBIDDEN, Terms

        size_price = np.full(self.num_tasks + 1, -FORBIDDEN)
        for size in self._sizes:
            size_price[size] = price * self._costs[size]
        cheaper = np.flatnonzero(np.diff(size_price) < 0)
        return Terms(
            np.ascontiguousarray(self._score.array.T),
            np.maximum(self._score.lone_array, FORBIDDEN),
            size_price,
            max(2, int(cheaper.max(initial=0)) + 1),
            self._score.left_out,
            self._constraints.overlap,
        )

    def suggest(self, prices: Prices, deadline: float = math.inf) -> list[Column]:
        """Return networks of positive excess, by ascent or, with links, by a short search."""
        columns = [c for c in self._lone() if prices.excess(c) > _TOLERANCE]
        if not self._linked:
            columns.extend(self._ascend(prices, deadline))
        else:
            for search in self._searches(prices, _TOLERANCE):
                for _ in range(_LOOKS):
                    columns.extend(search.go_on(_FIRST_NODES, most_found=1))
                    search.rise()
        return columns

    def within(
        self, prices: Prices, threshold: float, limit: int, deadline: float, tolerance: float
    ) -> Listing:
        """Return every served set whose best network's excess reaches the threshold.

        Stops at networks of clearly positive excess: then the prices are not right yet.
        """
        tolerance = max(tolerance, _TOLERANCE)
        columns = [c for c in self._lone() if prices.excess(c) >= threshold]
        searches = self._searches(prices, threshold)
        # A first look at all sizes, for a bound and for what is easily found; then to the end.
        for search in searches:
            columns.extend(search.go_on(_FIRST_NODES))
        running = [search for search in searches if search.open]
        while running and len(columns) <= limit and monotonic() < deadline:
            if max((prices.excess(c) for c in columns), default=0.0) > tolerance:
                break
            columns.extend(running[0].go_on(self._step))
            if not running[0].open:
                running.pop(0)
        best = max((prices.excess(column) for column in columns), default=-np.inf)
        bound = max([best, *(search.bound for search in searches)])
        self._starts.extend(c.served for c in columns if prices.excess(c) > _TOLERANCE)
        complete = not any(search.open for search in searches)
        if not complete:
            columns.sort(key=lambda c: (-prices.excess(c), c.served, c.group))
        listed = self._best_of_each(columns if complete else columns[:limit])
        return Listing(listed, complete, best, bound)

    def ceiling(self, prices: Prices, known: float, deadline: float) -> float:
        """Return an excess that no network exceeds, `known` at most.

        To prove that nothing is far above the optimum takes far less time than to prove that
        nothing is above it. So the bound is lowered for as long as there is time.
        """
        floor = max([0.0, *(prices.excess(column) for column in self._lone())])
        while known - floor > 1e-3 * known and monotonic() < deadline:
            middle = floor + (known - floor) * 0.7
            for search in self._searches(prices, middle):
                found: list[Column] = []
                while search.open and not found and monotonic() < deadline:
                    found = search.go_on(self._step)
                if found or search.open:
                    floor = max([middle, *(prices.excess(column) for column in found)])
                    break
            else:
                known = middle
        return known

    def most_value(self) -> float:
        """Return the sum of what every task scores in the group that is best for itself."""
        array = self._score.array
        others = np.where(np.eye(self.num_tasks, dtype=bool), -np.inf, array)
        gains = -np.sort(-others, axis=0)[:-1]
        totals = array.diagonal() + np.concatenate([np.zeros((1, self.num_tasks)), gains.cumsum(0)])
        sizes = np.arange(1, self.num_tasks + 1)
        scores = totals / np.maximum(sizes - self._score.left_out, 1)[:, None]
        scores[0] = self._score.lone_array
        return float(scores[np.isin(sizes, self._sizes)].max(axis=0).sum())

    def first_cover(self, budget: int, deadline: float) -> list[Column]:
        """Return one network for all tasks, or a cheapest choice of sizes.

        With links it is a cover by CP-SAT instead of the sizes.
        """
        from keras_tag.selection.solver.first_solution import feasible_cover

        groups = feasible_cover(
            self._constraints,
            self._costs,
            budget,
            [v is not None for v in self._score.lone],
            deadline,
        )
        return [self._network(served, group) for served, group in groups]

    def member_score(self, column: Column, task: int) -> Fraction:
        """Return one served task's exact score."""
        return self._score.member(column.group, task)

    def _network(self, served: int, group: int) -> Column:
        value = self._score.network(group, served)
        return Column(served, group, value, self._costs[group.bit_count()])

    def _best_group(self, served: int, size: int) -> int:
        """Return the best group of this size for a served set, ties by the order of the names."""
        others = [task for task in range(self.num_tasks) if not served >> task & 1]
        return served | self._score.best_helpers(served, others, size - served.bit_count())

    def _best_of_each(self, columns: list[Column]) -> list[Column]:
        """Return the best of the columns that serve the same at the same cost."""
        best: dict[tuple[int, int], Column] = {}
        for column in columns:
            size = column.group.bit_count()
            if not self._linked and size > 1:
                # Of equally good helpers the first by name.
                group = self._best_group(column.served, size)
                column = self._network(column.served, group)
            key = (column.served, column.cost)
            if key not in best or self.preference(column) < self.preference(best[key]):
                best[key] = column
        return list(best.values())

    def _lone(self) -> list[Column]:
        if 1 not in self._sizes:
            return []
        return [
            self._network(1 << task, 1 << task)
            for task, lone in enumerate(self._score.lone)
            if lone is not None and self._constraints.allows(1 << task)
        ]

    def _searches(self, prices: Prices, threshold: float) -> list[NetworkSearch]:
        return [
            NetworkSearch(
                self._score,
                self._constraints,
                sizes,
                self._costs[sizes[0]],
                prices,
                threshold,
                self._idle_helpers(sizes[0]),
            )
            for sizes in self._runs()
        ]

    def _runs(self) -> list[range]:
        """Return the sizes above 1 in runs of equal cost, which one search covers together."""
        runs: list[range] = []
        for size in self._sizes:
            if runs and runs[-1].stop == size and self._alike(size, runs[-1][0]):
                runs[-1] = range(runs[-1].start, size + 1)
            elif size > 1:
                runs.append(range(size, size + 1))
        return runs

    def _alike(self, size: int, other: int) -> bool:
        same_cost = self._costs[size] == self._costs[other]
        return same_cost and self._idle_helpers(size) == self._idle_helpers(other)

    def _idle_helpers(self, size: int) -> bool:
        """Return whether a helper may have to stay though the group would be better without it."""
        smaller = size - 1
        return (
            bool(self._constraints.must_link)
            or smaller < 2
            or smaller not in self._sizes
            or self._costs[smaller] > self._costs[size]
        )

    def _ascend(self, prices: Prices, deadline: float) -> list[Column]:
        from keras_tag.selection.many_tasks.ascent import ascend

        masks = list(dict.fromkeys([*(1 << t for t in range(self.num_tasks)), *self._starts]))
        starts = np.array([[m >> t & 1 for t in range(self.num_tasks)] for m in masks], np.int8)
        terms = self._terms(prices.unit)
        values, sizes = np.full(len(starts), -np.inf), np.zeros(len(starts), np.int64)
        for first in range(0, len(starts), _ASCENTS):
            some = slice(first, first + _ASCENTS)
            ascend(terms, prices.task, starts[some], values[some], sizes[some])
            if monotonic() > deadline:
                break
        best: dict[tuple[int, int], float] = {}
        for served, value, size in zip(starts, values, sizes.tolist(), strict=True):
            if value > _TOLERANCE:
                best[_mask(served), size] = float(value)
        chosen = sorted(best, key=lambda key: -best[key])
        columns = [self._network(served, self._best_group(served, size)) for served, size in chosen]
        self._starts.extend(column.served for column in columns)
        return columns


def _mask(row: np.ndarray) -> int:
    return mask_of(np.flatnonzero(row).tolist())
