"""Means over parts of a run, over measurements of several models, and over several runs."""

from collections.abc import Sequence
from functools import reduce

import numpy as np

from keras_tag.affinity.affinity import Affinity
from keras_tag.affinity.history import AffinityHistory
from keras_tag.affinity.pooled_metadata import pooled_metadata
from keras_tag.affinity.standard_errors import SamplingErrors


def mean_of_history(
    tasks: tuple[str, ...],
    history: AffinityHistory,
    epochs: slice,
    half_life: float | None,
    between_runs: bool,
) -> Affinity:
    """The mean over some epochs of every run; see `Affinity.over`."""
    runs = [history.part(history.run == run) for run in range(history.num_runs)]
    parts = [_mean_of_run(tasks, run, epochs, half_life) for run in runs]
    if len(parts) == 1:
        return parts[0]
    return combine(parts) if between_runs else reduce(merge, parts)


def _mean_of_run(
    tasks: tuple[str, ...], history: AffinityHistory, epochs: slice, half_life: float | None
) -> Affinity:
    rows = np.unique(history.row)[epochs]
    part = history.part(np.isin(history.row, rows))
    if not part.count.any():
        raise ValueError(
            f"Expected some of the {len(np.unique(history.row))} epochs with probes. Received: "
            f"epochs={epochs}, which leaves none."
        )
    weight = np.ones(len(part.row))
    if half_life is not None:
        weight = 0.5 ** ((rows.max() - part.row) / half_life)
    count = part.count.sum(axis=0)
    total = np.tensordot(weight, part.total, axes=1)
    whole = np.tensordot(weight, part.count, axes=1)
    mean = np.divide(total, whole, out=np.full(total.shape, np.nan), where=count > 0)
    part = AffinityHistory(part.row, part.epoch, part.total, part.count, part.probes)
    return Affinity(tasks, mean, count, part, SamplingErrors.of_run(part, weight))


def merge(one: Affinity, two: Affinity) -> Affinity:
    """See `Affinity.merge`."""
    parts = _widened([one, two])
    count = np.sum([part.count for part in parts], axis=0)
    # How much each measurement weighs; where nothing was measured, nothing.
    shares = [np.divide(p.count, count, out=np.zeros(p.mean.shape), where=count > 0) for p in parts]
    weighted = [np.where(s > 0, p.mean, 0.0) * s for s, p in zip(shares, parts, strict=True)]
    mean = np.where(count > 0, np.sum(weighted, axis=0), np.nan)
    history = None
    if all(part.history is not None and not part.between_runs for part in parts):
        history = _as_runs([part.history for part in parts])
    metadata = pooled_metadata("merge", parts)
    errors = _independent(parts, shares)
    return Affinity(parts[0].tasks, mean, count, history, errors, metadata=metadata)


def combine(affinities: Sequence[Affinity]) -> Affinity:
    """See `Affinity.combine`."""
    if len(affinities) < 2:
        raise ValueError(
            f"Expected at least two affinities, of independent runs. Received: {len(affinities)}."
        )
    parts = _widened(affinities)
    count = np.sum([part.count for part in parts], axis=0)
    runs = np.sum([part.count > 0 for part in parts], axis=0)
    means = np.stack([np.where(part.count > 0, part.mean, 0.0) for part in parts])
    mean = np.divide(means.sum(axis=0), runs, out=np.full(count.shape, np.nan), where=runs > 0)
    away = np.stack([np.where(p.count > 0, p.mean - mean, 0.0) for p in parts])
    known = runs > 1
    degrees = np.where(known, runs - 1, 1)
    error = np.sqrt((away**2).sum(axis=0) / (degrees * np.maximum(runs, 1)))
    error = np.where(known, error, np.nan)
    pieces = away / np.sqrt(degrees * np.maximum(runs, 1))
    if all(part.errors is not None for part in parts):
        pieces = _spread_of_probes(parts, runs, error)
    errors = SamplingErrors(error, np.where(known, runs - 1.0, 0.0), np.where(known, pieces, 0.0))
    history = None
    if all(part.history is not None and part.history.num_runs == 1 for part in parts):
        history = _as_runs([part.history for part in parts])
    metadata = pooled_metadata("combine", parts)
    return Affinity(
        parts[0].tasks, mean, count, history, errors, between_runs=True, metadata=metadata
    )


def _spread_of_probes(parts: list[Affinity], runs: np.ndarray, error: np.ndarray) -> np.ndarray:
    """The runs' own pieces, stretched by one factor to how much the runs differ.

    A few runs can't say which pairs err together; their many probes can.
    """
    pieces = np.concatenate(
        [part.errors.pieces / np.maximum(runs, 1) for part in parts if part.errors is not None]
    )
    within = (pieces**2).sum(axis=0)
    seen = (within > 0) & np.isfinite(error)
    stretched: np.ndarray = pieces * (
        np.sqrt(np.mean(error[seen] ** 2 / within[seen])) if seen.any() else 1.0
    )
    return stretched


def _independent(parts: list[Affinity], shares: list[np.ndarray]) -> SamplingErrors | None:
    """Errors of a weighted mean of independent measurements (Welch and Satterthwaite)."""
    if any(part.errors is None for part in parts):
        return None
    variance, squares = np.zeros(shares[0].shape), np.zeros(shares[0].shape)
    pieces = []
    for part, share in zip(parts, shares, strict=True):
        assert part.errors is not None
        used = share > 0
        own = np.where(used, (share * part.errors.standard_error) ** 2, 0.0)
        freedom = np.where(used, part.errors.freedom, 1.0)
        variance += own
        squares += np.divide(own**2, freedom, out=np.full(own.shape, np.nan), where=freedom > 0)
        pieces.append(part.errors.pieces * share)
    measured = np.sum(shares, axis=0) > 0
    known = measured & np.isfinite(variance) & np.isfinite(squares)
    # An error of 0 is what constant affinities have; no freedom can be read from it.
    freedom = np.divide(variance**2, squares, out=np.ones(squares.shape), where=squares > 0)
    return SamplingErrors(
        np.where(known, np.sqrt(variance), np.nan),
        np.where(known, freedom, 0.0),
        np.where(known, np.concatenate(pieces), 0.0),
    )


def _widened(affinities: Sequence[Affinity]) -> list[Affinity]:
    """The same, all with the union of the tasks, in the order in which they first appear."""
    tasks = tuple(dict.fromkeys(task for affinity in affinities for task in affinity.tasks))
    return [_widen(affinity, tasks) for affinity in affinities]


def _widen(affinity: Affinity, tasks: tuple[str, ...]) -> Affinity:
    if affinity.tasks == tasks:
        return affinity
    index = np.array([tasks.index(task) for task in affinity.tasks])

    def spread(array: np.ndarray, empty: float) -> np.ndarray:
        wide = np.full((*array.shape[:-2], len(tasks), len(tasks)), empty, array.dtype)
        wide[..., index[:, None], index] = array
        return wide

    history, errors = affinity.history, affinity.errors
    if history is not None:
        total, count = spread(history.total, 0), spread(history.count, 0)
        history = AffinityHistory(
            history.row, history.epoch, total, count, history.probes, history.run
        )
    if errors is not None:
        errors = SamplingErrors(
            spread(errors.standard_error, np.nan),
            spread(errors.freedom, 0),
            spread(errors.pieces, 0),
        )
    return Affinity(
        tasks,
        spread(affinity.mean, np.nan),
        spread(affinity.count, 0),
        history,
        errors,
        affinity.between_runs,
        affinity.metadata,
    )


def _as_runs(histories: Sequence[AffinityHistory | None]) -> AffinityHistory:
    """One history of all, every run with a number of its own."""
    present = [history for history in histories if history is not None]
    first, runs = 0, []
    for history in present:
        runs.append(history.run + first)
        first += history.num_runs
    joined = {
        name: np.concatenate([getattr(history, name) for history in present])
        for name in ("row", "epoch", "total", "count", "probes")
    }
    return AffinityHistory(**joined, run=np.concatenate(runs))
