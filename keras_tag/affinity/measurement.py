"""`Measurement`: the arrays of an affinity and what must hold of them.

This module knows arrays only. It never imports TensorFlow.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from keras_tag.affinity.checks import (
    check_fit,
    check_metadata,
    check_square,
    check_tasks,
    name_pairs,
)
from keras_tag.affinity.history import AffinityHistory
from keras_tag.affinity.standard_errors import SamplingErrors


@dataclass(frozen=True, eq=False, repr=False)
class Measurement:
    """Mean affinities between n tasks, with what is known of how they were measured.

    `Affinity` is a measurement with methods. The modules that pool, tabulate and store affinities
    take and return measurements, so they need no `Affinity`.

    Args:
        tasks, mean, count, history, errors, between_runs, metadata: See `Affinity`.

    Raises:
        ValueError: See `Affinity`.
    """

    tasks: tuple[str, ...]
    mean: np.ndarray
    count: np.ndarray
    history: AffinityHistory | None = None
    errors: SamplingErrors | None = None
    between_runs: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        tasks = check_tasks(self.tasks)
        mean = check_square("mean", self.mean, len(tasks), np.float64)
        count = check_square("count", self.count, len(tasks), np.int64)
        if np.isinf(mean).any():
            pairs = name_pairs(np.isinf(mean), tasks)
            raise ValueError(
                f"Expected affinities to be finite (or NaN where unmeasured). Received infinite "
                f"values for (source, target): {pairs}."
            )
        contradicts = ((count == 0) != np.isnan(mean)) | (count < 0)
        if contradicts.any():
            raise ValueError(
                "Expected `count` to be 0 exactly where `mean` is NaN (unmeasured), and positive "
                f"elsewhere. They disagree for (source, target): {name_pairs(contradicts, tasks)}."
            )
        if self.history is not None:
            check_fit("history", self.history.total, tasks)
        if self.errors is not None:
            check_fit("errors", self.errors.pieces, tasks)
        mean.setflags(write=False)
        count.setflags(write=False)
        object.__setattr__(self, "tasks", tasks)
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "count", count)
        object.__setattr__(self, "metadata", check_metadata(self.metadata))

    @property
    def standard_error(self) -> np.ndarray:
        """`[num_tasks, num_tasks]`, of `mean`; NaN where too few probes or runs were made.

        `docs/trust.md` says how it is estimated, and of what.
        """
        if self.errors is None:
            return np.full(self.mean.shape, np.nan)
        return self.errors.standard_error

    @property
    def unmeasured(self) -> list[tuple[str, str]]:
        """The (source, target) pairs that no probe has measured."""
        return name_pairs(self.count == 0, self.tasks)


def largest_effect(mean: np.ndarray) -> float:
    """Return the largest size between different tasks, or on the diagonal if all of these are 0."""
    off_diagonal = np.abs(mean[~np.eye(len(mean), dtype=bool)])
    sizes = off_diagonal if np.nanmax(off_diagonal, initial=0.0) > 0 else np.abs(mean)
    return float(np.nanmax(sizes, initial=0.0))


def power_of_ten(mean: np.ndarray) -> int:
    """Return the power of ten in units of which affinities are shown with two decimals."""
    exponent = math.floor(math.log10(largest_effect(mean) or 1.0))
    # From 0.1 to 999 plain numbers are easier to read.
    return 0 if -1 <= exponent <= 2 else max(exponent, -300)
