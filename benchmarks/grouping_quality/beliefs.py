"""What a search may believe of groups: two variants of `keras_tag`'s gain model.

Both know that a log ratio has the luck of two networks: its own, and the joint run's, which all
ratios of a task share.
"""

import numpy as np

from keras_tag.search.verdict import luck
from keras_tag.selection.few_trainings.gain_model import (
    Cells,
    Prior,
    cells_of,
    covariance,
    expected,
    variance,
)

# How large the effects and the noise of a data set may be, as factors of the prior's; the standard
# deviations of the factors' logarithms.
SIZES, SPREAD_OF_SIZES = np.geomspace(0.125, 4.0, 6), 1.0
NOISES, SPREAD_OF_NOISES = np.geomspace(0.25, 4.0, 5), 0.7
_AS_FITTED = np.ones(1)
# Less likely combinations change no digit that is shown.
_LEAST_SHARE = 1e-3


def predict(
    shares: np.ndarray,
    prior: Prior,
    trained: np.ndarray,
    gains: np.ndarray,
    groups: np.ndarray,
    sizes: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """The mean and standard deviation of the losses that groups would reach.

    Args:
        shares: `[num_tasks, num_tasks]`, rows source: Z[i, j] / Z[j, j].
        prior: Fitted with the joint run's luck.
        trained: `[num_trained, num_tasks]` bool, the joint run first.
        gains: As `trained`: log ratios of losses to those of the joint run, NaN outside a group.
        groups: `[num_groups, num_tasks]` bool.
        sizes: Whether the sizes of effects and noise are unknown.

    Returns:
        Two arrays `[num_groups, num_tasks]` of log ratios; NaN outside a group.
    """
    others = np.isfinite(gains)
    others[0] = False  # 0 by definition, whatever the joint run's luck.
    seen, wanted = cells_of(shares, trained, others), cells_of(shares, groups, groups)
    observed = gains[seen.groups, seen.tasks]
    structure, noise = covariance(prior, seen, seen), luck(prior, seen)
    across, shared = covariance(prior, wanted, seen), _joint_luck(prior, wanted, seen)
    own, level = variance(prior, wanted), 2 * (prior.noise**2 + prior.network_noise**2)
    known, new = expected(prior, seen), expected(prior, wanted)

    models, fits = [], []
    for size in SIZES if sizes else _AS_FITTED:
        for factor in NOISES if sizes else _AS_FITTED:
            whole = size**2 * structure + factor**2 * noise
            surprise = observed - size * known
            inverse = np.linalg.inv(whole)
            fit = (np.log(size) / SPREAD_OF_SIZES) ** 2 + (np.log(factor) / SPREAD_OF_NOISES) ** 2
            fit += np.linalg.slogdet(whole)[1] + surprise @ inverse @ surprise
            models.append((size, factor, inverse, inverse @ surprise))
            fits.append(-fit / 2)
    share = np.exp(np.array(fits) - max(fits))
    share /= share.sum()

    first, second = np.zeros(len(new)), np.zeros(len(new))
    for (size, factor, inverse, weights), part in zip(models, share, strict=True):
        if part < _LEAST_SHARE:
            continue
        between = size**2 * across + factor**2 * shared
        mean = size * new + between @ weights
        left = size**2 * own + factor**2 * level - ((between @ inverse) * between).sum(1)
        first += part * mean
        second += part * (np.maximum(left, 0.0) + mean**2)
    counted = share[share >= _LEAST_SHARE].sum()
    first, second = first / counted, second / counted
    mean, spread = np.full(groups.shape, np.nan), np.full(groups.shape, np.nan)
    mean[wanted.groups, wanted.tasks] = first
    spread[wanted.groups, wanted.tasks] = np.sqrt(np.maximum(second - first**2, 0.0))
    return mean, spread


def _joint_luck(prior: Prior, first: Cells, second: Cells) -> np.ndarray:
    same_task = first.tasks[:, None] == second.tasks
    return prior.noise**2 * same_task + prior.network_noise**2
