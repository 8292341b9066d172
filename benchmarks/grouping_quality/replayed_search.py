"""`groups_to_train` replayed from a table, with a solver for few tasks and with variants.

The search as it is shipped is `search(..., Variant())`: `tests/grouping_quality` holds that it
trains what `groups_to_train` asks for. The solver is exact and takes a millisecond at nine tasks,
so that hundreds of thousands of choices can be replayed.
"""

from dataclasses import dataclass
from typing import Literal

import numba
import numpy as np

from benchmarks.grouping_quality import beliefs
from benchmarks.grouping_quality.group_table import all_groups
from keras_tag.search.verdict import fitted_noise
from keras_tag.selection.few_trainings.gain_model import GainModel, Prior, cells_of


@dataclass(frozen=True)
class Variant:
    """What a search does otherwise than the one that is shipped.

    Args:
        optimism: By how many standard deviations a group that was not trained counts as better.
        fitted_noise: Whether the noise is scaled to the trainings so far, round by round.
        posterior: The weight, in the final choice, of what the model believes of a network without
            noise; the rest is its own loss.
        belief: The gain model, or what `beliefs` has in its place.
        at_once: How many of the groups that are asked for are trained before asking again; None:
            all of them.
    """

    optimism: float = 1.0
    fitted_noise: bool = False
    posterior: float = 0.0
    belief: Literal["gain model", "joint luck", "sizes"] = "gain model"
    at_once: int | None = None


@numba.njit(cache=True)
def best_groups(losses, budget):
    """The rows of at most `budget` groups with the least total loss, each task at its best.

    Args:
        losses: `[2**n - 1, n]`, row k - 1 the group of the bits of k; infinite where a task is
            not in a group or the group is not to be had.
        budget: b.
    """
    n = losses.shape[1]
    everything = (1 << n) - 1
    # The least loss of serving exactly these tasks by one group, and that group.
    served = np.full(everything + 1, np.inf)
    by = np.zeros(everything + 1, np.int64)
    for group in range(1, everything + 1):
        if not np.isfinite(losses[group - 1].min()):
            continue
        tasks = group
        while tasks:
            total = 0.0
            for task in range(n):
                if tasks >> task & 1:
                    total += losses[group - 1, task]
            if total < served[tasks]:
                served[tasks], by[tasks] = total, group
            tasks = (tasks - 1) & group
    least = np.full((budget + 1, everything + 1), np.inf)
    last = np.zeros((budget + 1, everything + 1), np.int64)
    least[:, 0] = 0
    for count in range(1, budget + 1):
        for covered in range(1, everything + 1):
            tasks = covered
            while tasks:
                # Each task is served once: the last group serves the lowest task.
                if tasks & covered & -covered:
                    total = served[tasks] + least[count - 1, covered ^ tasks]
                    if total < least[count, covered]:
                        least[count, covered], last[count, covered] = total, tasks
                tasks = (tasks - 1) & covered
    rows = np.zeros(budget, np.int64)
    left, used = everything, 0
    for count in range(budget, 0, -1):
        if left:
            tasks = last[count, left]
            rows[used] = by[tasks] - 1
            used += 1
            left ^= tasks
    return rows[:used]


def search(
    losses: np.ndarray,
    shares: np.ndarray,
    prior: Prior,
    budget: int,
    trainings: int,
    variant: Variant,
) -> tuple[list[int], Prior]:
    """Train what is asked for, round by round.

    Args:
        losses: `[num_groups, num_tasks]`: what training a group would show; NaN outside it.
        shares: `[num_tasks, num_tasks]`, rows source: Z[i, j] / Z[j, j].
        prior: What is believed before.
        budget: b.
        trainings: How many groups may be trained beside the joint run.
        variant: How.

    Returns:
        The rows of what was trained, the joint run first, and the prior in the end.
    """
    groups = all_groups(losses.shape[1])
    joint = len(groups) - 1
    known = had(losses)
    rows = [joint]
    while True:
        gains = np.log(losses[rows] / losses[joint])
        believed = prior
        if variant.fitted_noise and len(rows) > 1:
            believed = _with_fitted_noise(prior, shares, groups[rows], gains)
        left = trainings + 1 - len(rows)
        if left <= 0:
            return rows, believed
        mean, spread = predicted(shares, believed, groups[rows], gains, variant)
        plausible = had(losses[joint] * np.exp(mean - variant.optimism * spread))
        plausible[rows] = known[rows]
        new = [int(row) for row in best_groups(plausible, budget) if row not in rows]
        if not new:
            return rows, believed
        ranked = sorted(new, key=lambda row: -np.nansum(spread[row]))
        rows += ranked[:left][: variant.at_once]


def choose(
    losses: np.ndarray,
    shares: np.ndarray,
    believed: Prior,
    rows: list[int],
    budget: int,
    variant: Variant,
) -> tuple[np.ndarray, np.ndarray]:
    """Choose among the trained groups.

    Args:
        losses: As for `search`.
        shares: As for `search`.
        believed: The prior in the end.
        rows: What was trained, the joint run first.
        budget: b.
        variant: How.

    Returns:
        `[num_tasks]`: the row of the group that serves a task; and `[num_groups, num_tasks]`: the
        losses by which it was chosen, infinite where a task is not in a group or it is not trained.
    """
    groups = all_groups(losses.shape[1])
    counted = np.full(losses.shape, np.inf)
    counted[rows] = had(losses[rows])
    if variant.posterior:
        gains = np.log(losses[rows] / losses[rows[0]])
        mean = GainModel(shares, believed, groups[rows], gains).predict(groups[rows])[0]
        blend = (1 - variant.posterior) * gains + variant.posterior * mean
        counted[rows] = had(losses[rows[0]] * np.exp(blend))
    chosen = best_groups(counted, budget)
    return chosen[counted[chosen].argmin(0)], counted


def predicted(
    shares: np.ndarray, prior: Prior, trained: np.ndarray, gains: np.ndarray, variant: Variant
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of all groups' log ratios `[num_groups, num_tasks]`.

    Args:
        shares: As for `search`.
        prior: What is believed before.
        trained: `[num_trained, num_tasks]` bool, the joint run first.
        gains: As `trained`: log ratios of losses to those of the joint run.
        variant: By which belief.
    """
    groups = all_groups(len(shares))
    if variant.belief == "gain model":
        return GainModel(shares, prior, trained, gains).predict(groups)
    return beliefs.predict(shares, prior, trained, gains, groups, variant.belief == "sizes")


def _with_fitted_noise(
    prior: Prior, shares: np.ndarray, trained: np.ndarray, gains: np.ndarray
) -> Prior:
    others = np.isfinite(gains)
    others[0] = False  # The joint run's gains are 0 by definition.
    seen = cells_of(shares, trained, others)
    return fitted_noise(prior, seen, gains[seen.groups, seen.tasks])


def had(losses: np.ndarray) -> np.ndarray:
    """Losses with infinity for NaN."""
    return np.where(np.isnan(losses), np.inf, losses)
