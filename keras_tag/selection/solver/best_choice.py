"""The best choice of listed columns, by CP-SAT: plain minimisations, one after the other.

Each is solved to its proven optimum, which is then a constraint of the next:

1. the least sum of what the columns lose: their prices less their values;
2. among those choices the fewest networks;
3. among those the smallest total size;
4. among those the first by name: the group that serves the first task, as a dictionary orders the
   names of its tasks, then the group that serves the second task, and so on;
5. of networks that train the same the cheapest.

The last two are asked of up to 1,000 columns.

CP-SAT knows whole numbers of 64 bits, losses are fractions. So they become whole multiples of
their common unit, and their leading bits are minimised. Mostly the second best choice is worse by
more than the omitted bits can hide: that proves the first. Otherwise the losses are split into
digits to a large base, and the sum is written as on paper: the sum of the digits of one place, plus
the carry of the place below, is a digit and a carry. The leading place is minimised first, then the
next one.
"""

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from keras_tag.selection.solver import or_tools
from keras_tag.selection.task_masks import bits

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
        served: The served set of every column, as a bit mask.
        costs: What each network takes from the budget, whole numbers.
        budget: How much may be spent.
        exactly: Serve every task exactly once; else at least once.
        networks: Which network each column is a part of: one that is used in any part is paid for,
            once. None: each column is a network.
    """

    num_tasks: int
    served: Sequence[int]
    costs: Sequence[int]
    budget: int
    exactly: bool = True
    networks: Sequence[int] | None = None

    def some(self, deadline: float = math.inf) -> list[int] | None:
        """Return some choice within the budget, or None if there is none.

        Raises:
            OutOfTime: The deadline came first.
        """
        return _Model(self, deadline).find()

    def cheapest(self, deadline: float = math.inf) -> list[int] | None:
        """Return the choice of least cost, or None if no choice serves every task.

        Raises:
            OutOfTime: The deadline came first.
        """
        model = _Model(self, deadline)
        return None if model.minimise(model.sum_of_networks(self.costs)) is None else model.chosen

    def best(
        self,
        losses: Sequence[Fraction],
        deadline: float = math.inf,
        hint: Sequence[int] = (),
        groups: Sequence[int] | None = None,
    ) -> list[int] | None:
        """Return the choice of the least sum of losses.

        Args:
            losses: What each column adds to the sum that is minimised.
            deadline: In `time.monotonic` seconds.
            hint: A choice to start from.
            groups: What each network trains, as a bit mask, to break ties as at the top of this
                file. None: any choice will do that is the best one up to the last few bits.

        Returns:
            The chosen columns, ascending, or None if no choice serves every task.

        Raises:
            OutOfTime: The deadline came first.
        """
        leading, rest, _ = _split(losses, _OBJECTIVE_BITS)
        model = _Model(self, deadline, hint)
        total = model.sum_of(leading)
        least = model.minimise(total)
        if least is None or groups is None:
            return None if least is None else model.chosen
        # The bits left out hide less than one for every network.
        hidden = self.num_tasks if any(rest) else 0
        second = model.minimise(total, other=True)
        if second is None or second > least + hidden:
            return model.chosen
        model = _Model(self, deadline, model.chosen)
        for place in model.written_sum(*_split(losses, _CONSTRAINT_BITS)):
            model.settle(place)
        for criterion in self._ties(model, groups):
            if model.is_only_choice():
                break
            model.settle(criterion)
        return model.chosen

    def _ties(self, model: "_Model", groups: Sequence[int]) -> Iterator[Any]:
        """Yield what is minimised among the choices of the least sum of losses."""
        yield model.sum_of_networks([1] * len(groups))
        yield model.sum_of_networks([group.bit_count() for group in groups])
        if len(self.served) > _MOST_NAMED:
            return
        names = [bits(group) for group in groups]
        order = sorted(names)
        places = [bisect_left(order, name) for name in names]
        if self.networks is not None:
            places = [places[network] for network in self.networks]
        for task in range(self.num_tasks):
            served = zip(places, self.served, strict=True)
            yield model.sum_of([place * (mask >> task & 1) for place, mask in served])
        yield model.sum_of_networks(self.costs)


def _split(losses: Sequence[Fraction], bits: int) -> tuple[list[int], list[int], int]:
    """Write losses as whole numbers, and split each into leading bits that CP-SAT can add up.

    Args:
        losses: The losses.
        bits: How long a sum of leading bits may become.

    Returns:
        The leading bits, rounded down; the bits below; and how many bits these are.
    """
    common = math.lcm(*(loss.denominator for loss in losses))
    whole = [int(loss * common) for loss in losses]
    below = max(0, sum(map(abs, whole)).bit_length() - bits)
    return [n >> below for n in whole], [n & (1 << below) - 1 for n in whole], below


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
        self._networks = self._use
        if cover.networks is not None:
            self._networks = [self._model.new_bool_var("") for _ in cover.costs]
            for use, network in zip(self._use, cover.networks, strict=True):
                self._model.add_implication(use, self._networks[network])
        self._model.add(self.sum_of_networks(cover.costs) <= cover.budget)

    def sum_of(self, weights: Sequence[int]) -> Any:
        """Return the sum of weights over the chosen columns."""
        return self._cp.LinearExpr.weighted_sum(self._use, list(weights))

    def sum_of_networks(self, weights: Sequence[int]) -> Any:
        """Return the sum of weights over the networks that the chosen columns are parts of."""
        return self._cp.LinearExpr.weighted_sum(self._networks, list(weights))

    def find(self) -> list[int] | None:
        """Return some choice, or None if there is none."""
        return None if self._solve(self._model) is None else self.chosen

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

    def written_sum(self, leading: list[int], rest: list[int], below: int) -> Iterator[Any]:
        """Yield the sum of losses as `_split` gives them: its leading place, then every digit."""
        step = _CONSTRAINT_BITS - 1 - len(self._use).bit_length()
        places = -(-below // step)
        carry: Any = 0
        digits = []
        for place in range(places):
            # The lowest place is filled up with zeros, so that all others are full.
            shifted = [low << places * step - below >> place * step for low in rest]
            digit = self._model.new_int_var(0, (1 << step) - 1, "")
            above = self._model.new_int_var(0, len(self._use), "")
            written = self.sum_of([number & (1 << step) - 1 for number in shifted])
            self._model.add(written + carry == digit + (1 << step) * above)
            digits.append(digit)
            carry = above
        yield self.sum_of(leading) + carry
        yield from reversed(digits)

    def _solve(self, model: Any, keep: bool = True) -> Any:
        """Solve a model; None if it has no solution."""
        solver = or_tools.cp_solver(self._deadline)
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
