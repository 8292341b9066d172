"""A dynamic programme for the best networks of up to 15 tasks, for many draws of scores at once.

`select_groups` proves its answer in exact arithmetic. Where the same tasks are grouped hundreds of
times for slightly different affinities, rounding does not matter, and a programme over subsets of
served tasks is much quicker: the best value of serving the tasks U with u units of budget is that
of the best network for some T in U, plus the best value of serving the rest with what is left. T
holds the first task of U, so that every partition is looked at once.

The draws are the last axis of every array, so that each step is one operation on all of them.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from keras_tag.selection.scores.closed_form import FloatScore
from keras_tag.selection.task_masks import bits

# So many numbers of an array fit into the processor's cache.
_CHUNK = 1 << 16


class SubsetProgramme:
    """The best networks for every draw.

    Args:
        groups: `[num_groups]` int64, each allowed group as a bit mask.
        costs: `[num_groups]` int64, in whole units.
        budget: Units.
        overlap: Whether a group may train tasks that it does not serve.
        scores: The scores of every draw.

    Attributes:
        value: `[num_draws]`, the best values; -inf if the budget covers no choice.
    """

    def __init__(
        self,
        groups: np.ndarray,
        costs: np.ndarray,
        budget: int,
        overlap: bool,
        scores: Sequence[FloatScore],
    ) -> None:
        self._groups, self._costs = groups, costs
        self._budget, self._overlap, self._scores = budget, overlap, scores
        self._num_tasks, self._num_draws = len(scores[0].array), len(scores)
        self._member = (groups[:, None] >> np.arange(self._num_tasks) & 1).astype(np.float64)
        sizes = self._costs_of_all_sizes()
        # Value of serving a set of tasks in one network of this cost: [2**num_tasks, num_draws].
        self._network_values = (
            self._best_of_listed(budget) if sizes is None else self._best_of_sizes(sizes)
        )
        self._covers: dict[int, np.ndarray] = {}
        everything = (1 << self._num_tasks) - 1
        self.value: np.ndarray = self._cover(everything, budget, slice(None))

    def networks(self, draw: int) -> tuple[tuple[int, int], ...]:
        """Return the best networks of one draw, as masks of trained and served tasks, sorted."""
        found: dict[int, int] = {}
        one = slice(draw, draw + 1)
        tasks, budget = (1 << self._num_tasks) - 1, self._budget
        while tasks:
            parts = _parts_with_first(tasks)
            candidates = [
                (values[parts, one] + self._rest(tasks ^ parts, budget - cost, one), cost)
                for cost, values in self._network_values.items()
                if cost <= budget
            ]
            totals, cost = max(candidates, key=lambda candidate: float(candidate[0].max()))
            served = int(parts[int(totals[:, 0].argmax())])
            group = self._best_group(served, cost, draw)
            # Two networks that train the same are one that serves what both serve.
            found[group] = found.get(group, 0) | served
            tasks, budget = tasks ^ served, budget - cost
        return tuple(sorted(found.items()))

    def _costs_of_all_sizes(self) -> dict[int, int] | None:
        """Return size -> cost if all groups of a size are allowed or none, at one cost.

        Lone tasks are left out: some of them may be forbidden. None if groups are of another kind.
        """
        found = {}
        sizes = np.bitwise_count(self._groups)
        for size in set(sizes.tolist()) - {1}:
            costs = self._costs[sizes == size]
            if len(costs) < math.comb(self._num_tasks, size) or (costs != costs[0]).any():
                return None
            found[size] = int(costs[0])
        return found if self._overlap else None

    def _best_of_sizes(self, sizes: dict[int, int]) -> dict[int, np.ndarray]:
        """Find the best networks where only the size of a group is restricted.

        Of the groups of a size that serve a set T, the best one takes the helpers that the tasks
        of T gain most from.
        """
        shape, num_tasks = (1 << self._num_tasks, self._num_draws), self._num_tasks
        best = {cost: np.full(shape, -np.inf) for cost in {*sizes.values(), *self._costs.tolist()}}
        served = (np.arange(shape[0])[:, None] >> np.arange(num_tasks) & 1).astype(bool)
        # [sets, number of helpers]: the size of the group, and what its sum is divided by.
        size = served.sum(axis=1)[:, None] + np.arange(num_tasks + 1)
        divisor = np.maximum(size - self._scores[0].left_out, 1)
        cost_of = np.array([sizes.get(k, -1) for k in range(2 * num_tasks + 1)])
        step = max(1, _CHUNK // served.size)
        for start in range(0, self._num_draws, step):
            some = self._scores[start : start + step]
            # [draws, sets, tasks]: what each task gives to the tasks of each set.
            given = served.astype(float) @ np.stack([score.array.T for score in some])
            inside = np.where(served, given, 0.0).sum(axis=2, keepdims=True)
            helpers = np.where(served, np.inf, -given)
            helpers.sort(axis=2)
            # [draws, sets, number of helpers]: the value of the group with the best helpers.
            total = inside - np.concatenate([np.zeros_like(inside), helpers], axis=2).cumsum(axis=2)
            value = (total / divisor).transpose(1, 2, 0)
            for cost, values in best.items():
                allowed = (cost_of[size] == cost)[:, :, None]
                values[:, start : start + step] = np.where(allowed, value, -np.inf).max(axis=1)
        for row in np.flatnonzero(np.bitwise_count(self._groups) == 1).tolist():
            group, task = int(self._groups[row]), bits(int(self._groups[row]))[0]
            lone = np.array([score.lone_array[task] for score in self._scores])
            values = best[int(self._costs[row])]
            values[group] = np.maximum(values[group], lone)
        return best

    def _best_of_listed(self, budget: int) -> dict[int, np.ndarray]:
        """Find the best networks for any list of groups."""
        table = np.stack([score.table(self._member) for score in self._scores], axis=2)
        best = {}
        for cost in np.unique(self._costs[self._costs <= budget]).tolist():
            rows = np.flatnonzero(self._costs == cost)
            values = np.full((1 << self._num_tasks, self._num_draws), -np.inf)
            if self._overlap:
                start = np.zeros((len(rows), self._num_draws))
                for served, totals in self._totals(table, 0, 0, rows, start):
                    values[served] = totals.max(axis=0)
            else:
                for row in rows.tolist():
                    members = bits(int(self._groups[row]))
                    values[self._groups[row]] = table[row, members].sum(axis=0)
            best[cost] = values
        return best

    def _totals(
        self, table: np.ndarray, first: int, served: int, rows: np.ndarray, totals: np.ndarray
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yield every set with tasks from `first` on, and its summed scores in all groups."""
        for task in range(first, self._num_tasks):
            inside = np.flatnonzero(self._groups[rows] >> task & 1)
            if len(inside):
                some, more = rows[inside], served | 1 << task
                sums = totals[inside] + table[some, task]
                yield more, sums
                yield from self._totals(table, task + 1, more, some, sums)

    def _cover(self, tasks: int, budget: int, draws: slice) -> np.ndarray:
        """Return `[num_draws]`, the best value of serving these tasks."""
        parts = _parts_with_first(tasks)
        best = np.full(len(range(*draws.indices(self._num_draws))), -np.inf)
        for cost, values in self._network_values.items():
            if cost <= budget:
                total = values[parts, draws] + self._rest(tasks ^ parts, budget - cost, draws)
                best = np.maximum(best, total.max(axis=0))
        return best

    def _rest(self, tasks: np.ndarray | slice, budget: int, draws: slice) -> np.ndarray:
        """Return `[num_sets, num_draws]`, the best values of sets without the first task."""
        if budget not in self._covers:
            self._covers[budget] = self._covers_within(budget)
        covers: np.ndarray = self._covers[budget][tasks, draws]
        return covers

    def _covers_within(self, budget: int) -> np.ndarray:
        """Return `[2**num_tasks, num_draws]`; only sets without the first task are filled in."""
        costs = [cost for cost in self._network_values if cost <= budget]
        covers = np.full((1 << self._num_tasks, self._num_draws), -np.inf)
        if not costs or (min(costs) > 0 and budget < 2 * min(costs)):
            for cost in costs:
                covers = np.maximum(covers, self._network_values[cost])
            covers[0] = 0.0
            return covers
        covers[0] = 0.0
        self._covers[budget] = covers
        # From sets of late tasks only to larger ones: a cost of 0 reads the array that it fills.
        for first in range(self._num_tasks - 1, 0, -1):
            with_first, later = slice(1 << first, None, 2 << first), slice(0, None, 2 << first)
            for cost in costs:
                total = _best_splits(
                    self._network_values[cost][with_first],
                    self._rest(later, budget - cost, slice(None)),
                )
                covers[with_first] = np.maximum(covers[with_first], total)
        return covers

    def _best_group(self, served: int, cost: int, draw: int) -> int:
        allowed = (self._costs == cost) & (self._groups & served == served)
        if not self._overlap:
            allowed &= self._groups == served
        rows = np.flatnonzero(allowed)
        totals = self._scores[draw].table(self._member[rows])[:, bits(served)].sum(axis=1)
        return int(self._groups[rows[int(totals.argmax())]])


def _best_splits(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Split every set in two, so that the values of the parts add up to most.

    Args:
        first: `[2**num_bits, width]`, the value of every set as the first part.
        second: The same for the second part.

    Returns:
        `[2**num_bits, width]`.
    """
    half, width = len(first) // 2, first.shape[1]
    if half == 0:
        return first + second
    # The last task is in neither part, in the first or in the second.
    firsts = first[:half], first[half:], first[:half]
    seconds = second[:half], second[:half], second[half:]
    if 3 * first.size // 2 <= _CHUNK:
        # Side by side, the three make one call on longer rows.
        found = _best_splits(np.concatenate(firsts, axis=1), np.concatenate(seconds, axis=1))
        neither, one, other = np.split(found, [width, 2 * width], axis=1)
    else:
        neither, one, other = map(_best_splits, firsts, seconds)
    return np.concatenate([neither, np.maximum(one, other)])


def _parts_with_first(tasks: int) -> np.ndarray:
    """Return all subsets of a set that hold its first task, as bit masks."""
    parts = np.array([tasks & -tasks])
    for task in bits(tasks)[1:]:
        parts = np.concatenate([parts, parts | 1 << task])
    return parts
