"""One branch and bound over the networks of one size, in steps."""

import numpy as np

from keras_tag.selection.columns import Column, Duals, bits, mask_of
from keras_tag.selection.constraints import Constraints
from keras_tag.selection.group_score import GroupScore

# Networks found in one step; a step ends when they are this many.
_MOST_FOUND = 2_048
# Steps of the subgradient method that shares out the credit of pairs.
_SHARE_STEPS = 120


class SizeSearch:
    """A search that can be left and taken up again.

    Args:
        score: The scores.
        constraints: What groups must look like.
        size: The number of tasks to train; 0 for a search that is over at once.
        cost: What a network of this size costs.
        duals: The prices.
        threshold: The least excess to look for.
        served_slack: A served task may bring in at least minus this.
        rising: Whether only ever better networks are of interest.
        shift: `[num_tasks, num_tasks]`, rows target: where to start from with the pair shares;
            changed in place.
        idle_helpers: Whether groups whose helpers pull the mean down are of interest.
    """

    def __init__(
        self,
        score: GroupScore,
        constraints: Constraints,
        size: int,
        cost: int,
        duals: Duals,
        threshold: float,
        served_slack: float,
        rising: bool,
        shift: np.ndarray,
        idle_helpers: bool,
    ) -> None:
        num_tasks = len(score.tasks)
        self._score, self._constraints, self._size, self._cost = score, constraints, size, cost
        self._duals, self._slack, self._rising = duals, served_slack, rising
        self._size_price = duals.budget * cost
        self._threshold = threshold + self._size_price
        self._height = int(size > 0)
        # Every node is replaced by two at most, on a path that decides every task twice at most.
        self._stack = np.zeros((4 * num_tasks + 8, num_tasks), np.int8)
        self._bounds = np.full(4 * num_tasks + 8, np.inf)
        self._true = np.ascontiguousarray(score.array.T)
        self._shift = shift
        self._idle_helpers = idle_helpers
        self._block = np.array([bits(block)[0] for block in constraints.blocks()])
        self._conflict = np.zeros((num_tasks, num_tasks), np.int8)
        for a, b in constraints.cannot_link:
            self._conflict[a, b] = self._conflict[b, a] = 1
        self._best = -np.inf
        self._tightened = False

    @property
    def open(self) -> bool:
        """Whether there is something left to search."""
        return self._height > 0

    @property
    def bound(self) -> float:
        """No network of this size has a larger excess (if above the threshold)."""
        bounds = self._bounds[: self._height]
        return max(self._best, float(bounds.max(initial=-np.inf)) - self._size_price)

    def go_on(self, nodes: int) -> list[Column]:
        """Search so many nodes further and return the networks found."""
        if not self._height:
            return []
        # Compiling takes some seconds, so only those who search import it.
        from keras_tag.selection.branch_and_bound import search
        from keras_tag.selection.pair_shares import tighten

        divisor = float(self._size - self._score.left_out)
        if not self._tightened:
            self._tightened = True
            bound = tighten(
                self._true,
                self._duals.task,
                self._size,
                divisor,
                self._constraints.overlap,
                self._threshold,
                _SHARE_STEPS,
                self._shift,
            )
            # Rounding in the shares must not cut off what is on the threshold.
            if bound < self._threshold - 1e-9 * (1.0 + abs(self._threshold)):
                self._height = 0
                return []
            self._bounds[0] = bound + 1e-9 * (1.0 + abs(bound))
            self._shared = self._true + self._shift
            self._true_order = np.argsort(-self._true, axis=1, kind="stable")
            self._shared_order = np.argsort(-self._shared, axis=1, kind="stable")
            self._beyond = self._score.array - self._duals.task
            self._beyond_order = np.argsort(-self._beyond, axis=1, kind="stable")
            self._credit_order = np.argsort(self._shift, axis=0, kind="stable").T.copy()
        num_tasks = len(self._score.tasks)
        served = np.zeros((_MOST_FOUND, num_tasks), np.int8)
        group = np.zeros((_MOST_FOUND, num_tasks), np.int8)
        value = np.zeros(_MOST_FOUND)
        self._height, found, self._threshold = search(
            self._true,
            self._true_order,
            self._shared,
            self._shared_order,
            self._shift,
            self._credit_order,
            self._beyond,
            self._beyond_order,
            self._idle_helpers,
            self._duals.task,
            self._size,
            divisor,
            self._threshold,
            self._slack,
            self._constraints.overlap,
            self._conflict,
            self._block,
            self._rising,
            self._stack,
            self._bounds,
            self._height,
            served,
            group,
            value,
            0,
            nodes,
        )
        columns = []
        for row in range(found):
            served_set = np.flatnonzero(served[row])
            prices = float(self._duals.task[served_set].sum())
            self._best = max(self._best, float(value[row]) - self._size_price)
            columns.append(
                Column(
                    mask_of(served_set.tolist()),
                    mask_of(np.flatnonzero(group[row]).tolist()),
                    float(value[row]) + prices,
                    self._cost,
                )
            )
        return columns
