"""Every allowed network of many tasks, without listing them: pricing by search.

Of all networks that serve a set T with k tasks in all, the best one takes the k - |T| helpers that
the tasks of T gain most from. So only served sets and sizes are searched.
"""

from collections.abc import Mapping
from fractions import Fraction
from time import monotonic

import numpy as np

from keras_tag.selection.columns import Column, Duals, Listing, bits, mask_of
from keras_tag.selection.constraints import Constraints
from keras_tag.selection.exact_cover import OutOfTime
from keras_tag.selection.group_score import GroupScore
from keras_tag.selection.size_search import SizeSearch

_KICKS = 300
# With fewer tasks column generation starts well enough, and compiling the local search would take
# longer than it saves.
_FEWEST_SEEDED = 25
# Excesses up to here count as none while columns are generated.
_TOLERANCE = 1e-9
# Nodes of the first look at a size; every further look takes twice as many.
_FIRST_NODES = 500
_MOST_NODES = 50_000


class ServedSets:
    """A `ColumnSource` for any number of tasks.

    Args:
        score: The scores.
        constraints: What groups must look like.
        costs: Size -> cost in whole units; sizes that are missing can't be bought.
    """

    def __init__(
        self, score: GroupScore, constraints: Constraints, costs: Mapping[int, int]
    ) -> None:
        self._score, self._constraints, self._costs = score, constraints, dict(costs)
        self.num_tasks = len(score.tasks)
        self._sizes = [
            size
            for size in range(constraints.min_size, constraints.max_size + 1)
            if size in self._costs
        ]
        self.least_cost = min((self._costs[size] for size in self._sizes), default=1)
        self._linked = bool(constraints.cannot_link or constraints.must_link)
        self._shifts: dict[int, np.ndarray] = {}
        self._exact_values: dict[tuple[int, int], Fraction] = {}
        self._starts: dict[int, None] = {1 << task: None for task in range(self.num_tasks)}

    most_listed = 1_000

    def seeds(self, budget: int, thorough: bool = False) -> list[Column]:
        """The networks of a good partition, and every one with one task more or less."""
        if self._linked or (self.num_tasks < _FEWEST_SEEDED and not thorough):
            return []
        from keras_tag.selection.local_search import improve_partition

        networks = self.num_tasks
        if self.least_cost > 0:
            networks = min(networks, budget // self.least_cost)
        best = np.zeros((networks, self.num_tasks), np.int8)
        seen = np.zeros((50 * networks, self.num_tasks), np.int8)
        filled = improve_partition(
            self._score.array,
            self._score.left_out,
            self._size_prices(0.0),
            self._score.lone_array,
            self._constraints.overlap,
            networks,
            _KICKS,
            best,
            seen,
        )
        masks = {mask_of(np.flatnonzero(row).tolist()): None for row in best}
        for mask in list(masks):
            masks.update({mask ^ (1 << task): None for task in range(self.num_tasks)})
        masks.update({mask_of(np.flatnonzero(row).tolist()): None for row in seen[:filled]})
        masks.pop(0, None)
        columns = [column for mask in masks for column in self._best_sizes(mask)]
        self._remember(columns)
        return columns

    def _best_sizes(self, served: int) -> list[Column]:
        """The best network for a served set, at every cost there is."""
        best: dict[int, Column] = {}
        tasks = bits(served)
        worth = self._score.array[:, tasks].sum(axis=1)
        others = [task for task in range(self.num_tasks) if not served >> task & 1]
        others.sort(key=lambda task: -worth[task])
        group = served
        for task in [None, *others] if self._constraints.overlap else [None]:
            group |= 0 if task is None else 1 << task
            size = group.bit_count()
            if size not in self._sizes or (size == 1 and self._score.lone[tasks[0]] is None):
                continue
            column = self._column(served, group)
            if column.cost not in best or column.value > best[column.cost].value:
                best[column.cost] = column
        return list(best.values())

    def _size_prices(self, price: float) -> np.ndarray:
        prices = np.full(self.num_tasks + 1, np.inf)
        for size in self._sizes:
            prices[size] = price * self._costs[size]
        return prices

    def suggest(self, duals: Duals) -> list[Column]:
        """Networks of positive excess, by ascent; with links, by the first steps of the search."""
        columns = [c for c in self._lone() if self._excess(c, duals) > _TOLERANCE]
        if not self._linked:
            columns.extend(self._ascend(duals))
        else:
            for size in self._sizes:
                search = self._search(size, duals, _TOLERANCE, 0.0, rising=True)
                columns.extend(search.go_on(_FIRST_NODES))
        return columns

    def within(self, duals: Duals, threshold: float, limit: int, deadline: float) -> Listing:
        """Every served set and size whose best network's excess reaches the threshold.

        Stops at networks of clearly positive excess: then the prices are not right yet.
        """
        columns = [c for c in self._lone() if self._excess(c, duals) >= threshold]
        searches = [
            self._search(size, duals, threshold, max(0.0, -threshold), rising=False)
            for size in self._sizes
        ]
        # A first look at all sizes, for a bound and for what is easily found; then to the end.
        for search in searches:
            columns.extend(search.go_on(_FIRST_NODES))
        running = [search for search in searches if search.open]
        while running and len(columns) <= limit and monotonic() < deadline:
            if max((self._excess(c, duals) for c in columns), default=0.0) > _TOLERANCE:
                break
            columns.extend(running[0].go_on(_MOST_NODES))
            if not running[0].open:
                running.pop(0)
        best = max((self._excess(column, duals) for column in columns), default=-np.inf)
        bound = max([best, *(search.bound for search in searches)])
        self._remember([c for c in columns if self._excess(c, duals) > _TOLERANCE])
        complete = not any(search.open for search in searches)
        if not complete:
            columns.sort(key=lambda c: (-self._excess(c, duals), c.served, c.group))
        listed = self._best_of_each(columns if complete else columns[:limit])
        return Listing(listed, complete, best, bound)

    def first_cover(self, budget: int, deadline: float) -> list[Column]:
        """One network for everything, or the first solution of an easier problem by CP-SAT."""
        from keras_tag.selection.feasible_cover import feasible_cover

        groups = feasible_cover(
            self._constraints,
            self._costs,
            budget,
            [v is not None for v in self._score.lone],
            deadline,
        )
        return [self._column(served, group) for served, group in groups]

    def exact(self, column: Column) -> Fraction:
        """The sum of the served members' exact scores."""
        key = (column.served, column.group)
        if key not in self._exact_values:
            self._exact_values[key] = sum(
                (self._score.member(column.group, task) for task in bits(column.served)),
                Fraction(0),
            )
        return self._exact_values[key]

    def member_score(self, column: Column, task: int) -> Fraction:
        """One served task's exact score."""
        return self._score.member(column.group, task)

    def _lone(self) -> list[Column]:
        if 1 not in self._sizes:
            return []
        return [
            self._column(1 << task, 1 << task)
            for task, lone in enumerate(self._score.lone)
            if lone is not None and self._constraints.allows(1 << task)
        ]

    def _search(
        self, size: int, duals: Duals, threshold: float, served_slack: float, rising: bool
    ) -> SizeSearch:
        return SizeSearch(
            self._score,
            self._constraints,
            size if size > 1 else 0,
            self._costs[size],
            duals,
            threshold,
            served_slack,
            rising,
            self._shift_of(size),
            self._idle_helpers(size),
        )

    def _idle_helpers(self, size: int) -> bool:
        """Whether a helper may have to stay though the group would be better without it."""
        smaller = size - 1
        return (
            bool(self._constraints.must_link)
            or smaller < 2
            or smaller not in self._sizes
            or self._costs[smaller] > self._costs[size]
        )

    def _shift_of(self, size: int) -> np.ndarray:
        """The pair shares that this size ended with last time; at first, halves."""
        if size not in self._shifts:
            array = self._score.array
            self._shifts[size] = (array - array.T) / 2
        return self._shifts[size]

    def _ascend(self, duals: Duals) -> list[Column]:
        from keras_tag.selection.ascent import ascend

        masks = list(self._starts)
        starts = np.array([[m >> t & 1 for t in range(self.num_tasks)] for m in masks], np.int8)
        size_price = self._size_prices(duals.budget)
        values, sizes = np.empty(len(starts)), np.empty(len(starts), np.int64)
        ascend(
            self._score.array,
            duals.task,
            self._score.left_out,
            size_price,
            self._score.lone_array,
            self._constraints.overlap,
            starts,
            values,
            sizes,
        )
        best: dict[tuple[int, int], float] = {}
        for served, value, size in zip(starts, values, sizes.tolist(), strict=True):
            if value > _TOLERANCE:
                best[mask_of(np.flatnonzero(served).tolist()), size] = float(value)
        chosen = sorted(best, key=lambda key: -best[key])
        columns = [self._column(served, self._group(served, size)) for served, size in chosen]
        self._remember(columns)
        return columns

    def _remember(self, columns: list[Column]) -> None:
        """Start later ascents from what was good before."""
        for column in columns:
            self._starts.pop(column.served, None)
            self._starts[column.served] = None
        singles = self.num_tasks
        surplus = len(self._starts) - 4 * singles
        for mask in [m for m in self._starts if m & (m - 1)][: max(0, surplus)]:
            del self._starts[mask]

    def _group(self, served: int, size: int) -> int:
        """The best group of this size for a served set, ties by the names' order."""
        places = size - served.bit_count()
        if not places:
            return served
        tasks = bits(served)
        others = [task for task in range(self.num_tasks) if not served >> task & 1]
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

    def _best_of_each(self, columns: list[Column]) -> list[Column]:
        best: dict[tuple[int, int], Column] = {}
        for column in columns:
            if not self._linked and column.group.bit_count() > 1:
                group = self._group(column.served, column.group.bit_count())
                column = self._column(column.served, group)
            key = (column.served, column.cost)
            if key not in best or self._preference(column) < self._preference(best[key]):
                best[key] = column
        return list(best.values())

    def _preference(self, column: Column) -> tuple[Fraction, int, int]:
        return -self.exact(column), column.group.bit_count(), column.group

    def _column(self, served: int, group: int) -> Column:
        size = group.bit_count()
        if size == 1:
            value = float(self._score.lone_array[bits(group)[0]])
        else:
            total = self._score.array[np.ix_(bits(group), bits(served))].sum()
            value = float(total) / (size - self._score.left_out)
        return Column(served, group, value, self._costs[size])

    def _excess(self, column: Column, duals: Duals) -> float:
        prices = float(duals.task[bits(column.served)].sum())
        return column.value - prices - duals.budget * column.cost


__all__ = ["OutOfTime", "ServedSets"]
