"""The gain over the joint run, and whether it is more than the luck of networks.

Two networks trained alike reach different losses. How different is estimated from the search
itself: by the size of the noise that is most likely, given all outcomes under the gain model. The
gain of the chosen networks is then what the model believes of them without that noise: the best of
many networks is partly the luckiest one, and the model takes that part back.

This module knows arrays only. It never imports TensorFlow.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from keras_tag.affinity import Affinity
from keras_tag.search.ledger import Outcome
from keras_tag.search.proposals import Problem, log_ratios, usable_affinity
from keras_tag.selection import Grouping
from keras_tag.selection.arguments.affinities import affinity_shares
from keras_tag.selection.few_trainings.gain_model import (
    Cells,
    Prior,
    cells_of,
    covariance,
    expected,
    noise_covariance,
)

# Of a normal distribution: 5 % are beyond it on one side.
_QUANTILE = 1.6449
# The prior of other data sets says that company costs; here only this search may say so.
_NEUTRAL = replace(
    Prior(),
    stranger=0.0,
    stranger_spread=float(np.hypot(Prior.stranger, Prior.stranger_spread)),
    friend=0.0,
    friend_spread=float(np.hypot(Prior.friend, Prior.friend_spread)),
)
# How much the noise of data sets differs, as the standard deviation of its logarithm: a few
# networks that happen to agree shall not be taken for proof that networks have no luck.
_SPREAD_OF_NOISES = 0.7
# How much smaller or larger than the prior's the noise may be.
_NOISES = np.geomspace(0.1, 10.0, 41)


@dataclass(frozen=True)
class Verdict:
    """The gain of the chosen networks over the joint run, in the objective's own units.

    Args:
        reached: The gain that was reached on the validation data.
        expected: The gain that networks of these groups are believed to have without luck.
        low: The lower end of its 90 % interval.
        high: The upper end.
        noise: What a network has by luck, as a share of its loss (one standard deviation).
        networks: From how many trained networks that was estimated.
    """

    reached: float
    expected: float
    low: float
    high: float
    noise: float
    networks: int

    @property
    def told_from_luck(self) -> bool:
        """Whether the interval is above 0."""
        return self.low > 0

    def __str__(self) -> str:
        if not self.reached > 0:
            return "No networks were found that are better than the joint run."
        told = "more than luck" if self.told_from_luck else "not told from luck"
        return (
            f"Gain over the joint run, summed over the tasks: {self.reached:.4g} on the validation "
            f"data, {told}. Without the luck of networks it is estimated at {self.expected:.4g}, "
            f"90 % interval {self.low:.4g} to {self.high:.4g}. (Networks trained alike differ by "
            f"{self.noise:.1%} of their loss; estimated from {self.networks} of them.)"
        )


def verdict(
    problem: Problem, affinity: Affinity, outcomes: Sequence[Outcome], grouping: Grouping
) -> Verdict:
    """Return what the chosen networks gain over the joint run.

    Args:
        problem: Tasks and objectives.
        affinity: As measured.
        outcomes: All trainings, the joint run first.
        grouping: The choice among them.
    """
    tasks, weights = problem.tasks, problem.weights
    done = [outcome for outcome in outcomes if outcome.status == "done"]
    joint = done[0].objective
    scales = problem.scales(done)
    shares, member, seen, observed = measured(problem, affinity, done, tasks)
    prior = fitted_noise(_NEUTRAL, seen, observed)
    noise = float(np.hypot(prior.noise, prior.network_noise))

    row_of = {frozenset(outcome.group): row for row, outcome in enumerate(done)}
    chosen = np.zeros(member.shape, bool)
    reached = 0.0
    for column, task in enumerate(tasks):
        row = row_of[frozenset(grouping.groups[grouping.serves[task]])]
        inside = problem.objectives[task].inside
        reached += weights[task] * (inside(joint[task]) - inside(done[row].objective[task]))
        chosen[row, column] = row > 0
    if not chosen.any():
        return Verdict(reached, 0.0, 0.0, 0.0, noise, len(done))
    cells = cells_of(shares, member, chosen)
    mean, spread = believed(prior, seen, observed, cells)
    served = [tasks[column] for column in cells.tasks]
    size = np.array([weights[task] * scales[task].worth(joint[task]) for task in served])
    # A joint run that is unlucky with a task looks like one whose company harms the task. Nothing
    # that was measured tells these two apart, so the joint run's luck counts in full.
    spread += prior.noise**2 * np.eye(len(size)) + prior.network_noise**2
    # How the logarithms are expected to differ where the sum of the gains is at its quantile.
    shift = _QUANTILE * spread @ size / np.sqrt(size @ spread @ size)

    def gain(logarithms: np.ndarray) -> float:
        changes = zip(served, logarithms, strict=True)
        return float(sum(weights[t] * scales[t].gain(joint[t], change) for t, change in changes))

    low, high = gain(mean + shift), gain(mean - shift)
    return Verdict(reached, gain(mean), low, high, noise, len(done))


def measured(
    problem: Problem, affinity: Affinity, done: Sequence[Outcome], tasks: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, Cells, np.ndarray]:
    """Return what the trainings tell of their groups.

    Args:
        problem: Tasks and objectives.
        affinity: As measured.
        done: Trainings that gave a network, the joint run first.
        tasks: The tasks in the order that the arrays shall have.

    Returns:
        `[num_tasks, num_tasks]`, the shares, rows source; `[num_done, num_tasks]`, which network
        has which task; the cells that tell something; `[num_cells]`, their log ratios of losses to
        those of the joint run.
    """
    order = [affinity.tasks.index(task) for task in tasks]
    shares = affinity_shares(usable_affinity(affinity))[np.ix_(order, order)]
    losses = list(problem.losses(done, problem.scales(done)).values())
    gains = log_ratios(tasks, losses, losses[0])
    member = np.isfinite(gains)
    # The joint run's gains are 0 by definition, whatever its luck: they tell nothing of it.
    others = member.copy()
    others[0] = False
    seen = cells_of(shares, member, others)
    return shares, member, seen, gains[seen.groups, seen.tasks]


def believed(
    prior: Prior, seen: Cells, observed: np.ndarray, wanted: Cells
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and covariance of log ratios without luck, after what was seen.

    Args:
        prior: With the noise.
        seen: What was measured.
        observed: `[num_seen]`.
        wanted: Of which networks.
    """
    between = covariance(prior, wanted, seen)
    inverse = np.linalg.inv(covariance(prior, seen, seen) + luck(prior, seen))
    mean = expected(prior, wanted) + between @ inverse @ (observed - expected(prior, seen))
    spread = covariance(prior, wanted, wanted) - between @ inverse @ between.T
    return mean, spread


def fitted_noise(prior: Prior, seen: Cells, observed: np.ndarray) -> Prior:
    """Return the prior with the noise that is most likely, given what was seen.

    Args:
        prior: The rest of it stays.
        seen: What was measured.
        observed: `[num_seen]`.
    """
    if len(observed) < 2:
        return prior
    structure, noise = covariance(prior, seen, seen), luck(prior, seen)
    surprise = observed - expected(prior, seen)

    factor = min(_NOISES, key=lambda level: unlikely(structure, noise, level, surprise))
    return replace(prior, noise=prior.noise * factor, network_noise=prior.network_noise * factor)


def unlikely(structure: np.ndarray, noise: np.ndarray, level: float, surprise: np.ndarray) -> float:
    """Return how unlikely a level of the noise is: -2 times the log likelihood, and a constant.

    Args:
        structure: `[num_cells, num_cells]`, the covariance without luck.
        noise: `[num_cells, num_cells]`, that of luck.
        level: How many times as large luck is.
        surprise: `[num_cells]`: what was seen, less what was expected.
    """
    whole = structure + level**2 * noise
    fit = np.linalg.slogdet(whole)[1] + surprise @ np.linalg.solve(whole, surprise)
    return float(fit + (np.log(level) / _SPREAD_OF_NOISES) ** 2)


def luck(prior: Prior, cells: Cells) -> np.ndarray:
    """Return `[num_cells, num_cells]`, the covariance of what is luck in measured log ratios.

    A ratio has the luck of two networks: its own, and the joint run's, which all ratios share.

    Args:
        prior: With the noise.
        cells: What was measured.
    """
    same_task = cells.tasks[:, None] == cells.tasks
    joint = prior.noise**2 * same_task + prior.network_noise**2
    return noise_covariance(prior, cells) + joint
