"""The best choice of listed columns, by CP-SAT: plain minimisations, one after the other.

Each is solved to its proven optimum, which is then a constraint of the next:

1. the least sum of what the columns lose: their prices less their values;
2. among those choices the fewest networks;
3. among those the smallest total size;
4. among those the first by name: the network that serves the first task, by the order of the
   columns, then the network that serves the first task which that one does not serve, and so on.

CP-SAT knows whole numbers of 64 bits, losses are fractions. So they become whole multiples of
their common unit, and their leading bits are minimised. Mostly the second best choice is worse by
more than the omitted bits can hide: that proves the first. Otherwise the losses are split into
digits to a large base, and the sum is written as on paper: the sum of the digits of one place, plus
the carry of the place below, is a digit and a carry. The leading place is minimised first, then the
next one.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from time import monotonic
from typing import Any

from keras_tag.selection.solver import or_tools

# What CP-SAT minimises must stay clear of 2**62: coefficients of 55 bits gave MODEL_INVALID at
# 1,023 columns. In constraints its presolve (9.15) has gone wrong with sums of 36 bits.
_OBJECTIVE_BITS, _CONSTRAINT_BITS = 58, 26
# With so many columns nearly everything is tied, and any fixed choice will do.
_MOST_NAMED = 1_000


class OutOfTime(Exception):
    """The deadline came before the proof. `best` is the best choice found, or None."""

    def __init__(self, best: list[int] | None) -> None:
        super().__init__("no proof before the deadline")
        self.best = best


@dataclass(frozen=True)
class Cover:
    """Choose columns so that every task is served once, within the budget.

    Args:
        num_tasks: The number of tasks.
        served: The served set of every column, as a bit mask; the columns by the order of names.
        costs: What each column takes from the budget, whole numbers.
        budget: How much may be spent.
        exactly: Serve every task exactly once; else at least once.
    """

    num_tasks: int
    served: Sequence[int]
    costs: Sequence[int]
    budget: int
    exactly: bool = True

    def cheapest(self, deadline: float = math.inf) -> list[int] | None:
        """Return the choice of least cost, or None if no choice serves every task.

        Raises:
            OutOfTime: The deadline came first.
        """
        model = _Model(self, deadline)
        return None if model.minimise(model.total(self.costs)) is None else model.chosen

    def best(
        self,
        losses: Sequence[Fraction],
        unspent: Fraction,
        deadline: float = math.inf,
        hint: Sequence[int] = (),
        sizes: Sequence[int] | None = None,
    ) -> list[int] | None:
        """Return the choice of the least sum of losses.

        Args:
            losses: What each column adds to the sum that is minimised.
            unspent: What every unit of the budget that is not spent adds.
            deadline: In `time.monotonic` seconds.
            hint: A choice to start from.
            sizes: How many tasks each column trains, to break ties as at the top of this file.
                None: any choice will do that is the best one up to the last few bits.

        Returns:
            The chosen columns, ascending, or None if no choice serves every task.

        Raises:
            OutOfTime: The deadline came first.
        """
        (*weights, weight), digits = _leading([*losses, unspent], self._most_unspent)
        model = _Model(self, deadline, hint)
        total = model.total(weights, weight)
        least = model.minimise(total)
        if least is None or sizes is None:
            return None if least is None else model.chosen
        # The bits left out hide less than one for every network and unit of the budget.
        hidden = self.num_tasks + self.budget if digits else 0
        second = model.minimise(total, other=True)
        if second is None or second > least + hidden:
            return model.chosen
        model = _Model(self, deadline, model.chosen)
        # What is not spent is the budget less the costs: so it can be left out of the sum.
        losses = [loss - unspent * c for loss, c in zip(losses, self.costs, strict=True)]
        for place in model.written_sum(*_leading(losses, bits=_CONSTRAINT_BITS)):
            model.settle(place)
        for criterion in ([1] * len(losses), sizes):
            if model.is_only_choice():
                return model.chosen
            model.settle(model.total(criterion))
        everything, named = (1 << self.num_tasks) - 1, 0
        while named < everything and len(losses) <= _MOST_NAMED and not model.is_only_choice():
            first = ~named & (named + 1)
            place = [index * bool(mask & first) for index, mask in enumerate(self.served)]
            model.settle(model.total(place))
            named |= next(self.served[c] for c in model.chosen if self.served[c] & first)
        return model.chosen

    @property
    def _most_unspent(self) -> int:
        # CP-SAT's presolve may write what is not spent as the budget less the chosen costs.
        return self.budget + sum(self.costs)


def _leading(
    losses: Sequence[Fraction], most: int = 0, bits: int = _OBJECTIVE_BITS
) -> tuple[list[int], list[list[int]]]:
    """Write losses as whole numbers that CP-SAT can add up, and further digits if need be.

    Args:
        losses: The losses.
        most: How often more than once the last one may count.
        bits: How long a sum may become.

    Returns:
        The leading place of every loss, rounded down, and the digits of the places below, the next
        place first.
    """
    common = math.lcm(*(loss.denominator for loss in losses))
    whole = [int(loss * common) for loss in losses]
    reach = sum(map(abs, whole)) + abs(whole[-1]) * most
    shift = max(0, reach.bit_length() - bits)
    leading = [number >> shift for number in whole]
    rest = [number - (high << shift) for number, high in zip(whole, leading, strict=True)]
    step = _digit_bits(len(losses))
    # The lowest place is filled up with zeros, which makes every sum the same number larger.
    places = -(-shift // step)
    rest = [low << places * step - shift for low in rest]
    mask = (1 << step) - 1
    return leading, [
        [low >> place * step & mask for low in rest] for place in reversed(range(places))
    ]


def _digit_bits(count: int) -> int:
    """Return how many bits a digit may have, so that CP-SAT can add up so many of them."""
    return _CONSTRAINT_BITS - 1 - count.bit_length()


class _Model:
    """A CP-SAT model to which one criterion after the other is added."""

    def __init__(self, cover: Cover, deadline: float, hint: Sequence[int] = ()) -> None:
        self._cp = or_tools.load("ortools.sat.python.cp_model")
        self._deadline, self.chosen = deadline, list(hint)
        self._has_solution = False
        self._model = self._cp.CpModel()
        self._use = [self._model.new_bool_var("") for _ in cover.served]
        for task in range(cover.num_tasks):
            servers = [self._use[c] for c, mask in enumerate(cover.served) if mask >> task & 1]
            if cover.exactly:
                self._model.add_exactly_one(servers)
            else:
                self._model.add_at_least_one(servers)
        self._unspent = self._model.new_int_var(0, cover.budget, "")
        self._model.add(self._sum(cover.costs) + self._unspent == cover.budget)

    def total(self, weights: Sequence[int], unspent: int = 0) -> Any:
        """Return the sum of weights over the chosen columns and the budget that is not spent."""
        return self._sum(weights) + unspent * self._unspent

    def minimise(self, total: Any, other: bool = False) -> int | None:
        """Minimise a linear expression, over all choices or over those other than the present one.

        Returns:
            Its least value, or None if there is no choice.
        """
        model = self._other_choices() if other else self._model
        model.minimize(total)
        solver = self._solve(model, keep=not other)
        self._model.clear_objective()
        return None if solver is None else int(solver.value(total))

    def settle(self, total: Any) -> None:
        """Minimise a linear expression; from then on only such choices are left."""
        least = self.minimise(total)
        assert least is not None
        self._model.add(total <= least)

    def is_only_choice(self) -> bool:
        """Whether no choice is left but the present one."""
        return self._solve(self._other_choices(), keep=False) is None

    def _other_choices(self) -> Any:
        other = self._model.clone()
        other.add_bool_or([self._use[index].negated() for index in self.chosen])
        return other

    def written_sum(self, leading: list[int], digits: list[list[int]]) -> Iterator[Any]:
        """Yield the sum's leading place, and then its digits from high to low."""
        carry: Any = 0
        step = _digit_bits(len(self._use))
        places = []
        for place in reversed(digits):
            digit = self._model.new_int_var(0, (1 << step) - 1, "")
            above = self._model.new_int_var(0, len(self._use), "")
            self._model.add(self._sum(place) + carry == digit + (1 << step) * above)
            places.append(digit)
            carry = above
        yield self._sum(leading) + carry
        yield from reversed(places)

    def _sum(self, weights: Sequence[int]) -> Any:
        return self._cp.LinearExpr.weighted_sum(self._use, list(weights))

    def _solve(self, model: Any, keep: bool = True) -> Any:
        """Solve a model; None if it has no solution."""
        solver = self._cp.CpSolver()
        # One worker and a fixed seed: with two, the answer among ties changed from run to run.
        solver.parameters.num_workers = 1
        solver.parameters.random_seed = 0
        solver.parameters.absolute_gap_limit = 0
        solver.parameters.relative_gap_limit = 0
        if self._deadline < math.inf:
            solver.parameters.max_time_in_seconds = max(0.01, self._deadline - monotonic())
        if keep and self.chosen:
            hint = set(self.chosen)
            model.clear_hints()
            for index, variable in enumerate(self._use):
                model.add_hint(variable, index in hint)
        status = solver.solve(model)
        if status == self._cp.INFEASIBLE:
            return None
        # With no time left CP-SAT may call a valid model invalid; then it is the time that is out.
        late = self._deadline < math.inf and not model.validate()
        if status == self._cp.MODEL_INVALID and not late:
            raise AssertionError(f"CP-SAT rejected the model: {model.validate()}")
        found = status in (self._cp.OPTIMAL, self._cp.FEASIBLE)
        if keep and found:
            self.chosen = [i for i, variable in enumerate(self._use) if solver.value(variable)]
            self._has_solution = True
        if status != self._cp.OPTIMAL:
            raise OutOfTime(self.chosen if self._has_solution else None)
        return solver
