"""The last step, in CP-SAT: the best choice of listed columns, exact to the last bit.

CP-SAT maximises integers of 64 bits, affinities are rationals. So the weights are taken as whole
numbers of any size, and minimised limb by limb: first their leading bits, and then, among the
choices that could still be best, the next ones, until no bit is left.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

# Coefficients of 55 bits gave MODEL_INVALID at 1,023 columns; what CP-SAT adds up must stay
# clear of 2**62.
_SAFE_BITS = 58


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
        costs: What each column takes from the budget, whole numbers.
        budget: How much may be spent; None for no limit.
        exactly: Serve every task exactly once; else at least once.
    """

    num_tasks: int
    served: Sequence[int]
    costs: Sequence[int]
    budget: int | None
    exactly: bool = True

    def minimise(
        self,
        weights: Sequence[int],
        slack_weight: int = 0,
        deadline: float = math.inf,
        hint: Sequence[int] = (),
        to_the_last_bit: bool = True,
    ) -> list[int] | None:
        """The choice of least total weight.

        Args:
            weights: What a column adds, whole numbers of any size.
            slack_weight: What every unit of budget that is not spent adds.
            deadline: In `time.monotonic` seconds.
            hint: A choice to start from.
            to_the_last_bit: False: the leading limb will do, and the answer may be off by a part
                in 2**40 or so.

        Returns:
            The chosen columns, ascending, or None if no choice serves every task.

        Raises:
            OutOfTime: The deadline came first.
        """
        weights = list(weights)
        if slack_weight and self.costs_are_long:
            # Then there is no slack variable; spending less is the same as not gaining.
            weights = [w - slack_weight * c for w, c in zip(weights, self.costs, strict=True)]
            slack_weight = 0
        search = _LimbSearch(self, weights, slack_weight, deadline, to_the_last_bit)
        return search.run(weights, slack_weight, [], sorted(hint))

    @property
    def costs_are_long(self) -> bool:
        """Whether the costs together are too long for CP-SAT's integers."""
        return (sum(self.costs) + (self.budget or 0)).bit_length() > _SAFE_BITS


class _LimbSearch:
    def __init__(
        self,
        cover: Cover,
        weights: list[int],
        slack_weight: int,
        deadline: float,
        to_the_last_bit: bool,
    ) -> None:
        self.to_the_last_bit = to_the_last_bit
        self.cover, self.weights, self.slack_weight = cover, weights, slack_weight
        self.deadline = deadline
        self.best: list[int] | None = None
        self.best_total = 0

    def run(
        self,
        weights: list[int],
        slack_weight: int,
        fixed: list[tuple[list[int], int, int, int]],
        hint: list[int],
    ) -> list[int] | None:
        """Minimise `weights` where earlier limbs (weights, slack weight, low, high) are fixed."""
        # What CP-SAT may have to add up: |coefficient| * (largest value), over all variables.
        reach = sum(map(abs, weights)) + abs(slack_weight) * (self.cover.budget or 0)
        shift = max(0, reach.bit_length() - _SAFE_BITS)
        top, slack_top = [weight >> shift for weight in weights], slack_weight >> shift
        chosen = self._solve(top, slack_top, fixed, hint)
        self._keep(chosen)
        if chosen is None or shift == 0 or not self.to_the_last_bit:
            return chosen
        least = self._total(chosen, top, slack_top)
        # Rounding down hides less than 2**shift per chosen column and unit of slack; so whatever
        # is at least as good as `chosen` has its leading limb in a short range.
        most = self._total(chosen, weights, slack_weight) >> shift
        if self._is_unique(chosen, [*fixed, (top, slack_top, least, most)]):
            return chosen
        low = [weight - (high << shift) for weight, high in zip(weights, top, strict=True)]
        slack_low = slack_weight - (slack_top << shift)
        best = chosen
        while True:
            found = self.run(low, slack_low, [*fixed, (top, slack_top, least, least)], chosen)
            if found is not None and self._total(found, weights, slack_weight) < self._total(
                best, weights, slack_weight
            ):
                best = found
                most = self._total(best, weights, slack_weight) >> shift
            following = [*fixed, (top, slack_top, least + 1, most)]
            step = self._solve(top, slack_top, following, []) if least < most else None
            if step is None:
                return best
            chosen = step
            least = self._total(chosen, top, slack_top)

    def _keep(self, chosen: list[int] | None) -> None:
        if chosen is not None:
            total = self._total(chosen, self.weights, self.slack_weight)
            if self.best is None or total < self.best_total:
                self.best, self.best_total = chosen, total

    def _total(self, chosen: Sequence[int], weights: Sequence[int], slack_weight: int) -> int:
        total = sum(weights[index] for index in chosen)
        if slack_weight:
            assert self.cover.budget is not None
            spent = sum(self.cover.costs[index] for index in chosen)
            total += slack_weight * (self.cover.budget - spent)
        return total

    def _is_unique(self, chosen: list[int], fixed: list[tuple[list[int], int, int, int]]) -> bool:
        return self._solve(None, 0, fixed, [], forbidden=chosen) is None

    def _solve(
        self,
        weights: list[int] | None,
        slack_weight: int,
        fixed: list[tuple[list[int], int, int, int]],
        hint: Sequence[int],
        forbidden: Sequence[int] = (),
    ) -> list[int] | None:
        from ortools.sat.python import cp_model

        cover = self.cover
        model = cp_model.CpModel()
        use = [model.new_bool_var("") for _ in cover.served]
        for task in range(cover.num_tasks):
            servers = [use[c] for c, mask in enumerate(cover.served) if mask >> task & 1]
            if not servers:
                return None
            if cover.exactly:
                model.add_exactly_one(servers)
            else:
                model.add_at_least_one(servers)
        slack: Any = 0
        if cover.budget is not None and cover.costs_are_long:
            _add_long_budget(model, cp_model.LinearExpr, use, cover)
        elif cover.budget is not None:
            slack = model.new_int_var(0, cover.budget, "")
            spent = cp_model.LinearExpr.weighted_sum(use, list(cover.costs))
            model.add(spent + slack == cover.budget)
        for limb, slack_limb, low, high in fixed:
            total = cp_model.LinearExpr.weighted_sum(use, limb) + slack_limb * slack
            model.add_linear_constraint(total, low, high)
        if forbidden:
            model.add_bool_or([use[index].negated() for index in forbidden])
        if weights is not None:
            model.minimize(cp_model.LinearExpr.weighted_sum(use, weights) + slack_weight * slack)
        chosen_hint = set(hint)
        if chosen_hint:
            for index, variable in enumerate(use):
                model.add_hint(variable, index in chosen_hint)
        solver = cp_model.CpSolver()
        # One worker and a fixed seed: with two, the answer among ties changed from run to run.
        solver.parameters.num_workers = 1
        solver.parameters.random_seed = 0
        solver.parameters.absolute_gap_limit = 0
        solver.parameters.relative_gap_limit = 0
        if self.deadline < math.inf:
            solver.parameters.max_time_in_seconds = max(0.01, self.deadline - monotonic())
        status = solver.solve(model)
        if status == cp_model.INFEASIBLE:
            return None
        if status == cp_model.MODEL_INVALID:
            raise AssertionError(f"CP-SAT rejected the model: {model.validate()}")
        if status == cp_model.UNKNOWN:
            raise OutOfTime(self.best)
        chosen = [index for index, variable in enumerate(use) if solver.value(variable)]
        if status == cp_model.FEASIBLE and weights is not None:
            self._keep(chosen)
            raise OutOfTime(self.best)
        return chosen


def _add_long_budget(model: Any, expressions: Any, use: list[Any], cover: Cover) -> None:
    """sum of costs <= budget in two limbs, for costs such as 0.7365214879 that need many digits."""
    assert cover.budget is not None
    shift = (max([cover.budget, *cover.costs]).bit_length() + 1) // 2
    mask = (1 << shift) - 1
    low = expressions.weighted_sum(use, [cost & mask for cost in cover.costs])
    high = expressions.weighted_sum(use, [cost >> shift for cost in cover.costs])
    carry = model.new_int_var(0, cover.num_tasks, "")
    rest = model.new_int_var(0, mask, "")
    spare = model.new_int_var(0, cover.budget >> shift, "")
    model.add(low == rest + carry * (1 << shift))
    model.add(high + carry + spare == cover.budget >> shift)
    # Equal leading limbs: the low one decides. One to spare: any low limb fits.
    model.add(rest <= (cover.budget & mask) + spare * (1 << shift))
