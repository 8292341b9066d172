"""Checks of the affinities that a score reads, and the argument `risk`, which lowers them."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_tag.affinity import Affinity
from keras_tag.affinity.checks import name_pairs
from keras_tag.affinity.standard_errors import SamplingErrors


def check_affinity(affinity: Any) -> Affinity:
    """Check that this is an `Affinity` of at least two tasks.

    Args:
        affinity: Whatever the caller passed.

    Returns:
        The affinity.

    Raises:
        TypeError: Not an `Affinity`; a bare array does not say which way round it is.
        ValueError: A single task.
    """
    if not isinstance(affinity, Affinity):
        raise TypeError(
            "Expected `affinity` to be a keras_tag.Affinity or keras_tag.GroupScores. Received: "
            f"{type(affinity).__name__}. A table does not say whether a row is the task of "
            "the update or of the loss: wrap it, Affinity.from_array(matrix, tasks, "
            "rows='source'), or rows='target' if a row holds what happens to one task's loss."
        )
    if len(affinity.tasks) < 2:
        raise ValueError(
            f"Expected at least two tasks to group. Received: tasks={affinity.tasks}. A single "
            "task is trained by a single network."
        )
    return affinity


def check_measured(affinity: Affinity, score: str) -> None:
    """Check that no pair is unmeasured and, for "members", that the diagonal is positive.

    Args:
        affinity: The affinity.
        score: "members" or "partners".

    Raises:
        ValueError: Names the pairs or tasks, and what to do.
    """
    unmeasured = (affinity.count == 0) & read_by(score, len(affinity.tasks))
    missing = name_pairs(unmeasured, affinity.tasks)
    if missing:
        raise ValueError(
            "Expected every pair of tasks to be measured. Received: an affinity without the "
            f"(source, target) pairs {missing}. Measure with more probes, or leave tasks out with "
            "affinity.subset(tasks)."
        )
    if score == "members":
        diagonal = np.diagonal(affinity.mean)
        bad = {affinity.tasks[i]: float(diagonal[i]) for i in np.flatnonzero(diagonal <= 0)}
        if bad:
            raise ValueError(
                "Expected every task's update to help the task itself, for shares of that are what "
                f"is scored. Received: the diagonal entries {bad}{_measured_at(affinity)}. A step "
                "that is too long overshoots, so that it harms its own task: measure with a "
                "smaller `lookahead_rate` in TAGModel, whose `check` names one. Where the entries "
                "are noise, measure with more probes. Or leave these tasks out with "
                "affinity.subset(tasks); score='partners' does not read the diagonal."
            )


def _measured_at(affinity: Affinity) -> str:
    """Return the rates of the look-ahead steps, for a message; empty if they are not known."""
    found = []
    runs = affinity.metadata.get("runs")
    for run in runs if isinstance(runs, list) else [affinity.metadata]:
        settings = run.get("settings") if isinstance(run, Mapping) else None
        if not isinstance(settings, Mapping):
            continue
        if settings.get("lookahead_rate") is not None:
            found.append(f"lookahead_rate={settings['lookahead_rate']!r}")
        elif settings.get("learning_rate") is not None:
            of = f" of {settings['optimizer']!r}" if settings.get("optimizer") else ""
            text = f"the learning rate{of}, {settings['learning_rate']!r}"
            rate = settings.get("rate")
            if rate is not None and rate != settings["learning_rate"]:
                text = f"the rate {rate:.3g}, as long as a step at {text}"
            found.append(text)
    return f", measured at {' and '.join(dict.fromkeys(found))}" if found else ""


def read_by(score: str, num_tasks: int) -> np.ndarray:
    """Return `[num_tasks, num_tasks]`, which pairs a score reads.

    Args:
        score: "members" reads all; "partners", a mean over the other members, not the diagonal.
        num_tasks: The number of tasks.
    """
    pairs = np.ones((num_tasks, num_tasks), bool)
    if score == "partners":
        np.fill_diagonal(pairs, False)
    return pairs


def affinity_shares(affinity: Affinity) -> np.ndarray:
    """Return A[i, j] = Z[i, j] / Z[j, j], `[num_tasks, num_tasks]`: shares of j's own progress.

    Args:
        affinity: As a `TAGModel` measured it.

    Returns:
        A; rows source, columns target.

    Raises:
        ValueError: Unmeasured pairs, or a diagonal that is not positive.
    """
    check_measured(affinity, "members")
    shares: np.ndarray = affinity.mean / np.diagonal(affinity.mean)
    return shares


def check_risk(risk: Any) -> float:
    """Check that `risk` is a finite number of at least 0.

    Raises:
        ValueError: Anything else.
    """
    number = isinstance(risk, int | float | np.number) and not isinstance(risk, bool)
    if not number or not 0 <= risk < math.inf:
        raise ValueError(
            "Expected `risk`, how many standard errors are taken off every affinity, to be a "
            f"finite number >= 0. Received: risk={risk!r}."
        )
    return float(risk)


def without_error(affinity: Affinity, score: str) -> np.ndarray:
    """Return `[num_tasks, num_tasks]`, where a score reads a pair without a standard error."""
    return np.isnan(affinity.standard_error) & read_by(score, len(affinity.tasks))


def check_errors(affinity: Affinity, name: str, score: str) -> SamplingErrors:
    """Return the standard errors, if every pair that the score reads has one.

    Args:
        affinity: The affinity.
        name: What asks for them, for the message.
        score: "members" or "partners".

    Returns:
        The errors.

    Raises:
        ValueError: Errors that are missing.
    """
    unknown = without_error(affinity, score)
    if affinity.errors is None or unknown.any():
        missing = name_pairs(unknown, affinity.tasks)
        which = "all pairs" if unknown.all() else f"the (source, target) pairs {missing}"
        raise ValueError(
            f"Expected standard errors of the affinities for `{name}`. Received: none for {which}. "
            "They come with tag.affinity() after at least 8 probes of each pair, and with "
            "Affinity.combine of at least two runs; a table has none."
        )
    return affinity.errors


def pessimistic(affinity: Affinity, score: str, risk: float) -> np.ndarray:
    """Return the affinities less so many standard errors.

    Under "partners" that is Z[i, j] - risk * error(Z[i, j]). "members" reads Z[i, j] / Z[j, j], and
    what is taken off is the error of that ratio (delta method), in which an error that both have
    in common cancels. The diagonal stays.

    Args:
        affinity: With standard errors.
        score: "members" or "partners".
        risk: How many standard errors.

    Returns:
        `[num_tasks, num_tasks]`, rows = source, columns = target.
    """
    if not risk:
        return affinity.mean
    errors = check_errors(affinity, "risk", score)
    error, own = errors.standard_error, np.diagonal(errors.standard_error)
    variance = error**2
    if score == "members":
        ratio = affinity.mean / np.diagonal(affinity.mean)
        diagonal = np.diagonal(errors.pieces, axis1=1, axis2=2)
        together = (errors.pieces * diagonal[:, None, :]).sum(axis=0)
        norm = np.sqrt((errors.pieces**2).sum(axis=0) * (diagonal**2).sum(axis=0))
        correlation = np.divide(together, norm, out=np.zeros(norm.shape), where=norm > 0)
        variance = variance + (ratio * own) ** 2 - 2 * ratio * correlation * error * own
    lower = affinity.mean - risk * np.sqrt(np.maximum(variance, 0.0))
    return np.where(np.eye(len(lower), dtype=bool), affinity.mean, lower)
