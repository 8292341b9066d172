"""Fits the prior of `groups_to_train` to the tables by maximum likelihood, without a family."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace

import numpy as np

from benchmarks.grouping_quality.affinity_table import AffinityTable
from benchmarks.grouping_quality.group_table import GroupTable
from keras_tag.search.verdict import luck
from keras_tag.selection.few_trainings.gain_model import (
    Cells,
    Prior,
    cells_of,
    covariance,
    noise_covariance,
)

# Both kinds that users are told of; one prior has to do for both.
KINDS = ("gradient-10", "validation-10")
# So many groups of every seed are looked at: small and large ones alike, and the joint run.
_GROUPS = 12
_SPREADS = tuple(field.name for field in fields(Prior) if field.name not in ("stranger", "friend"))
# Sets of the same data, by how their names begin; any other set is a family of its own.
_FAMILIES = {"overlaid": "digits", "plain": "digits", "planted": "planted"}
_FAMILIES |= {"mnist": "mnist", "sider": "sider"}
_START = Prior(0.0, -0.5, *[0.3] * 4, 0.1, 0.1)


@dataclass(frozen=True, eq=False)
class Sample:
    """Trained groups of one seed.

    Args:
        family: The set's.
        gains: `[num_cells]`: log ratios of validation losses to those of the joint run.
        features: `[num_cells, 2]`: what "stranger" and "friend" are multiplied by.
        parts: `[num_spreads, num_cells, num_cells]`: the covariance for every spread being 1 and
            all others 0: their squares times these make up the whole.
    """

    family: str
    gains: np.ndarray
    features: np.ndarray
    parts: np.ndarray


def family_of(name: str) -> str:
    """The family of a set: those that share their data are left out together."""
    return _FAMILIES.get(name.partition("-")[0].rstrip("0123456789"), name)


def samples(
    name: str, table: GroupTable, affinities: AffinityTable, joint_luck: bool = False
) -> list[Sample]:
    """What a set says about the prior: every seed, by every kind of affinity it has.

    Args:
        name: The set's.
        table: Its groups.
        affinities: Its joint runs.
        joint_luck: Whether the joint run's luck is part of the noise; then its own ratios, 0 by
            definition, say nothing.
    """
    found = []
    size = table.groups.sum(1)
    rarity = 1 / np.bincount(size)[size]
    for seed in range(table.num_seeds):
        draw = np.random.default_rng(seed)
        rows = draw.choice(len(size), _GROUPS, replace=False, p=rarity / rarity.sum())
        if joint_luck:
            rows = rows[size[rows] < len(table.tasks)]
        losses = table.validation[seed]
        gains = np.log(losses[rows] / losses[-1])
        for kind in KINDS:
            if seed >= len(affinities.means.get(kind, ())):
                continue
            affinity = affinities.means[kind][seed]
            shares = affinity / np.diag(affinity)
            found.append(sample(family_of(name), shares, table.groups[rows], gains, joint_luck))
    return found


def sample(
    family: str,
    shares: np.ndarray,
    groups: np.ndarray,
    gains: np.ndarray,
    joint_luck: bool = False,
) -> Sample:
    """What some trained groups say.

    Args:
        family: The set's.
        shares: `[num_tasks, num_tasks]`, rows source: Z[i, j] / Z[j, j].
        groups: `[num_groups, num_tasks]` bool.
        gains: As `groups`: log ratios of losses to those of the joint run, NaN outside a group.
        joint_luck: Whether the joint run's luck is part of the noise.

    Returns:
        The sample.
    """
    cells = cells_of(shares, groups, np.isfinite(gains))
    return Sample(
        family,
        gains[cells.groups, cells.tasks],
        np.stack([cells.company, cells.affinity], 1),
        np.stack(
            [_part(spread, cells, luck if joint_luck else noise_covariance) for spread in _SPREADS]
        ),
    )


def fit_prior(chosen: Iterable[Sample]) -> Prior:
    """The prior under which these samples are likeliest.

    Args:
        chosen: The samples.

    Returns:
        The prior, with three digits.
    """
    return Prior(*(round(float(value), 3) for value in fit_coefficients(chosen)))


def fit_coefficients(chosen: Iterable[Sample]) -> np.ndarray:
    """The coefficients of the samples' features, and then the spreads, that are likeliest.

    Args:
        chosen: The samples; their first features are "stranger" and "friend", others start at 0.

    Returns:
        `[num_features + num_spreads]`.
    """
    from scipy.optimize import minimize
    from threadpoolctl import threadpool_limits

    chosen = list(chosen)
    count = chosen[0].features.shape[1]

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        total, slope = 0.0, np.zeros(len(values))
        squares = np.exp(2 * values[count:])
        for sample in chosen:
            whole = np.tensordot(squares, sample.parts, 1)
            inverse = np.linalg.inv(whole)
            surprise = sample.gains - sample.features @ values[:count]
            weights = inverse @ surprise
            total += (surprise @ weights + np.linalg.slogdet(whole)[1]) / 2
            slope[:count] -= sample.features.T @ weights
            change = inverse - np.outer(weights, weights)
            slope[count:] += squares * (sample.parts * change).sum((1, 2))
        return total / len(chosen), slope / len(chosen)

    spreads = np.log([getattr(_START, spread) for spread in _SPREADS])
    start = np.concatenate([[_START.stranger, _START.friend], np.zeros(count - 2), spreads])
    with threadpool_limits(1, user_api="blas"):
        # Spreads down to 0.01: of less nothing can be told from the tables.
        bounds = [(None, None)] * count + [(np.log(0.01), None)] * len(_SPREADS)
        best = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return np.concatenate([best[:count], np.exp(best[count:])])


def _part(spread: str, cells: Cells, noise: Callable[[Prior, Cells], np.ndarray]) -> np.ndarray:
    nothing = Prior(*[0.0] * len(fields(Prior)))
    only = replace(nothing, **{spread: 1.0})
    return covariance(only, cells, cells) + noise(only, cells)
