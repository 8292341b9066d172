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

from keras_tag.selection.solver.best_choice import Cover, OutOfTime
from keras_tag.selection.solver.columns import Column, ColumnSource, Listing, Prices
from keras_tag.selection.solver.linear_programme import MasterProblem
from keras_tag.selection.task_masks import bits

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
        return self.start + share * (self.deadline - self.start)


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
        self.most_networks = source.most_networks(budget)
        self.rounds = 0
        self.incumbent: list[Column] = []
        self.value = Fraction(0)
        self._keep_best(incumbent)

    def finish(self) -> Solution:
        while True:
            prices = self._generate()
            tolerance = prices.rounding(self.budget)
            self._find_incumbent()
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

    def _generate(self) -> Prices:
        """Generate columns as far as they are easily found, and return the prices."""
        while True:
            self.rounds += 1
            prices = self.master.solve()
            late = monotonic() > self.clock.at(0.5)
            if late or not self.master.add(self.source.suggest(prices, self.clock.at(0.5))):
                return prices

    def _find_incumbent(self) -> None:
        whole = self.master.solution()
        if whole is None:
            self._improve(self.master.columns, self.clock.at(0.75), exactly=False)
        else:
            self._keep_best(whole)

    def _list(self, prices: Prices, tolerance: float) -> Listing:
        """Return columns within the gap; where these are too many, the gap is narrowed first."""
        limit, deadline = self.source.most_listed, self.clock.at(0.75)
        most, rounding = prices.most(self.budget), prices.rounding(self.budget)
        while True:
            # In a better solution every other network gains at most what is tolerated.
            gap = float(most - self.value) + self.most_networks * tolerance
            listing = self.source.within(prices, -gap - rounding, limit, deadline, tolerance)
            # Without a gap, what can't be listed is tied.
            tied = gap <= 6 * self.most_networks * tolerance
            if listing.complete or listing.best > tolerance or tied or monotonic() > deadline:
                return listing
            before = self.value
            self._improve({*listing.columns, *self.master.columns}, deadline, exactly=False)
            if self.value == before:
                limit *= 8

    def _choose(self, prices: Prices, listing: Listing, tolerance: float) -> Solution:
        """Solve with CP-SAT, over all columns that can be in an optimal solution."""
        most, rounding = prices.most(self.budget), Fraction(prices.rounding(self.budget))
        kept, ceiling = {*listing.columns, *self.incumbent}, listing.bound
        timed = self.clock.deadline < math.inf
        if not listing.complete:
            kept.update(self.master.columns)
            if timed:
                ceiling = self.source.ceiling(prices, ceiling, self.clock.at(0.9))
        proven = self._improve(kept, self.clock.deadline)
        bound = most + self.most_networks * (Fraction(max(0.0, ceiling)) + rounding)
        if timed:
            # Not even the group that is best for itself gives a task more.
            bound = min(bound, Fraction(self.source.most_value()) + rounding)
        # At prices that were not right yet, what is listed is not all that the gap contains.
        if listing.complete and proven and listing.best <= tolerance:
            bound = self.value
        elif not listing.complete and monotonic() < self.clock.at(0.75):
            # Too many columns tie to be listed. That none is better can still be proven.
            proof = self.source.within(prices, tolerance, 1, self.clock.deadline, tolerance)
            if proof.complete and not proof.columns:
                bound = min(bound, most + self.most_networks * (Fraction(tolerance) + rounding))
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

    def _improve(self, columns: Iterable[Column], deadline: float, exactly: bool = True) -> bool:
        """Take the optimum over these columns; ties as the package promises to break them.

        Returns:
            Whether it is proven to be the optimum over these columns.
        """
        # In an order that is always the same, whatever was found first.
        columns = sorted(columns, key=_by_name)
        cover = Cover(
            self.source.num_tasks,
            [column.served for column in columns],
            [column.cost for column in columns],
            self.budget,
        )
        # What the best choice known gets for each task is its price here. So that choice loses
        # nothing, nor does what ties with it by the same scores: its loss has no digits, of which
        # values as far apart as 1e292 and 1e-305 have hundreds.
        price = {t: self.source.member_score(c, t) for c in self.incumbent for t in bits(c.served)}
        values = [self.source.exact(c) if exactly else Fraction(c.value) for c in columns]
        losses = [
            sum((price[task] for task in bits(column.served)), -value)
            for column, value in zip(columns, values, strict=True)
        ]
        known = set(self.incumbent)
        hint = [index for index, column in enumerate(columns) if column in known]
        groups = [column.group for column in columns] if exactly else None
        try:
            chosen, proven = cover.best(losses, deadline, hint, groups), exactly
        except OutOfTime as error:
            chosen, proven = error.best, False
        if chosen is not None:
            self._keep_best([columns[index] for index in chosen])
        return proven


def _by_name(column: Column) -> tuple[list[int], list[int], int, int]:
    """Order columns as a dictionary orders the names of their groups."""
    return bits(column.group), bits(column.served), column.cost, column.row
