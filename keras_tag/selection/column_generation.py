"""The road to the proof: prices from the linear programme, the answer from CP-SAT.

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

from keras_tag.selection.columns import Column, ColumnSource, Duals, bits
from keras_tag.selection.exact_cover import Cover, OutOfTime
from keras_tag.selection.master_problem import MasterProblem

# More columns than this within the gap are not listed (only tied columns come in such numbers).
_MOST_LISTED = 20_000
_FINGERPRINT_BITS = 24


@dataclass
class Solution:
    """What was found and what was proven, in normalised units."""

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
    """The best solution within the budget.

    Args:
        source: All networks.
        budget: In whole units of cost.
        deadline: In `time.monotonic` seconds.
        known: Columns to start with.

    Returns:
        The optimum with its proof, or at the deadline the best found with its bound.
    """
    start = monotonic()
    master = MasterProblem(source.num_tasks, budget)
    master.add(source.first_cover(budget, deadline))
    master.add(known)
    rounds = _generate(master, source, deadline)
    generated = monotonic()
    proof = _Proof(master, source, budget, deadline)
    solution = proof.finish()
    solution.seen = master.columns
    solution.statistics |= {
        "rounds": rounds,
        "columns": len(master.columns),
        "column_generation_seconds": generated - start,
        "proof_seconds": monotonic() - generated,
    }
    return solution


def _generate(master: MasterProblem, source: ColumnSource, deadline: float) -> int:
    rounds = 0
    while True:
        rounds += 1
        columns, excess = source.price(master.solve(), deadline)
        if excess <= 1e-9 or not master.add(columns):
            return rounds


class _Proof:
    """Steps 2 and 3, from converged prices on."""

    def __init__(
        self, master: MasterProblem, source: ColumnSource, budget: int, deadline: float
    ) -> None:
        self.master, self.source, self.budget, self.deadline = master, source, budget, deadline
        self.most_networks = source.num_tasks
        if source.least_cost > 0:
            self.most_networks = min(source.num_tasks, budget // source.least_cost)
        self.task: list[Fraction] = []
        self.unit = Fraction(0)
        self._losses: dict[Column, Fraction] = {}

    def finish(self) -> Solution:
        duals, excess = self._settle_prices()
        rounding = self._rounding(duals)
        # No column's excess is above this, whatever the floats hid.
        most_excess = Fraction(max(0.0, excess) + rounding)
        prices = sum(self.task, Fraction(0)) + self.unit * self.budget
        incumbent = self._incumbent()
        value = self._value(incumbent)
        while True:
            # In a solution better than `value`, the other networks gain at most their excess.
            gap = prices - value + self.most_networks * most_excess
            listed, complete = self.source.within(
                duals, -float(gap) * (1 + 1e-9) - rounding, _MOST_LISTED, self.deadline
            )
            if complete:
                # All columns of positive excess are listed: now it is known without rounding.
                losses = [self._loss(column) for column in listed]
                most_excess = max([Fraction(0), *(-loss for loss in losses)])
                gap = prices - value + self.most_networks * most_excess
                listed = [c for c, loss in zip(listed, losses, strict=True) if loss <= gap]
            kept = list(dict.fromkeys([*listed, *incumbent]))
            better = self._best_of(kept, incumbent)
            improved = self._value(better) > value
            incumbent, value = better, self._value(better)
            if complete or not improved:
                break
        bound = value if complete else prices + self.most_networks * most_excess
        return Solution(
            incumbent, value, max(bound, value), complete, [], {"columns_in_gap": len(kept)}
        )

    def _settle_prices(self) -> tuple[Duals, float]:
        """Exact prices of an optimal basis, and the largest excess any column has at them."""
        for _ in range(20):
            self.task, self.unit = self.master.exact_duals(self.source)
            self.unit = max(self.unit, Fraction(0))
            self._losses = {}
            duals = Duals(np.array([float(p) for p in self.task]), float(self.unit))
            columns, excess = self.source.price(duals, self.deadline)
            if excess <= self._rounding(duals):
                break
            self.master.add(columns)
            losses = [-float(self._loss(column)) for column in self.master.columns]
            self.master.magnify(self.task, self.unit, losses)
        return duals, excess

    def _incumbent(self) -> list[Column]:
        whole = self.master.solution()
        if whole is not None:
            return whole
        return self._best_of(self.master.columns, [], exactly=False)

    def _best_of(
        self, columns: list[Column], hint: list[Column], exactly: bool = True
    ) -> list[Column]:
        """The optimum over these columns; ties as the package promises to break them."""
        columns = sorted(columns, key=lambda c: (c.served, c.cost, c.group, c.row))
        losses = [self._loss(column) for column in columns]
        common = math.lcm(self.unit.denominator, *(loss.denominator for loss in losses))
        ties = [self._tie_break(column) for column in columns]
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
        chosen = cover.minimise(
            weights,
            int(self.unit * common) * step,
            self.deadline,
            [position[column] for column in hint],
            exactly,
        )
        assert chosen is not None
        return [columns[index] for index in chosen]

    def _tie_break(self, column: Column) -> int:
        """Fewest networks, then smallest total size, then a fingerprint of the choice itself."""
        size = column.group.bit_count()
        most = self.source.num_tasks**2 + 1
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

    def _value(self, columns: list[Column]) -> Fraction:
        return sum((self.source.exact(column) for column in columns), Fraction(0))

    def _rounding(self, duals: Duals) -> float:
        """An upper bound on the rounding error of a float excess."""
        num_tasks = self.source.num_tasks
        largest = max(1.0, float(np.abs(duals.task).max()), duals.budget * self.budget)
        return 4 * num_tasks**2 * np.finfo(np.float64).eps * largest


__all__ = ["OutOfTime", "Solution", "solve"]
