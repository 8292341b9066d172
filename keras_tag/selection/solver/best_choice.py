"""The best choice of listed columns, by CP-SAT, exact to the last bit.

CP-SAT maximises integers of 64 bits, affinities are rationals. So the weights are taken as whole
numbers of any size, and minimised limb by limb: first their leading bits, and then, among the
choices that could still be best, the next ones, until no bit is left.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

from keras_tag.selection.solver import or_tools

# Coefficients of 55 bits gave MODEL_INVALID at 1,023 columns; what CP-SAT adds up must stay
# clear of 2**62.
_SAFE_BITS = 58
# How many choices that agree in the leading limb are compared one by one.
_MOST_NEAR = 20
# Costs such as 0.7365214879 become whole numbers of many digits; CP-SAT gets their leading bits.
_COST_BITS = 32


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
        """Return the choice of least total weight.

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
        if not self.budget:
            # Nothing can be left over, and the weight may be too long for CP-SAT.
            slack_weight = 0
        if slack_weight and self.costs_are_long:
            # Then there is no slack variable; spending less is the same as not gaining.
            weights = [w - slack_weight * c for w, c in zip(weights, self.costs, strict=True)]
            slack_weight = 0
        search = _LimbSearch(self, weights, slack_weight, deadline, to_the_last_bit)
        return search.run(weights, slack_weight, [], sorted(hint))

    @property
    def costs_are_long(self) -> bool:
        """Whether the costs have more digits than CP-SAT handles well."""
        return max([self.budget or 0, *self.costs]).bit_length() > _COST_BITS

    def affordable(self, chosen: Sequence[int]) -> bool:
        """Whether these columns together are within the budget."""
        return self.budget is None or sum(self.costs[index] for index in chosen) <= self.budget


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
        self.too_dear: list[list[int]] = []
        self.best_total = 0

    def run(
        self,
        weights: list[int],
        slack_weight: int,
        fixed: list[tuple[list[int], int, int, int]],
        hint: list[int],
    ) -> list[int] | None:
        """Minimise `weights` where earlier limbs (weights, slack weight, low, high) are fixed."""
        # What CP-SAT may have to add up: |coefficient| * (largest value), over all variables; also
        # after its presolve, which may write the slack as the budget less the chosen costs.
        most_slack = (self.cover.budget or 0) + sum(self.cover.costs)
        reach = sum(map(abs, weights)) + abs(slack_weight) * most_slack
        shift = max(0, reach.bit_length() - _SAFE_BITS)
        top, slack_top = [weight >> shift for weight in weights], slack_weight >> shift
        chosen = self._solve(top, slack_top, fixed, hint)
        self._keep(chosen)
        if chosen is None or shift == 0 or not self.to_the_last_bit:
            return chosen
        # Rounding down hides less than 2**shift per chosen column and unit of slack; so whatever
        # is at least as good as `chosen` has its leading limb in a short range. Mostly nothing
        # else does.
        near = [chosen]
        best, most = chosen, self._total(chosen, weights, slack_weight) >> shift
        while len(near) < _MOST_NEAR:
            other = self._solve(top, slack_top, fixed, [], near)
            if other is None or self._total(other, top, slack_top) > most:
                return best
            near.append(other)
            self._keep(other)
            best = min(best, other, key=lambda c: self._total(c, weights, slack_weight))
            most = self._total(best, weights, slack_weight) >> shift
        # So many that they are tied: look at the next limb.
        least = self._total(chosen, top, slack_top)
        low = [weight - (high << shift) for weight, high in zip(weights, top, strict=True)]
        slack_low = slack_weight - (slack_top << shift)
        while True:
            found = self.run(low, slack_low, [*fixed, (top, slack_top, least, least)], chosen)
            if found is not None and self._total(found, weights, slack_weight) < self._total(
                best, weights, slack_weight
            ):
                best = found
                most = self._total(best, weights, slack_weight) >> shift
            beyond = [*fixed, (top, slack_top, least + 1, most)]
            step = self._solve(top, slack_top, beyond, []) if least < most else None
            if step is None:
                return best
            least = self._total(step, top, slack_top)

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

    def _solve(
        self,
        weights: list[int],
        slack_weight: int,
        fixed: list[tuple[list[int], int, int, int]],
        hint: Sequence[int],
        forbidden: Sequence[list[int]] = (),
    ) -> list[int] | None:
        cp_model = or_tools.load("ortools.sat.python.cp_model")

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
            # Rounded down, so that whatever fits still fits; what fits only so is forbidden below.
            shift = max([cover.budget, *cover.costs]).bit_length() - _COST_BITS
            rounded = [cost >> shift for cost in cover.costs]
            model.add(cp_model.LinearExpr.weighted_sum(use, rounded) <= cover.budget >> shift)
        elif cover.budget is not None:
            slack = model.new_int_var(0, cover.budget, "")
            spent = cp_model.LinearExpr.weighted_sum(use, list(cover.costs))
            model.add(spent + slack == cover.budget)
        for limb, slack_limb, low, high in fixed:
            total = cp_model.LinearExpr.weighted_sum(use, limb) + slack_limb * slack
            model.add_linear_constraint(total, low, high)
        for chosen in [*forbidden, *self.too_dear]:
            model.add_bool_or([use[index].negated() for index in chosen])
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
        # With no time left CP-SAT may call a valid model invalid; then it is the time that is out.
        late = self.deadline < math.inf and not model.validate()
        if status == cp_model.MODEL_INVALID and not late:
            raise AssertionError(f"CP-SAT rejected the model: {model.validate()}")
        if status in (cp_model.UNKNOWN, cp_model.MODEL_INVALID):
            raise OutOfTime(self.best)
        chosen = [index for index, variable in enumerate(use) if solver.value(variable)]
        if not cover.affordable(chosen):
            self.too_dear.append(chosen)
            return self._solve(weights, slack_weight, fixed, (), forbidden)
        if status == cp_model.FEASIBLE:
            self._keep(chosen)
            raise OutOfTime(self.best)
        return chosen
