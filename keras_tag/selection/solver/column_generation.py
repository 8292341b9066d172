"""The proof: prices from the linear programme, the answer from CP-SAT.

1. Column generation: solve the linear programme over the columns seen, ask the source for columns
   of positive excess at its prices, repeat until there are none. The prices then bound every
   solution from above: its value is what its networks pay plus their excesses. Any prices do, so
   those of the linear programme are taken as they are, as exact numbers.
2. The best choice among the columns seen bounds the optimum from below.
3. Only a column whose excess is above minus the difference of the two can be in an optimal
   solution. All of these are listed and given to CP-SAT with their exact values.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from time import monotonic

import numpy as np

from keras_tag.selection.solver.best_choice import Cover, OutOfTime
from keras_tag.selection.solver.columns import Column, ColumnSource, Duals, Listing
from keras_tag.selection.solver.linear_programme import MasterProblem
from keras_tag.selection.task_masks import bits

# Prices for CP-SAT are multiples of one part in so many.
_PRICE_UNITS = 1 << 20
# Excesses up to here may be rounding: GLOP solves to about 1e-7 of the normalised unit.
_MOST_ROUNDING = 1e-6


@dataclass
class Solution:
    """The solution found and the bound proven, in normalised units."""

    columns: list[Column]
    value: Fraction
    bound: Fraction
    optimal: bool
    seen: list[Column] = field(default_factory=list)
    statistics: dict[str, float] = field(default_factory=dict)


def solve(
    source: ColumnSource,
    budget: int,
    deadline: float = math.inf,
    known: Iterable[Column] = (),
) -> Solution:
    """Find the best solution within the budget.

    Args:
        source: All networks.
        budget: In whole units of cost.
        deadline: In `time.monotonic` seconds.
        known: Columns to start with.

    Returns:
        The optimum with its proof, or at the deadline the best found with its bound.

    Raises:
        Uncoverable: No networks within the budget serve every task.
        OutOfTime: The deadline came before any solution was found.
    """
    start = monotonic()
    clock = _Clock(start, deadline)
    master = MasterProblem(source.num_tasks, budget)
    cover = source.first_cover(budget, deadline)
    master.add(cover)
    master.add(known)
    master.add(source.seeds(budget, clock.at(0.25)))
    proof = _Proof(master, source, budget, clock, cover)
    solution = proof.finish()
    solution.seen = master.columns
    solution.statistics |= {"columns": len(master.columns), "seconds": monotonic() - start}
    return solution


@dataclass(frozen=True)
class _Clock:
    """The points in time at which shares of the time limit end."""

    start: float
    deadline: float

    def at(self, share: float) -> float:
        if self.deadline == math.inf:
            return math.inf
        return self.start + share * (self.deadline - self.start)


@dataclass(frozen=True)
class _Prices:
    """The prices of the linear programme, taken for exact: any prices bound every solution.

    Args:
        duals: The prices as floats.
        task: What serving each task is worth.
        unit: What a unit of the budget is worth.
        total: The sum of both: what a solution is worth at most, but for its columns' excesses.
        rounding: What an excess that is computed in floats may be off by.
    """

    duals: Duals
    task: list[Fraction]
    unit: Fraction
    total: Fraction
    rounding: float

    @classmethod
    def of(cls, duals: Duals, budget: int) -> "_Prices":
        task, unit = [Fraction(price) for price in duals.task.tolist()], Fraction(duals.budget)
        largest = max(1.0, float(np.abs(duals.task).max()), duals.budget * budget)
        rounding = 4 * len(task) ** 2 * float(np.finfo(np.float64).eps) * largest
        return cls(duals, task, unit, sum(task, unit * budget), rounding)

    def rounded(self, budget: int) -> tuple[list[Fraction], Fraction]:
        """Return prices of so few digits that sums of them have few digits too."""
        parts = _PRICE_UNITS << budget.bit_length()
        task = [Fraction(round(price * _PRICE_UNITS), _PRICE_UNITS) for price in self.task]
        return task, Fraction(round(self.unit * parts), parts)


class _Proof:
    """The best solution known, and what is known of all others."""

    def __init__(
        self,
        master: MasterProblem,
        source: ColumnSource,
        budget: int,
        clock: _Clock,
        incumbent: list[Column],
    ) -> None:
        self.master, self.source, self.budget, self.clock = master, source, budget, clock
        self.most_networks = source.num_tasks
        if source.least_cost > 0:
            self.most_networks = min(source.num_tasks, budget // source.least_cost)
        self.rounds = 0
        self.incumbent: list[Column] = []
        self.value = Fraction(0)
        self._keep_best(incumbent)

    def finish(self) -> Solution:
        while True:
            prices = self._generate()
            tolerance = prices.rounding
            self._find_incumbent(prices)
            listing = self._list(prices, tolerance)
            late = monotonic() > self.clock.at(0.5)
            if late or listing.best <= tolerance or not self.master.add(listing.columns):
                break
        while listing.best > tolerance and not late:
            # The linear programme does not see excesses this small. They make the bound higher and
            # the list longer by next to nothing.
            tolerance = listing.best
            listing = self._list(prices, tolerance)
        return self._choose(prices, listing, tolerance)

    def _generate(self) -> _Prices:
        """Generate columns as far as they are easily found, and return the prices."""
        while True:
            self.rounds += 1
            duals = self.master.solve()
            late = monotonic() > self.clock.at(0.5)
            if late or not self.master.add(self.source.suggest(duals, self.clock.at(0.5))):
                return _Prices.of(duals, self.budget)

    def _find_incumbent(self, prices: _Prices) -> None:
        whole = self.master.solution()
        if whole is not None:
            self._keep_best(whole)
            return
        self._improve(prices, self.master.columns, self.clock.at(0.75), exactly=False)

    def _list(self, prices: _Prices, tolerance: float) -> Listing:
        """Return columns within the gap; where these are too many, the gap is narrowed first."""
        limit, deadline = self.source.most_listed, self.clock.at(0.75)
        while True:
            # In a better solution every other network gains at most what is tolerated.
            gap = float(prices.total - self.value) + self.most_networks * tolerance
            listing = self.source.within(
                prices.duals, -gap - prices.rounding, limit, deadline, tolerance
            )
            # Without a gap, what can't be listed is tied.
            tied = gap <= 6 * self.most_networks * tolerance
            if listing.complete or listing.best > tolerance or tied or monotonic() > deadline:
                return listing
            before = self.value
            columns = list(dict.fromkeys([*listing.columns, *self.master.columns]))
            self._improve(prices, columns, deadline, exactly=False)
            if self.value == before:
                limit *= 8

    def _choose(self, prices: _Prices, listing: Listing, tolerance: float) -> Solution:
        """Solve with CP-SAT, over all columns that can be in an optimal solution."""
        rounding = Fraction(prices.rounding)
        columns = listing.columns
        if listing.complete:
            # All columns of positive excess are listed: now it is known without rounding.
            losses = {column: self._loss(prices, column) for column in columns}
            most_excess = -min([Fraction(0), *losses.values()])
            gap = prices.total - self.value + self.most_networks * most_excess
            columns = [column for column in columns if losses[column] <= gap]
        else:
            ceiling = listing.bound
            if self.clock.deadline < math.inf:
                ceiling = self.source.ceiling(prices.duals, ceiling, self.clock.at(0.9))
            most_excess = max(Fraction(0), Fraction(ceiling)) + rounding
            columns = [*columns, *self.master.columns]
        kept = list(dict.fromkeys([*columns, *self.incumbent]))
        proven = self._improve(prices, kept, self.clock.deadline)
        bound = prices.total + self.most_networks * most_excess
        if self.clock.deadline < math.inf:
            # Not even the group that is best for itself gives a task more.
            bound = min(bound, Fraction(self.source.most_value()) + rounding)
        # At prices that were not right yet, what is listed is not all that the gap contains.
        if listing.complete and proven and listing.best <= tolerance:
            bound = self.value
        elif not listing.complete and monotonic() < self.clock.at(0.75):
            # Too many columns tie to be listed. That none is better can still be proven.
            proof = self.source.within(prices.duals, tolerance, 1, self.clock.deadline, tolerance)
            if proof.complete and not proof.columns:
                most_excess = Fraction(tolerance) + rounding
                bound = min(bound, prices.total + self.most_networks * most_excess)
        room = bound - self.value
        rounded = 8 * self.most_networks * Fraction(min(tolerance, _MOST_ROUNDING))
        met = 0 < room <= rounded
        return Solution(
            columns=self.incumbent,
            value=self.value,
            bound=self.value if met else max(bound, self.value),
            optimal=bound <= self.value or met,
            statistics={
                "rounds": self.rounds,
                "columns_in_gap": len(kept),
                # 0 where bound and objective are equal as rationals.
                "bound_rounding": float(room) if met else 0.0,
            },
        )

    def _keep_best(self, columns: list[Column]) -> None:
        value = sum((self.source.exact(column) for column in columns), Fraction(0))
        if not self.incumbent or value >= self.value:
            self.incumbent, self.value = columns, value

    def _improve(
        self, prices: _Prices, columns: list[Column], deadline: float, exactly: bool = True
    ) -> bool:
        """Take the optimum over these columns; ties as the package promises to break them.

        Returns:
            Whether it is proven to be the optimum over these columns.
        """
        columns = sorted(columns, key=_by_name)
        cover = Cover(
            self.source.num_tasks,
            [column.served for column in columns],
            [column.cost for column in columns],
            self.budget,
        )
        task, unit = prices.rounded(self.budget)
        if exactly:
            # At these prices the best choice known loses nothing, nor does what ties with it by the
            # same scores: its loss has no digits, of which values as far apart as 1e292 and 1e-305
            # have hundreds.
            paid = {t: (c, t) for c in self.incumbent for t in bits(c.served)}
            task = [self.source.member_score(*paid[t]) for t in sorted(paid)]
            unit = Fraction(0)
        losses = [
            sum((task[served] for served in bits(column.served)), unit * column.cost)
            - (self.source.exact(column) if exactly else Fraction(column.value))
            for column in columns
        ]
        position = {column: index for index, column in enumerate(columns)}
        hint = [position[column] for column in self.incumbent if column in position]
        sizes = [column.group.bit_count() for column in columns] if exactly else None
        try:
            chosen, proven = cover.best(losses, unit, deadline, hint, sizes), exactly
        except OutOfTime as error:
            chosen, proven = error.best, False
        if chosen is not None:
            self._keep_best([columns[index] for index in chosen])
        return proven

    def _loss(self, prices: _Prices, column: Column) -> Fraction:
        paid = sum((prices.task[task] for task in bits(column.served)), prices.unit * column.cost)
        return paid - self.source.exact(column)


def _by_name(column: Column) -> tuple[list[int], list[int], int, int]:
    """Order columns as a dictionary orders the names of their groups."""
    return bits(column.group), bits(column.served), column.cost, column.row
