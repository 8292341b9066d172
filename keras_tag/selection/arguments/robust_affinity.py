"""The argument `risk`: affinities less a multiple of their standard errors."""

import math
from typing import Any

import numpy as np

from keras_tag.affinity import Affinity
from keras_tag.affinity.standard_errors import SamplingErrors


def check_risk(risk: Any) -> float:
    """A finite number of at least 0.

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


def check_errors(affinity: Affinity, name: str, score: str) -> SamplingErrors:
    """The standard errors, if every pair that the score reads has one.

    Args:
        affinity: The affinity.
        name: What asks for them, for the message.
        score: "members" or "partners".

    Returns:
        The errors.

    Raises:
        ValueError: Errors that are missing.
    """
    unknown = np.isnan(affinity.standard_error)
    if score == "partners":
        unknown &= ~np.eye(len(unknown), dtype=bool)
    if affinity.errors is None or unknown.any():
        missing = [
            (affinity.tasks[i], affinity.tasks[j])
            for i, j in zip(*np.nonzero(unknown), strict=True)
        ]
        which = "all pairs" if unknown.all() else f"the (source, target) pairs {missing}"
        raise ValueError(
            f"Expected standard errors of the affinities for `{name}`. Received: none for {which}. "
            "They come with tag.affinity() after at least 8 probes of each pair, and with "
            "Affinity.combine of at least two runs; a table has none."
        )
    return affinity.errors


def pessimistic(affinity: Affinity, score: str, risk: float) -> np.ndarray:
    """What every affinity is at least worth, in the sense of so many standard errors.

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
