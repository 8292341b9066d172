"""A branch and bound over the networks of some sizes that cost the same, in steps."""

import numpy as np

from keras_tag.selection.arguments.constraints import Constraints
from keras_tag.selection.many_tasks.decisions import FREE, HELPER, SERVED, UNSERVED
from keras_tag.selection.scores.closed_form import GroupScore
from keras_tag.selection.solver.columns import Column, Duals
from keras_tag.selection.task_masks import bits, mask_of

# Networks found in one step; a step ends when they are about this many.
_MOST_FOUND = 2_048


class GroupSearch:
    """A search that can be interrupted and continued.

    Args:
        score: The scores.
        constraints: What groups must look like.
        sizes: The numbers of tasks to train, consecutive, at least 2.
        cost: What a network of these sizes costs.
        duals: The prices.
        threshold: The least excess to look for.
        idle_helpers: Whether groups whose helpers pull the mean down are of interest.
    """

    def __init__(
        self,
        score: GroupScore,
        constraints: Constraints,
        sizes: range,
        cost: int,
        duals: Duals,
        threshold: float,
        idle_helpers: bool,
    ) -> None:
        num_tasks = len(score.tasks)
        self._score, self._constraints, self._sizes, self._cost = score, constraints, sizes, cost
        self._duals, self._size_price, self._threshold = duals, duals.budget * cost, threshold
        self._served_slack = max(0.0, -threshold)
        self._idle_helpers = idle_helpers
        self._pairs = score.array.T - duals.task[:, None]
        self._diagonal = self._pairs.diagonal() * (1 - score.left_out)
        np.fill_diagonal(self._pairs, 0.0)
        largest = 1.0 + float(np.abs(duals.task).max()) + abs(self._size_price)
        self._margin = num_tasks**2 * float(np.finfo(np.float64).eps) * largest
        blocks = constraints.blocks()
        self._block = np.array([bits(block)[0] for block in blocks])
        self._conflict = np.zeros((num_tasks, num_tasks), np.int8)
        for a, b in constraints.cannot_link:
            self._conflict[a, b] = self._conflict[b, a] = 1
        tied = np.array([block.bit_count() > 1 for block in blocks])
        self._linked = (tied | self._conflict.any(axis=1)).astype(np.int8)
        self._height = 1
        # Every node is replaced by two at most, on a path that decides every task twice at most.
        limit = 2 * num_tasks + 4
        self._stack = np.full((limit, num_tasks), FREE, np.int8)
        self._shares = np.zeros((limit, num_tasks, num_tasks), np.float32)
        self._shares[0] = (self._pairs.T - self._pairs) / 2
        self._bounds = np.full(limit, np.inf)
        self._best = -np.inf

    @property
    def open(self) -> bool:
        """Whether any node is left to search."""
        return self._height > 0

    @property
    def bound(self) -> float:
        """The excess that no network of these sizes exceeds, if above the threshold."""
        bounds = self._bounds[: self._height]
        # What a node is worth has been multiplied by what its score divides by.
        least = self._sizes[0] - self._score.left_out
        return max(self._best, self._threshold + float(bounds.max(initial=-np.inf)) / least)

    def go_on(self, nodes: int, most_found: int = _MOST_FOUND) -> list[Column]:
        """Search so many more nodes and return the networks found."""
        if not self._height:
            return []
        # Compiling takes some seconds, so it is imported only where a search runs.
        from keras_tag.selection.many_tasks.branch_and_bound import search

        states = np.zeros((most_found, len(self._score.tasks)), np.int8)
        self._height, found = search(
            self._pairs,
            self._diagonal,
            self._size_price + self._threshold,
            self._margin,
            self._score.left_out,
            self._sizes[0],
            self._sizes[-1],
            self._served_slack,
            self._constraints.overlap,
            self._idle_helpers,
            self._conflict,
            self._block,
            self._linked,
            self._stack,
            self._shares,
            self._bounds,
            self._height,
            states,
            nodes,
        )
        return [column for state in states[:found] for column in self._networks(state)]

    def rise(self) -> None:
        """Raise the threshold to the excess of the best network found."""
        self._threshold = max(self._threshold, self._best)

    def _networks(self, state: np.ndarray) -> list[Column]:
        """Return the best networks for a node's served set; several within rounding errors."""
        served, helpers = np.flatnonzero(state == SERVED), np.flatnonzero(state == HELPER)
        if not len(served):
            return []
        help_of = self._pairs[served].sum(axis=0)
        others = np.flatnonzero(state == UNSERVED)
        others = others[np.argsort(-help_of[others], kind="stable")]
        sure = np.concatenate([served, helpers])
        total = help_of[sure].sum() + self._diagonal[served].sum()
        totals = total + np.concatenate([[0.0], np.cumsum(help_of[others])])
        sizes = len(sure) + np.arange(len(totals))
        allowed = (sizes >= self._sizes[0]) & (sizes <= self._sizes[-1])
        excess = np.full(len(totals), -np.inf)
        excess[allowed] = totals[allowed] / (sizes[allowed] - self._score.left_out)
        excess -= self._size_price
        best = float(excess.max())
        if best < self._threshold:
            return []
        self._best = max(self._best, best)
        price = float(self._duals.task[served].sum()) + self._size_price
        mask, core = mask_of(served.tolist()), mask_of(sure.tolist())
        tied = np.flatnonzero(excess >= max(best - self._margin, self._threshold))
        return [
            Column(mask, core | mask_of(others[:more].tolist()), value + price, self._cost)
            for more, value in zip(tied.tolist(), excess[tied].tolist(), strict=True)
        ]
