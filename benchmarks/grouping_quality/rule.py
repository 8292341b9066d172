"""The rule for all: exactly b groups, each task served by the one with the best validation loss."""

from collections.abc import Sequence

import numpy as np

from benchmarks.grouping_quality.group_table import GroupTable

_DRAWS = 2000


def served_losses(table: GroupTable, seed: int, rows: Sequence[int]) -> tuple[float, float]:
    """What a choice of groups is worth.

    Args:
        table: The set's table.
        seed: Position of the seed in the table.
        rows: Distinct rows of groups that cover the tasks.

    Returns:
        Total validation and total test loss, each task served by the group that has the best
        validation loss for it.
    """
    validation, test = table.validation[seed][list(rows)], table.test[seed][list(rows)]
    best = np.nanargmin(validation, 0)
    tasks = np.arange(len(table.tasks))
    return float(validation[best, tasks].sum()), float(test[best, tasks].sum())


def complete(rows: Sequence[int], predicted: np.ndarray, budget: int) -> list[int]:
    """Add groups until there are `budget`: those that are predicted best, member by member.

    Args:
        rows: Distinct rows that cover the tasks, at most `budget`.
        predicted: `[num_groups, num_tasks]`, higher is better, NaN outside a group; -inf for a
            group that is not to be had.
        budget: b.

    Returns:
        Exactly b distinct rows; fewer if no more are to be had.
    """
    value = np.nanmean(predicted, 1)
    order = np.argsort(-value, kind="stable")
    order = order[np.isfinite(value[order])]
    filled = list(rows)
    filled += [int(row) for row in order if row not in filled][: budget - len(filled)]
    return filled


def random_expectation(table: GroupTable, seed: int, budget: int) -> tuple[float, float]:
    """The expected losses of b distinct groups, uniform over all such sets that cover the tasks.

    Estimated from 2,000 draws.

    Args:
        table: The set's table.
        seed: Position of the seed in the table.
        budget: b.

    Returns:
        Mean total validation and test loss.
    """
    draw = np.random.default_rng([seed, budget])
    everything = len(table.groups)  # 2**n - 1: the bits of all tasks.
    rows = np.empty((0, budget), int)
    while len(rows) < _DRAWS:
        # Distinct by rejection: groups drawn independently, without repeats in a set.
        more = draw.integers(everything, size=(4 * _DRAWS, budget))
        ordered = np.sort(more, 1)
        distinct = (ordered[:, 1:] != ordered[:, :-1]).all(1)
        covering = np.bitwise_or.reduce(more + 1, 1) == everything
        rows = np.concatenate([rows, more[distinct & covering]])
    rows = rows[:_DRAWS]
    validation = np.where(np.isnan(table.validation[seed]), np.inf, table.validation[seed])[rows]
    best = validation.argmin(1)[:, None]
    test = np.take_along_axis(np.nan_to_num(table.test[seed])[rows], best, 1)
    return (
        float(validation.min(1).sum(1).mean()),
        float(test[:, 0].sum(1).mean()),
    )
