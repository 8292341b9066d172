"""The best choice among few listed groups of many tasks, by CP-SAT over groups and their tasks.

For `GroupScores` with overlap and more than 15 tasks. A column fixes which tasks a network serves.
A proof by columns does not end: of a group of 40 tasks, 2**40 columns tie at the prices at which
every task pays what it gets. Here CP-SAT chooses for every task the group that serves it.
"""

import math
from fractions import Fraction
from time import monotonic

import numpy as np

from keras_tag.selection.solver.best_choice import Cover, OutOfTime
from keras_tag.selection.solver.column_generation import Solution
from keras_tag.selection.solver.listed_groups import GroupTable
from keras_tag.selection.task_masks import bits


def best_measured(source: GroupTable, budget: int, deadline: float = math.inf) -> Solution:
    """Find the best choice of listed groups that may overlap.

    Args:
        source: The groups.
        budget: In whole units of cost.
        deadline: In `time.monotonic` seconds.

    Returns:
        The optimum, of those that tie the one of the fewest networks, then of the smallest total
        size, then the first by name; or at the deadline the best found, with its bound.

    Raises:
        Uncoverable: No groups within the budget serve every task.
        OutOfTime: The deadline came before any choice was found.
    """
    start = monotonic()
    first = source.first_cover(budget, deadline)
    rows = sorted(range(len(source.groups)), key=lambda row: bits(source.groups[row]))
    parts = [(row, task) for row in rows for task in np.flatnonzero(source.member[row]).tolist()]
    scores = {part: source.exact(source.column(part[0], 1 << part[1])) for part in parts}
    most = [max(scores[part] for part in parts if part[1] == t) for t in range(source.num_tasks)]
    cover = Cover(
        source.num_tasks,
        [1 << task for _, task in parts],
        source.costs,
        budget,
        networks=[row for row, _ in parts],
    )
    known = {(column.row, task) for column in first for task in bits(column.served)}
    hint = [index for index, part in enumerate(parts) if part in known]
    losses = [most[task] - scores[row, task] for row, task in parts]
    try:
        chosen, proven = cover.best(losses, deadline, hint, source.groups), True
    except OutOfTime as error:
        found = [choice for choice in (error.best, hint) if choice is not None]
        chosen, proven = min(found, key=lambda choice: sum(losses[i] for i in choice)), False
    assert chosen is not None  # `first` is a choice.
    served: dict[int, int] = {}
    for row, task in (parts[index] for index in chosen):
        served[row] = served.get(row, 0) | 1 << task
    value = sum((scores[parts[index]] for index in chosen), Fraction(0))
    bound = value if proven else sum(most, Fraction(0))
    return Solution(
        columns=[source.column(row, tasks) for row, tasks in served.items()],
        value=value,
        bound=bound,
        optimal=bound == value,
        statistics={
            # No linear programme is solved, and the optimum is exact.
            "rounds": 0,
            "columns": len(parts),
            "bound_rounding": 0.0,
            "seconds": monotonic() - start,
        },
    )
