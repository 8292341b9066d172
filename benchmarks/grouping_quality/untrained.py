"""Ways to choose groups before any group is trained: what `decided.md` says beforehand."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from benchmarks.grouping_quality.group_table import GroupTable
from benchmarks.grouping_quality.replayed_search import best_groups, had
from benchmarks.grouping_quality.rule import complete, served_losses
from keras_tag.selection.few_trainings.gain_model import Prior, cells_of, expected, variance

_DRAWS, _PASSES = 100, 5

# (groups, shares, joint losses, prior, budget) -> rows, and `[num_groups, num_tasks]` losses.
Way = Callable[[np.ndarray, np.ndarray, np.ndarray, Prior, int], tuple[Sequence[int], np.ndarray]]


def members(groups, shares, joint, prior, budget):
    """The score that is shipped: the share of its own progress that a task keeps."""
    kept = groups @ shares / groups.sum(1, keepdims=True)
    losses = np.where(groups, -kept, np.nan)
    return best_groups(had(losses), budget), losses


def predicted_losses(groups, shares, joint, prior, budget):
    """The joint run's losses times exp(prior mean of the log ratio)."""
    return _by_log_ratio(groups, shares, joint, prior, budget, 0.0)


def expected_losses(groups, shares, joint, prior, budget):
    """The prior mean of the losses themselves."""
    return _by_log_ratio(groups, shares, joint, prior, budget, 0.5)


def _by_log_ratio(groups, shares, joint, prior, budget, of_variance):
    cells = cells_of(shares, groups, groups)
    ratio = np.exp(expected(prior, cells) + of_variance * variance(prior, cells))
    losses = np.full(groups.shape, np.nan)
    losses[cells.groups, cells.tasks] = joint[cells.tasks] * ratio
    return best_groups(had(losses), budget), losses


def hedged(groups, shares, joint, prior, budget):
    """Groups of which the best for each task is expected to be good."""
    draw, count = np.random.default_rng(0), len(joint)
    normal = draw.normal
    effect = (
        normal(prior.stranger, prior.stranger_spread, (_DRAWS, 1, 1))
        + normal(0, prior.task_spread, (_DRAWS, 1, count))
        + normal(prior.friend, prior.friend_spread, (_DRAWS, 1, 1)) * shares
        + normal(0, prior.pair_spread, (_DRAWS, count, count))
    )
    effect[:, range(count), range(count)] = 0
    ratio = (groups / groups.sum(1, keepdims=True)) @ effect - effect.mean(1, keepdims=True)
    losses = np.where(groups, joint * np.exp(ratio), np.inf)  # [draws, groups, tasks]
    rows = [len(groups) - 1]
    while len(rows) < budget:
        rows.append(_best_addition(losses, rows))
    for _ in range(_PASSES):
        before = list(rows)
        for position in range(budget):
            rest = rows[:position] + rows[position + 1 :]
            rows[position] = _best_addition(losses, rest)
        if rows == before:
            break
    return list(dict.fromkeys(rows)), np.where(groups, losses.mean(0), np.nan)


def _best_addition(losses, rows):
    best = losses[:, rows].min(1, initial=np.inf)
    return int(np.minimum(best[:, None], losses).sum(2).mean(0).argmin())


# Name -> (how, whether the prior mean of what a stranger costs depends on the own-step ratio).
WAYS: dict[str, tuple[Way, bool]] = {
    "members (the default)": (members, False),
    "predicted losses": (predicted_losses, False),
    "expected losses": (expected_losses, False),
    "hedged": (hedged, False),
    "expected losses, own-step ratio": (expected_losses, True),
    "hedged, own-step ratio": (hedged, True),
}


def total_loss(
    table: GroupTable, seed: int, shares: np.ndarray, prior: Prior, budget: int, way: Way
) -> float:
    """The total test loss of what is chosen, every task served by the best on validation.

    Args:
        table: The set's.
        seed: Its position in the table.
        shares: `[num_tasks, num_tasks]`, rows source.
        prior: What is believed.
        budget: b.
        way: How to choose.
    """
    joint = table.validation[seed][-1]
    rows, losses = way(table.groups, shares, joint, prior, budget)
    chosen = complete([int(row) for row in rows], -losses, budget)
    return served_losses(table, seed, chosen)[1]


def with_ratio(prior: Prior, slopes: np.ndarray, ratio: float) -> Prior:
    """The prior whose mean of what a stranger costs depends on the own-step ratio.

    Args:
        prior: The prior.
        slopes: Of `fit_coefficients`: stranger, friend, and what a unit of the ratio adds.
        ratio: Of the joint run.
    """
    stranger = slopes[0] + slopes[2] * ratio
    return replace(prior, stranger=float(stranger), friend=float(slopes[1]))
