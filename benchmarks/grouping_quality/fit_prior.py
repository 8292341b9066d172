"""Fits the prior of `groups_to_train` to the tables: by maximum likelihood, leaving one set out."""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

import numpy as np

from benchmarks.grouping_quality.affinity_table import AffinityTable
from benchmarks.grouping_quality.group_table import GroupTable
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
_START = Prior(0.0, -0.5, *[0.3] * 4, 0.1, 0.1)


@dataclass(frozen=True, eq=False)
class Sample:
    """Trained groups of one seed.

    Args:
        name: The set's, without the trunk size.
        gains: `[num_cells]`: log ratios of validation losses to those of the joint run.
        features: `[num_cells, 2]`: what "stranger" and "friend" are multiplied by.
        parts: `[num_spreads, num_cells, num_cells]`: the covariance for every spread being 1 and
            all others 0: their squares times these make up the whole.
    """

    name: str
    gains: np.ndarray
    features: np.ndarray
    parts: np.ndarray


def samples(name: str, table: GroupTable, affinities: AffinityTable) -> list[Sample]:
    """What a set says about the prior: every seed, by every kind of affinity it has."""
    found = []
    size = table.groups.sum(1)
    rarity = 1 / np.bincount(size)[size]
    for seed in range(table.num_seeds):
        draw = np.random.default_rng(seed)
        rows = draw.choice(len(size), _GROUPS, replace=False, p=rarity / rarity.sum())
        losses = table.validation[seed]
        gains = np.log(losses[rows] / losses[-1])
        for kind in KINDS:
            if kind not in affinities.means:
                continue
            affinity = affinities.means[kind][seed]
            shares = affinity / np.diag(affinity)
            found.append(sample(name, shares, table.groups[rows], gains))
    return found


def sample(name: str, shares: np.ndarray, groups: np.ndarray, gains: np.ndarray) -> Sample:
    """What some trained groups say.

    Args:
        name: The set's.
        shares: `[num_tasks, num_tasks]`, rows source: Z[i, j] / Z[j, j].
        groups: `[num_groups, num_tasks]` bool.
        gains: As `groups`: log ratios of losses to those of the joint run, NaN outside a group.

    Returns:
        The sample.
    """
    cells = cells_of(shares, groups, np.isfinite(gains))
    return Sample(
        name,
        gains[cells.groups, cells.tasks],
        np.stack([cells.company, cells.affinity], 1),
        np.stack([_part(spread, cells) for spread in _SPREADS]),
    )


def fit_prior(chosen: Iterable[Sample]) -> Prior:
    """The prior under which these samples are likeliest.

    Args:
        chosen: The samples.

    Returns:
        The prior, with three digits.
    """
    from scipy.optimize import minimize
    from threadpoolctl import threadpool_limits

    chosen = list(chosen)

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        total, slope = 0.0, np.zeros(len(values))
        squares = np.exp(2 * values[2:])
        for sample in chosen:
            whole = np.tensordot(squares, sample.parts, 1)
            inverse = np.linalg.inv(whole)
            surprise = sample.gains - sample.features @ values[:2]
            weights = inverse @ surprise
            total += (surprise @ weights + np.linalg.slogdet(whole)[1]) / 2
            slope[:2] -= sample.features.T @ weights
            change = inverse - np.outer(weights, weights)
            slope[2:] += squares * (sample.parts * change).sum((1, 2))
        return total / len(chosen), slope / len(chosen)

    spreads = np.log([getattr(_START, spread) for spread in _SPREADS])
    start = np.concatenate([[_START.stranger, _START.friend], spreads])
    with threadpool_limits(1, user_api="blas"):
        # Spreads down to 0.01: of less nothing can be told from the tables.
        bounds = [(None, None)] * 2 + [(np.log(0.01), None)] * len(_SPREADS)
        best = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    values = [*best[:2], *np.exp(best[2:])]
    return Prior(*(round(float(value), 3) for value in values))


def _part(spread: str, cells: Cells) -> np.ndarray:
    nothing = Prior(*[0.0] * len(fields(Prior)))
    only = replace(nothing, **{spread: 1.0})
    return covariance(only, cells, cells) + noise_covariance(only, cells)
