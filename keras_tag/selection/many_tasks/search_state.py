"""The decisions about tasks, the problem and the memory of the search for networks.

S is the group and T the tasks it serves. In a node of the search every task is in one of six
states. OUT: not in S. FREE: nothing is decided. UNSERVED: not in T, may be in S. TRAINED: in S,
nothing decided about T. HELPER: in S, not in T. SERVED: in T. The order matters: a task from
TRAINED on is in S, a task from FREE to TRAINED is open.
"""

from typing import NamedTuple

import numpy as np

OUT, FREE, UNSERVED, TRAINED, HELPER, SERVED = 0, 1, 2, 3, 4, 5


class SearchProblem(NamedTuple):
    """The networks that are searched for: of some sizes, and of an excess above a threshold.

    Args:
        pairs: `[num_tasks, num_tasks]`, rows target, columns source: A[source, target] less the
            target's price. The diagonal, which a served task adds by itself, is 0 if a score leaves
            out the task itself.
        toll: The threshold plus what a network of these sizes costs, at the price of the budget.
        margin: Room for rounding: only what is below zero by more than this is pruned.
        left_out: 1 if a score leaves out the task itself: what it divides by is smaller by this.
        first: The smallest number of tasks to train, at least 2.
        last: The largest.
        overlap: Whether tasks may be trained without being served.
        idle_helpers: Whether helpers that pull the mean down are of interest (without them the
            group would be one smaller, and better).
        conflict: `[num_tasks, num_tasks]` of 0 and 1: not trained together.
        block: `[num_tasks]`: tasks of the same number are trained together.
        linked: `[num_tasks]` of 0 and 1: whether there is such a number or conflict.
    """

    pairs: np.ndarray
    toll: float
    margin: float
    left_out: int
    first: int
    last: int
    overlap: bool
    idle_helpers: bool
    conflict: np.ndarray
    block: np.ndarray
    linked: np.ndarray


class OpenNodes(NamedTuple):
    """A stack of the nodes that are still to be searched.

    Args:
        states: `[limit, num_tasks]` of int8: their decisions.
        shares: `[limit, num_tasks, num_tasks]` of float32: their pair shares.
        bounds: `[limit]`: what they are worth at most.
    """

    states: np.ndarray
    shares: np.ndarray
    bounds: np.ndarray


class Scratch(NamedTuple):
    """The node at hand, what its decisions leave to each undecided task, and working memory.

    Args:
        state: `[num_tasks]`, the decisions.
        open: `[num_tasks]`, of which the first `counts[0]` are the undecided tasks: FREE,
            UNSERVED and TRAINED.
        counts: `[4]`: the number of open tasks; the least and the most tasks that may still join
            S; how many of them the bound has chosen.
        certain: `[2, num_tasks]`: what an open task brings in for certain if served, and as a
            helper; -inf if it can't be.
        share: `[num_tasks, num_tasks]`, rows target; antisymmetric.
        worth: `[3, num_tasks]`: receives what a task is worth at most if it is served, as a helper,
            and the larger of the two.
        values: `[num_tasks]`.
        labels: `[num_tasks]` of int64.
        partners: `[2, num_tasks, num_tasks]` of int64: the tasks that a task was credited with, as
            a served task and as a helper.
        num_partners: `[2, num_tasks]` of int64.
        trial: `[num_tasks, num_tasks]`: shares that are tried.
        gradient: `[num_tasks, num_tasks]`.
    """

    state: np.ndarray
    open: np.ndarray
    counts: np.ndarray
    certain: np.ndarray
    share: np.ndarray
    worth: np.ndarray
    values: np.ndarray
    labels: np.ndarray
    partners: np.ndarray
    num_partners: np.ndarray
    trial: np.ndarray
    gradient: np.ndarray

    @classmethod
    def of(cls, num_tasks: int) -> "Scratch":
        """Return memory for so many tasks."""
        square = (num_tasks, num_tasks)
        return cls(
            np.empty(num_tasks, np.int8),
            np.empty(num_tasks, np.int64),
            np.empty(4, np.int64),
            np.empty((2, num_tasks)),
            np.empty(square),
            np.empty((3, num_tasks)),
            np.empty(num_tasks),
            np.empty(num_tasks, np.int64),
            np.empty((2, *square), np.int64),
            np.empty((2, num_tasks), np.int64),
            np.empty(square),
            np.empty(square),
        )
