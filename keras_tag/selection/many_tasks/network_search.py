"""A search for networks of some sizes that cost the same, by branch and bound, in steps."""

import numpy as np

from keras_tag.selection.arguments.constraints import Constraints
from keras_tag.selection.many_tasks.search_state import (
    FREE,
    HELPER,
    SERVED,
    UNSERVED,
    OpenNodes,
    Scratch,
    SearchProblem,
)
from keras_tag.selection.scores.closed_form import ExactScore
from keras_tag.selection.solver.columns import Column, Prices
from keras_tag.selection.task_masks import bits, mask_of

# Networks found in one step; a step ends when they are about this many.
_MOST_FOUND = 2_048


class NetworkSearch:
    """A search that can be interrupted and continued.

    Args:
        score: The scores.
        constraints: What groups must look like.
        sizes: The numbers of tasks to train, consecutive, at least 2.
        cost: What a network of these sizes costs.
        prices: The prices.
        threshold: The least excess to look for.
        idle_helpers: Whether groups whose helpers pull the mean down are of interest.
    """

    def __init__(
        self,
        score: ExactScore,
        constraints: Constraints,
        sizes: range,
        cost: int,
        prices: Prices,
        threshold: float,
        idle_helpers: bool,
    ) -> None:
        num_tasks = len(score.tasks)
        self._score, self._sizes, self._cost = score, sizes, cost
        self._prices, self._size_price, self._threshold = prices, prices.unit * cost, threshold
        pairs = np.ascontiguousarray(score.array.T) - prices.task[:, None]
        if score.left_out:
            np.fill_diagonal(pairs, 0.0)
        largest = 1.0 + float(np.abs(prices.task).max()) + abs(self._size_price)
        blocks = constraints.blocks()
        conflict = np.zeros((num_tasks, num_tasks), np.int8)
        for a, b in constraints.cannot_link:
            conflict[a, b] = conflict[b, a] = 1
        tied = np.array([block.bit_count() > 1 for block in blocks])
        self._problem = SearchProblem(
            pairs=pairs,
            toll=self._size_price + threshold,
            margin=num_tasks**2 * float(np.finfo(np.float64).eps) * largest,
            left_out=score.left_out,
            first=sizes[0],
            last=sizes[-1],
            overlap=constraints.overlap,
            idle_helpers=idle_helpers,
            conflict=conflict,
            block=np.array([bits(block)[0] for block in blocks]),
            linked=(tied | conflict.any(axis=1)).astype(np.int8),
        )
        self._height = 1
        # Every node is replaced by two at most, on a path that decides every task twice at most.
        limit = 2 * num_tasks + 4
        self._nodes = OpenNodes(
            np.full((limit, num_tasks), FREE, np.int8),
            np.zeros((limit, num_tasks, num_tasks), np.float32),
            np.full(limit, np.inf),
        )
        self._nodes.shares[0] = (pairs.T - pairs) / 2
        self._best = -np.inf

    @property
    def open(self) -> bool:
        """Whether any node is left to search."""
        return self._height > 0

    @property
    def bound(self) -> float:
        """The excess that no network of these sizes exceeds, if above the threshold."""
        bounds = self._nodes.bounds[: self._height]
        # What a node is worth has been multiplied by what its score divides by.
        least = self._sizes[0] - self._score.left_out
        return max(self._best, self._threshold + float(bounds.max(initial=-np.inf)) / least)

    def go_on(self, nodes: int, most_found: int = _MOST_FOUND) -> list[Column]:
        """Search so many more nodes and return the networks found."""
        if not self._height:
            return []
        # numba takes long to import, so it is imported only where a search runs.
        from keras_tag.selection.many_tasks.branch_and_bound import search

        num_tasks = len(self._score.tasks)
        states = np.zeros((most_found, num_tasks), np.int8)
        problem = self._problem._replace(toll=self._size_price + self._threshold)
        scratch = Scratch.of(num_tasks)
        self._height, found = search(problem, self._nodes, self._height, scratch, states, nodes)
        return [column for state in states[:found] for column in self._networks(state)]

    def rise(self) -> None:
        """Raise the threshold to the excess of the best network found."""
        self._threshold = max(self._threshold, self._best)

    def _networks(self, state: np.ndarray) -> list[Column]:
        """Return the best networks for a node's served set; several within rounding errors."""
        served, helpers = np.flatnonzero(state == SERVED), np.flatnonzero(state == HELPER)
        if not len(served):
            return []
        help_of = self._problem.pairs[served].sum(axis=0)
        others = np.flatnonzero(state == UNSERVED)
        others = others[np.argsort(-help_of[others], kind="stable")]
        sure = np.concatenate([served, helpers])
        totals = help_of[sure].sum() + np.concatenate([[0.0], np.cumsum(help_of[others])])
        sizes = len(sure) + np.arange(len(totals))
        allowed = (sizes >= self._sizes[0]) & (sizes <= self._sizes[-1])
        excess = np.full(len(totals), -np.inf)
        excess[allowed] = totals[allowed] / (sizes[allowed] - self._score.left_out)
        excess -= self._size_price
        best = float(excess.max())
        if best < self._threshold:
            return []
        self._best = max(self._best, best)
        price = float(self._prices.task[served].sum()) + self._size_price
        mask, core = mask_of(served.tolist()), mask_of(sure.tolist())
        tied = np.flatnonzero(excess >= max(best - self._problem.margin, self._threshold))
        free = sorted(others.tolist())
        return [
            Column(
                mask,
                core | self._score.best_helpers(mask, free, more),
                value + price,
                self._cost,
            )
            for more, value in zip(tied.tolist(), excess[tied].tolist(), strict=True)
        ]
