"""Means of measurements: over parts of a run, over several measurements, over several runs.

Measurements come in and go out, with the errors, the history and the metadata of the mean.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from keras_tag.affinity.history import AffinityHistory
from keras_tag.affinity.measurement import Measurement
from keras_tag.affinity.standard_errors import SamplingErrors

# Affinities that differ in this setting are different quantities.
_QUANTITY = "lookahead"
# Affinities that differ in one of these are the same quantity, but differ in size.
_SIZE = ("lookahead_rate", "steps", "learning_rate", "optimizer", "batch_size", "missing")


def mean_of_history(
    tasks: tuple[str, ...],
    history: AffinityHistory,
    epochs: slice = slice(None),
    *,
    between_runs: bool = False,
) -> Measurement:
    """Return the mean over some epochs of every run.

    Args:
        tasks: The task names, in the order of the history's rows and columns.
        history: Sums over blocks of probes.
        epochs: Which epochs of each run, see `Affinity.over`.
        between_runs: Whether the runs are pooled by `combine`; otherwise by `merge`.

    Returns:
        The mean, with the history of these epochs.

    Raises:
        ValueError: The slice leaves no probe.
    """
    parts = [
        _mean_of_run(tasks, history.part(history.run == run), epochs)
        for run in range(history.num_runs)
    ]
    if len(parts) == 1:
        return parts[0]
    return combine(parts) if between_runs else merge(parts)


def merge(measurements: Sequence[Measurement]) -> Measurement:
    """Return the mean over the probes of all; see `Affinity.merge`."""
    metadata = _pooled_metadata("merge", [part.metadata for part in measurements])
    parts = _widened(measurements)
    count = np.sum([part.count for part in parts], axis=0)
    # How much each measurement weighs: nothing where it has no probe.
    shares = [np.divide(p.count, count, out=np.zeros(p.mean.shape), where=count > 0) for p in parts]
    weighted = [np.where(s > 0, p.mean, 0.0) * s for s, p in zip(shares, parts, strict=True)]
    mean = np.where(count > 0, np.sum(weighted, axis=0), np.nan)
    history = None
    if all(part.history is not None and not part.between_runs for part in parts):
        history = _as_runs([part.history for part in parts])
    errors = _independent(parts, shares)
    return Measurement(parts[0].tasks, mean, count, history, errors, metadata=metadata)


def combine(measurements: Sequence[Measurement]) -> Measurement:
    """Return the mean over runs, with errors between runs; see `Affinity.combine`."""
    if len(measurements) < 2:
        raise ValueError(
            f"Expected at least two affinities, of independent runs. Received: {len(measurements)}."
        )
    metadata = _pooled_metadata("combine", [part.metadata for part in measurements])
    parts = _widened(measurements)
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
    return Measurement(parts[0].tasks, mean, count, history, errors, True, metadata)


def _mean_of_run(tasks: tuple[str, ...], history: AffinityHistory, epochs: slice) -> Measurement:
    rows = np.unique(history.row)
    part = history.part(np.isin(history.row, rows[epochs]))
    if not part.count.any():
        raise ValueError(
            f"Expected some of the {len(rows)} epochs with probes. Received: epochs={epochs}, "
            "which leaves none."
        )
    alone = replace(part, run=np.zeros_like(part.run))
    return Measurement(tasks, *part.mean(), alone, SamplingErrors.of_run(part))


def _spread_of_probes(parts: list[Measurement], runs: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Return the runs' own pieces, stretched by one factor to how much the runs differ.

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


def _independent(parts: list[Measurement], shares: list[np.ndarray]) -> SamplingErrors | None:
    """Return the errors of a weighted mean of independent measurements (Welch, Satterthwaite)."""
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


def _widened(measurements: Sequence[Measurement]) -> list[Measurement]:
    """Return the same measurements, each with the union of the tasks, in order of appearance."""
    tasks = tuple(dict.fromkeys(task for part in measurements for task in part.tasks))
    return [_widen(part, tasks) for part in measurements]


def _widen(measurement: Measurement, tasks: tuple[str, ...]) -> Measurement:
    if measurement.tasks == tasks:
        return measurement
    index = np.array([tasks.index(task) for task in measurement.tasks])

    def spread(array: np.ndarray, empty: float) -> np.ndarray:
        wide = np.full((*array.shape[:-2], len(tasks), len(tasks)), empty, array.dtype)
        wide[..., index[:, None], index] = array
        return wide

    history, errors = measurement.history, measurement.errors
    if history is not None:
        history = replace(history, total=spread(history.total, 0), count=spread(history.count, 0))
    if errors is not None:
        known = spread(errors.standard_error, np.nan)
        errors = SamplingErrors(known, spread(errors.freedom, 0), spread(errors.pieces, 0))
    mean, count = spread(measurement.mean, np.nan), spread(measurement.count, 0)
    return replace(measurement, tasks=tasks, mean=mean, count=count, history=history, errors=errors)


def _as_runs(histories: Sequence[AffinityHistory | None]) -> AffinityHistory:
    """Return one history of all, in which every run has a number of its own."""
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


def _pooled_metadata(
    how: Literal["combine", "merge"], parts: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return "runs", the metadata of every run; empty if no run has any.

    Settings that one of the runs doesn't know are not compared.

    Raises:
        ValueError: They are of different look-ahead kinds.
    """
    runs = [run for part in parts for run in part.get("runs", [part])]
    if not any(runs):
        return {}
    mixed = _differing(runs)
    if _QUANTITY in mixed:
        raise ValueError(
            f"Expected affinities of one kind for `{how}`: numbers of different kinds have no "
            f"common mean. Received: {_QUANTITY}={mixed[_QUANTITY]}."
        )
    if mixed:
        warnings.warn(
            f"`{how}` of affinities that were measured with different settings: {mixed}. The size "
            "of affinities depends on these settings, so the runs differ by more than chance.",
            stacklevel=4,
        )
    return {"runs": runs}


def _differing(runs: list[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return setting -> its values, where they differ among the runs that know them."""
    found: dict[str, list[Any]] = {}
    for run in runs:
        settings = run.get("settings", {})
        losses = (settings.get("losses") or {}).items()
        compared = {name: settings[name] for name in (_QUANTITY, *_SIZE) if name in settings}
        for name, value in (compared | {f"loss of {task!r}": v for task, v in losses}).items():
            if value not in found.setdefault(name, []):
                found[name].append(value)
    return {name: values for name, values in found.items() if len(values) > 1}
