"""`Measurement`: the arrays of an affinity and what must hold of them.

This module knows arrays only. It never imports TensorFlow.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from keras_tag.affinity.checks import (
    check_fit,
    check_losses,
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
        tasks: The n task names, unique, in the order of rows and columns.
        mean: `[num_tasks, num_tasks]`, rows = source, columns = target. A pair that was never
            measured is NaN.
        count: `[num_tasks, num_tasks]`, how many probes each mean is over; 0 exactly where `mean`
            is NaN. A published table has no counts: 1 stands for "given".
        history: The affinities over time, where they were measured; None for a table.
        errors: The standard errors of the means; None where they are unknown (a table).
        between_runs: Whether `mean` is a mean over training runs and `errors` are about how much
            runs differ (see `Affinity.combine`); otherwise it is a mean over probes.
        metadata: What it was measured with, as far as that is known: "versions", "seed" and
            "settings" (see `docs/trust.md`); of several runs "runs", a list of these. Plain JSON
            types.
        losses: `[num_tasks]`, the mean loss of each task before the look-aheads; NaN where it is
            unknown. None if no loss is known (a table).

    Raises:
        ValueError: Names that are not unique, shapes that do not fit, infinite values, or counts
            that contradict the NaNs of `mean`.
    """

    tasks: tuple[str, ...]
    mean: np.ndarray
    count: np.ndarray
    history: AffinityHistory | None = None
    errors: SamplingErrors | None = None
    between_runs: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict)
    losses: np.ndarray | None = None

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
        if self.losses is not None:
            object.__setattr__(self, "losses", check_losses(self.losses, tasks))
        mean.setflags(write=False)
        count.setflags(write=False)
        object.__setattr__(self, "tasks", tasks)
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "count", count)
        object.__setattr__(self, "metadata", check_metadata(self.metadata))

    @property
    def standard_error(self) -> np.ndarray:
        """`[num_tasks, num_tasks]`, of `mean`; NaN where too few probes or runs were made.

        How it is estimated, and of what: see `keras_tag.affinity.standard_errors`.
        """
        if self.errors is None:
            return np.full(self.mean.shape, np.nan)
        return self.errors.standard_error

    @property
    def unmeasured(self) -> list[tuple[str, str]]:
        """The (source, target) pairs that no probe has measured."""
        return name_pairs(self.count == 0, self.tasks)
