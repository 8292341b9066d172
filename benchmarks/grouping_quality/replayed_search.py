"""`groups_to_train` replayed from a table, with a solver for few tasks and with variants.

The search as it is shipped is `search(..., Variant())`: `tests/grouping_quality` holds that it
trains what `groups_to_train` asks for. The solver is exact and takes a millisecond at nine tasks,
so that hundreds of thousands of choices can be replayed.
"""

from dataclasses import dataclass, replace

import numba
import numpy as np

from benchmarks.grouping_quality.group_table import all_groups
from keras_tag.selection.few_trainings.gain_model import (
    GainModel,
    Prior,
    cells_of,
    covariance,
    expected,
    noise_covariance,
)

# What the noise may be, as a factor of the prior's, and the deviation of that factor's logarithm.
_NOISES = np.geomspace(0.15, 6.0, 15)
_SPREAD_OF_NOISES = 0.7


@dataclass(frozen=True)
class Variant:
    """What a search does otherwise than the one that is shipped.

    Args:
        optimism: By how many standard deviations a group that was not trained counts as better.
        fitted_noise: Whether the noise is scaled to the trainings so far, round by round.
        posterior: The weight, in the final choice, of what the model believes of a network without
            noise; the rest is its own loss.
    """

    optimism: float = 1.0
    fitted_noise: bool = False
    posterior: float = 0.0


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
            believed = with_fitted_noise(prior, shares, groups[rows], gains)
        left = trainings + 1 - len(rows)
        if left <= 0:
            return rows, believed
        mean, spread = GainModel(shares, believed, groups[rows], gains).predict(groups)
        plausible = had(losses[joint] * np.exp(mean - variant.optimism * spread))
        plausible[rows] = known[rows]
        new = [int(row) for row in best_groups(plausible, budget) if row not in rows]
        if not new:
            return rows, believed
        rows += sorted(new, key=lambda row: -np.nansum(spread[row]))[:left]


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


def with_fitted_noise(
    prior: Prior, shares: np.ndarray, trained: np.ndarray, gains: np.ndarray
) -> Prior:
    """The prior with its noise scaled to what was trained: the likeliest factor.

    Args:
        prior: The prior.
        shares: As for `search`.
        trained: `[num_trained, num_tasks]` bool.
        gains: As `trained`: log ratios of losses to those of the joint run.
    """
    seen = cells_of(shares, trained, np.isfinite(gains))
    surprise = gains[seen.groups, seen.tasks] - expected(prior, seen)
    structure, noise = covariance(prior, seen, seen), noise_covariance(prior, seen)

    def unlikely(factor: float) -> float:
        whole = structure + factor**2 * noise
        fit = np.linalg.slogdet(whole)[1] + surprise @ np.linalg.solve(whole, surprise)
        return float(fit + (np.log(factor) / _SPREAD_OF_NOISES) ** 2)

    best = min(_NOISES, key=unlikely)
    return replace(prior, noise=prior.noise * best, network_noise=prior.network_noise * best)


def had(losses: np.ndarray) -> np.ndarray:
    """Losses with infinity for NaN."""
    return np.where(np.isnan(losses), np.inf, losses)
