"""A Gaussian model of a task's loss in a group, from affinities and from trained groups.

`Prior` has its formula. All terms are Gaussian, so that a trained group changes what is believed
about all others, in closed form.

This module knows arrays only. It never imports TensorFlow.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Prior:
    """What `groups_to_train` believes about the losses of groups before any is trained.

    With Z the affinities and A[i, j] = Z[i, j] / Z[j, j], task j in group S is taken to reach

        log(loss of j in S / loss of j in the joint run) = mean over i in S of T[i, j]
                                                         - mean over all tasks i of T[i, j] + noise
        T[j, j] = 0,    T[i, j] = a + a_j + b A[i, j] + e[i, j]    for i != j

    T[i, j] is what training with i costs j. Its mean over the group is the form of the score
    "members". `a` is what an unrelated task costs on these data (below 0 where any task helps
    against overfitting), `a_j` how much more or less that is for j, `b` what affinity is worth, and
    `e` what affinity does not see.

    The defaults were fitted to all seven families of sets of `benchmarks/grouping_quality` by
    maximum likelihood: digits (overlaid and plain), planted tasks, Tox21, MNIST images, water
    quality, employment and side effects.

    Args:
        stranger: The mean of `a`.
        friend: The mean of `b`: how much less a task costs for every unit of A.
        stranger_spread: The standard deviation of `a`, one number for a data set.
        friend_spread: That of `b`.
        task_spread: That of `a_j`.
        pair_spread: That of `e[i, j]`.
        network_noise: The standard deviation of the noise that all tasks of a network share.
        noise: The standard deviation of the noise of a single task, as between runs with different
            initial weights.
    """

    stranger: float = 0.342
    friend: float = -0.782
    stranger_spread: float = 0.481
    friend_spread: float = 0.72
    task_spread: float = 0.619
    pair_spread: float = 0.368
    network_noise: float = 0.046
    noise: float = 0.094


@dataclass(frozen=True, eq=False)
class Cells:
    """The (group, task) pairs in the form that the model reads.

    Args:
        groups: `[num_cells]`: which group, by number.
        tasks: `[num_cells]`: which of its tasks.
        partners: `[num_cells, num_tasks]`: every other task's share of the group, less its share
            of all tasks; 0 at the task itself.
        company: `[num_cells]`: the sum of `partners`.
        affinity: `[num_cells]`: the sum of `partners` times A.
    """

    groups: np.ndarray
    tasks: np.ndarray
    partners: np.ndarray
    company: np.ndarray
    affinity: np.ndarray


class GainModel:
    """The posterior distribution of the losses of every group, given trained groups.

    Args:
        shares: `[num_tasks, num_tasks]`, rows source: A. The diagonal is not read.
        prior: The prior distribution.
        trained: `[num_groups, num_tasks]` bool.
        gains: `[num_groups, num_tasks]`: log ratios of losses to those of the joint run, NaN
            where a task was not measured.
    """

    def __init__(
        self, shares: np.ndarray, prior: Prior, trained: np.ndarray, gains: np.ndarray
    ) -> None:
        self._shares, self._prior = shares, prior
        self._seen = seen = cells_of(shares, trained, np.isfinite(gains))
        self._inverse = np.linalg.inv(covariance(prior, seen, seen) + noise_covariance(prior, seen))
        surprise = gains[seen.groups, seen.tasks] - expected(prior, seen)
        self._weights = self._inverse @ surprise

    def predict(self, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean and standard deviation of the losses that groups would reach.

        Args:
            groups: `[num_groups, num_tasks]` bool.

        Returns:
            Two arrays `[num_groups, num_tasks]` of log ratios; NaN outside a group.
        """
        mean = np.full(groups.shape, np.nan)
        spread = mean.copy()
        noise = self._prior.network_noise**2 + self._prior.noise**2
        for task in range(groups.shape[1]):
            wanted = np.zeros(groups.shape, bool)
            wanted[:, task] = groups[:, task]
            cells = cells_of(self._shares, groups, wanted)
            mean[cells.groups, task], variance = self._given_seen(cells)
            spread[cells.groups, task] = np.sqrt(variance + noise)
        return mean, spread

    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean and standard deviation of T, `[num_tasks, num_tasks]`, rows source."""
        size = len(self._shares)
        mean, spread = np.zeros((size, size)), np.zeros((size, size))
        for task in range(size):
            others = np.flatnonzero(np.arange(size) != task)
            target = np.full(size - 1, task)
            cells = Cells(
                others, target, np.eye(size)[others], np.ones(size - 1), self._shares[others, task]
            )
            mean[others, task], variance = self._given_seen(cells)
            spread[others, task] = np.sqrt(variance)
        return mean, spread

    def _given_seen(self, cells: Cells) -> tuple[np.ndarray, np.ndarray]:
        across = covariance(self._prior, cells, self._seen)
        mean = expected(self._prior, cells) + across @ self._weights
        left = variance(self._prior, cells) - ((across @ self._inverse) * across).sum(1)
        return mean, np.maximum(left, 0.0)


def cells_of(shares: np.ndarray, groups: np.ndarray, wanted: np.ndarray) -> Cells:
    """Return the cells of some tasks of some groups.

    Args:
        shares: `[num_tasks, num_tasks]`, rows source: A. The diagonal is not read.
        groups: `[num_groups, num_tasks]` bool.
        wanted: As `groups`: of which members.

    Returns:
        The cells, group by group.
    """
    rows, tasks = np.nonzero(wanted)
    partners = (groups / groups.sum(1, keepdims=True) - 1 / groups.shape[1])[rows]
    partners[np.arange(len(rows)), tasks] = 0.0
    affinity = (partners * shares[:, tasks].T).sum(1)
    return Cells(rows, tasks, partners, partners.sum(1), affinity)


def expected(prior: Prior, cells: Cells) -> np.ndarray:
    """Return `[num_cells]`, the prior mean of the log ratios."""
    return prior.stranger * cells.company + prior.friend * cells.affinity


def variance(prior: Prior, cells: Cells) -> np.ndarray:
    """Return `[num_cells]`, the diagonal of `covariance(prior, cells, cells)`."""
    return (
        (prior.stranger_spread**2 + prior.task_spread**2) * cells.company**2
        + prior.friend_spread**2 * cells.affinity**2
        + prior.pair_spread**2 * (cells.partners**2).sum(1)
    )


def covariance(prior: Prior, first: Cells, second: Cells) -> np.ndarray:
    """Return `[num_first, num_second]`, the prior covariance of cells, without noise."""
    company = np.outer(first.company, second.company)
    affinity = np.outer(first.affinity, second.affinity)
    own = prior.task_spread**2 * company
    own += prior.pair_spread**2 * (first.partners @ second.partners.T)
    own[first.tasks[:, None] != second.tasks] = 0.0
    return own + prior.stranger_spread**2 * company + prior.friend_spread**2 * affinity


def noise_covariance(prior: Prior, cells: Cells) -> np.ndarray:
    """Return `[num_cells, num_cells]`, the covariance of the noise of trained networks."""
    same_network = cells.groups[:, None] == cells.groups
    return prior.network_noise**2 * same_network + prior.noise**2 * np.eye(len(cells.groups))
