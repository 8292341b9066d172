"""The proof: prices from the linear programme, the answer from CP-SAT.

1. Column generation: solve the linear programme over the columns seen, ask the source for columns
   of positive excess at its prices, repeat until there are none. The prices then bound every
   solution from above.
2. The best choice among the columns seen bounds the optimum from below.
3. Only a column whose excess is above minus the difference of the two can be in an optimal
   solution. All of these are listed and given to CP-SAT, with their exact reduced costs as weights.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from hashlib import blake2b
from time import monotonic

import numpy as np

from keras_tag.selection.solver.best_choice import Cover, OutOfTime
from keras_tag.selection.solver.columns import Column, ColumnSource, Duals, Listing
from keras_tag.selection.solver.linear_programme import MasterProblem
from keras_tag.selection.task_masks import bits

_FINGERPRINT_BITS = 24
# Limit of the second listing, whose threshold is lower than that of the first by next to nothing.
_MOST_RELISTED = 100_000
# Up to so many columns ties are broken to the end by the fingerprint of the choice.
_MOST_MARKED = 1_000


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
    master.add(source.seeds(budget))
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


class _Proof:
    """Steps 2 and 3, given converged prices."""

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
        self.task: list[Fraction] = []
        self.unit = Fraction(0)
        self._losses: dict[Column, Fraction] = {}
        self.rounds = self.magnified = 0
        self.seeded = False
        self.incumbent: list[Column] = []
        self.value = Fraction(0)
        self._keep_best(incumbent)

    def finish(self) -> Solution:
        while True:
            self._generate()
            duals, prices = self._exact_prices()
            rounding = self._rounding(duals)
            self._find_incumbent()
            listing = self._list(duals, prices)
            if monotonic() > self.clock.at(0.5) or listing.best <= rounding:
                break
            if not self.master.add(listing.columns):
                if self.magnified > 10:
                    break
                # GLOP does not see excesses this small: blow them up.
                losses = [-float(self._loss(column)) for column in self.master.columns]
                self.magnified += 1
                self.master.magnify(self.task, self.unit, losses)
        return self._choose(duals, prices, listing)

    def _list(self, duals: Duals, prices: Fraction) -> Listing:
        """Return columns within the gap; where these are too many, the gap is narrowed first."""
        rounding = self._rounding(duals)
        limit = self.source.most_listed
        while True:
            gap = prices - self.value
            threshold = -float(gap) * (1 + 1e-9) - rounding
            listing = self.source.within(duals, threshold, limit, self.clock.at(0.75))
            late = monotonic() > self.clock.at(0.75)
            # Without a gap, what can't be listed is tied.
            tied = gap <= 4 * self.most_networks * Fraction(rounding)
            if listing.complete or listing.best > rounding or tied or late:
                return listing
            before = self.value
            self.master.add(self.source.seeds(self.budget, thorough=True))
            self._improve(
                list(dict.fromkeys([*listing.columns, *self.master.columns])),
                self.clock.at(0.75),
                exactly=False,
            )
            if self.value == before:
                limit *= 8

    def _choose(self, duals: Duals, prices: Fraction, listing: Listing) -> Solution:
        """Solve with CP-SAT, over all columns that can be in an optimal solution."""
        rounding = Fraction(self._rounding(duals))
        most_excess = max(Fraction(0), Fraction(listing.bound)) + rounding
        if listing.complete:
            # All columns of positive excess are listed: now it is known without rounding.
            most_excess = max([Fraction(0), *(-self._loss(column) for column in listing.columns)])
            # In a solution better than `value`, the other networks gain at most their excess.
            gap = prices - self.value + self.most_networks * most_excess
            if most_excess:
                listing = self._list_again(duals, gap)
        columns = listing.columns
        if listing.complete:
            columns = [column for column in columns if self._loss(column) <= gap]
        else:
            if monotonic() < self.clock.at(0.75):
                self.master.add(self.source.seeds(self.budget, thorough=True))
            columns = [*columns, *self.master.columns]
        kept = list(dict.fromkeys([*columns, *self.incumbent]))
        if not listing.complete and self.clock.deadline < math.inf:
            ceiling = self.source.ceiling(duals, listing.bound, self.clock.at(0.9))
            most_excess = max(Fraction(0), Fraction(ceiling)) + rounding
        exact = self._improve(kept, self.clock.deadline)
        bound = prices + self.most_networks * most_excess
        if listing.complete and exact:
            bound = self.value
        elif not listing.complete and monotonic() < self.clock.at(0.75):
            # Too many columns tie to be listed. That none is better can still be proven.
            proof = self.source.within(duals, float(rounding), 1, self.clock.deadline)
            if proof.complete and not proof.columns:
                bound = min(bound, prices + self.most_networks * 2 * rounding)
        rounding *= 2 * self.most_networks
        met = 0 < bound - self.value <= rounding
        return Solution(
            columns=self.incumbent,
            value=self.value,
            bound=self.value if met else max(bound, self.value),
            optimal=bound <= self.value or met,
            statistics={
                "rounds": self.rounds,
                "columns_in_gap": len(kept),
                # 0 where bound and objective are equal as rationals.
                "bound_rounding": float(rounding) if met else 0.0,
            },
        )

    def _list_again(self, duals: Duals, gap: Fraction) -> Listing:
        """List the columns of a gap that is wider because prices were not quite right."""
        threshold = -float(gap) * (1 + 1e-9) - self._rounding(duals)
        return self.source.within(duals, threshold, _MOST_RELISTED, self.clock.at(0.75))

    def _generate(self) -> None:
        """Column generation as far as columns are easily found."""
        if self.magnified:
            return
        while True:
            self.rounds += 1
            duals = self.master.solve()
            late = monotonic() > self.clock.at(0.5)
            if late or not self.master.add(self.source.suggest(duals, self.clock.at(0.5))):
                return

    def _exact_prices(self) -> tuple[Duals, Fraction]:
        """Return the prices of the present basis, rounded and exact, and their sum."""
        if monotonic() > self.clock.at(0.5):
            # Any prices give a bound; those of the basis may take seconds for many tasks.
            self.task, self.unit = self.master.rounded_duals()
        else:
            self.task, self.unit = self.master.exact_duals(self.source)
        self.unit = max(self.unit, Fraction(0))
        self._losses = {}
        duals = Duals(np.array([float(p) for p in self.task]), float(self.unit))
        return duals, sum(self.task, Fraction(0)) + self.unit * self.budget

    def _find_incumbent(self) -> None:
        whole = self.master.solution()
        if whole is not None:
            self._keep_best(whole)
        else:
            if not self.seeded and monotonic() < self.clock.at(0.5):
                # A wide gap lets in columns by the thousand: start from a good partition.
                self.seeded = True
                self.master.add(self.source.seeds(self.budget, thorough=True))
            self._improve(self.master.columns, self.clock.at(0.75), exactly=False)

    def _keep_best(self, columns: list[Column]) -> None:
        value = sum((self.source.exact(column) for column in columns), Fraction(0))
        if not self.incumbent or value >= self.value:
            self.incumbent, self.value = columns, value

    def _improve(self, columns: list[Column], deadline: float, exactly: bool = True) -> bool:
        """Take the optimum over these columns; ties as the package promises to break them.

        Returns:
            Whether it is proven to be the optimum over these columns.
        """
        columns = sorted(columns, key=lambda c: (c.served, c.cost, c.group, c.row))
        losses = [self._loss(column) for column in columns]
        common = math.lcm(self.unit.denominator, *(loss.denominator for loss in losses))
        # With so many ties any fixed choice will do, and CP-SAT finds one sooner without.
        mark = len(columns) <= _MOST_MARKED
        ties = [self._tie_break(column, mark) for column in columns]
        # Larger than any sum of tie-breaks: one step of the objective outweighs them all.
        step = self.source.num_tasks * max(ties) + 1
        weights = [int(loss * common) * step + tie for loss, tie in zip(losses, ties, strict=True)]
        position = {column: index for index, column in enumerate(columns)}
        cover = Cover(
            self.source.num_tasks,
            [column.served for column in columns],
            [column.cost for column in columns],
            self.budget,
        )
        hint = [position[column] for column in self.incumbent if column in position]
        try:
            chosen = cover.minimise(
                weights, int(self.unit * common) * step, deadline, hint, exactly
            )
            proven = True
        except OutOfTime as error:
            chosen, proven = error.best, False
        if chosen is not None:
            self._keep_best([columns[index] for index in chosen])
        return proven

    def _tie_break(self, column: Column, mark: bool) -> int:
        """Fewest networks, then smallest total size, then a fingerprint of the choice itself."""
        size = column.group.bit_count()
        most = self.source.num_tasks**2 + 1
        if not mark:
            return most + size
        name = f"{column.served:x} {column.group:x}".encode()
        fingerprint = int.from_bytes(blake2b(name, digest_size=_FINGERPRINT_BITS // 8).digest())
        scale = self.source.num_tasks << _FINGERPRINT_BITS
        return (most + size) * scale + fingerprint

    def _loss(self, column: Column) -> Fraction:
        if column not in self._losses:
            prices = sum((self.task[task] for task in bits(column.served)), Fraction(0))
            loss = prices + self.unit * column.cost - self.source.exact(column)
            self._losses[column] = loss
        return self._losses[column]

    def _rounding(self, duals: Duals) -> float:
        """Bound the rounding error of a float excess from above."""
        num_tasks = self.source.num_tasks
        largest = max(1.0, float(np.abs(duals.task).max()), duals.budget * self.budget)
        return 4 * num_tasks**2 * np.finfo(np.float64).eps * largest


__all__ = ["OutOfTime", "Solution", "solve"]
