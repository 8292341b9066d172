"""Inter-task affinity Z[i, j]: rows are sources (whose update), columns targets (whose loss).

This module knows arrays only. It never imports TensorFlow.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_tag.affinity.checks import (
    Rows,
    check_fit,
    check_metadata,
    check_square,
    check_tasks,
    name_pairs,
    source_rows,
)
from keras_tag.affinity.history import AffinityHistory
from keras_tag.affinity.standard_errors import SamplingErrors, t_quantile

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False, repr=False)
class Affinity:
    """How one task's step on the shared weights changes every task's loss.

    `mean[i, j]` is the mean over the probes of `Z[i, j] = 1 - (loss of j after i's update alone) /
    (loss of j before)`: row = source, whose update it was; column = target, whose loss was
    measured. Positive: the update of task i helps task j. The diagonal is a task's own update on
    itself. It has no unit and is not divided by the learning rate.

    Args:
        tasks: The n task names, unique, in the order of rows and columns.
        mean: `[num_tasks, num_tasks]`, rows = source, columns = target. A pair that was never
            measured is NaN.
        count: `[num_tasks, num_tasks]`, how many probes each mean is over; 0 exactly where `mean`
            is NaN. A published table has no counts: 1 stands for "given".
        history: The same over time, where it was measured; None for a table.
        errors: How sure the means are; None where nobody can say (a table).
        between_runs: Whether `mean` is a mean over training runs and its errors say how much runs
            differ (see `combine`); otherwise it is a mean over probes.
        metadata: What it was measured with, as far as that is known: "versions", "seed" and
            "settings" (see `docs/trust.md`); of several runs "runs", a list of these. Plain JSON
            types.

    Raises:
        ValueError: Names that are not unique, shapes that do not fit, infinite values, or counts
            that do not say what the NaNs say.

    Example:
        >>> affinity = Affinity.from_array(
        ...     [[0.5, 0.1], [-0.2, 0.4]], tasks=["depth", "edges"], rows="source")
        >>> float(affinity.mean[0, 1])  # what an update for "depth" does to the loss of "edges"
        0.1

    Reference:
        Fifty et al., "Efficiently Identifying Task Groupings for Multi-Task Learning", NeurIPS
        2021, arXiv:2109.04617, section 3.1, equation 2.
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
        if ((count == 0) != np.isnan(mean)).any() or (count < 0).any():
            raise ValueError(
                "Expected `count` to be 0 exactly where `mean` is NaN (unmeasured), and positive "
                f"elsewhere. They disagree for (source, target): "
                f"{name_pairs(((count == 0) != np.isnan(mean)) | (count < 0), tasks)}."
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

    @classmethod
    def from_history(cls, tasks: Sequence[str], history: AffinityHistory) -> "Affinity":
        """The mean over all the probes of a history, which it keeps.

        Args:
            tasks: The task names, in the order of the history's rows and columns.
            history: Sums over blocks of probes.

        Returns:
            An `Affinity`.
        """
        from keras_tag.affinity.pooling import mean_of_history

        return mean_of_history(tuple(tasks), history, slice(None), None, between_runs=False)

    @classmethod
    def from_array(cls, matrix: Any, tasks: Sequence[str], *, rows: Rows) -> "Affinity":
        """Read a table of affinities.

        Args:
            matrix: `[num_tasks, num_tasks]`, anything `numpy.asarray` takes. NaN marks a pair
                that was not measured.
            tasks: The task names, in the order of the table's rows and columns.
            rows: What a row of the *given* table is: "source" (whose update) or "target" (whose
                loss). Published tables come either way, so there is no default.

        Returns:
            An `Affinity`, always with rows = source.

        Raises:
            ValueError: See the class; also a `rows` that is neither.
        """
        tasks = check_tasks(tasks)
        mean = check_square("matrix", matrix, len(tasks), np.float64)
        mean = source_rows(mean, rows)
        return cls(tasks, mean, np.where(np.isnan(mean), 0, 1))

    @classmethod
    def from_frame(cls, frame: "pd.DataFrame", *, rows: Rows) -> "Affinity":
        """Read a square `pandas.DataFrame` whose index and columns both hold the task names.

        Args:
            frame: The table; its columns may be in another order than its index, which gives the
                order of the tasks.
            rows: "source" or "target", see `from_array`.

        Returns:
            An `Affinity`.

        Raises:
            ValueError: Index and columns that do not hold the same names, and see the class.
        """
        index, columns = list(frame.index), list(frame.columns)
        if set(index) != set(columns) or len(set(columns)) != len(columns):
            raise ValueError(
                "Expected the frame's index and columns to hold the same task names. Received: "
                f"index={index}, columns={columns}."
            )
        return cls.from_array(frame[index].to_numpy(dtype=np.float64), index, rows=rows)

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Mapping[str, float]], *, rows: Rows) -> "Affinity":
        """Read a nested mapping `{row: {column: value}}`; a missing entry is an unmeasured pair.

        Args:
            mapping: One entry per task. The inner mappings may leave out tasks, not add any.
            rows: "source" or "target", what the *outer* key is; see `from_array`.

        Returns:
            An `Affinity`.

        Raises:
            ValueError: An inner name that is no outer one, and see the class.
        """
        tasks = list(mapping)
        for row, entries in mapping.items():
            unknown = sorted(map(str, set(entries) - set(tasks)))
            if unknown:
                raise ValueError(
                    f"Expected every column to be one of the rows {tasks}. Received: row {row!r} "
                    f"with columns {unknown}."
                )
        matrix = [[mapping[row].get(column, np.nan) for column in tasks] for row in tasks]
        return cls.from_array(np.reshape(matrix, (len(tasks), len(tasks))), tasks, rows=rows)

    def subset(self, tasks: Sequence[str]) -> "Affinity":
        """The affinity among some of the tasks, to group these again without retraining.

        Args:
            tasks: Names of tasks, in the order they shall have.

        Returns:
            An `Affinity` of these tasks.

        Raises:
            ValueError: Unknown or repeated names, or none.
        """
        names = check_tasks(tasks)
        unknown = sorted(set(names) - set(self.tasks))
        if unknown:
            raise ValueError(
                f"Expected `tasks` to be some of {list(self.tasks)}. Received: {unknown}."
            )
        index = np.array([self.tasks.index(name) for name in names])
        where = np.ix_(index, index)
        return Affinity(
            names,
            self.mean[where],
            self.count[where],
            None if self.history is None else self.history.take(index),
            None if self.errors is None else self.errors.take(index),
            self.between_runs,
            self.metadata,
        )

    def over(self, epochs: slice = slice(None), *, half_life: float | None = None) -> "Affinity":
        """The affinity over some of the epochs, or with the latest ones weighing most.

        Affinities change while a model learns. The mean over the whole run is the paper's; which
        mean predicts best what grouping will bring, nobody has proven.

        Args:
            epochs: Which epochs, as a slice of the trained epochs in the order of time (over all
                calls of `fit`): `slice(5)` the first five, `slice(-5, None)` the last five. Of
                several runs, of each run.
            half_life: An epoch so many epochs before the last one weighs half as much per probe.
                None: all weigh the same.

        Returns:
            An `Affinity` that keeps the history of these epochs. `count` is of probes, whatever
            they weigh.

        Raises:
            ValueError: No history, no epoch left, or a half-life that is not positive.

        Example:
            >>> late = tag.affinity().over(slice(-10, None))
        """
        from keras_tag.affinity.pooling import mean_of_history

        if self.history is None:
            raise ValueError(
                "Expected an affinity with a history. Received: one without, as tables are and "
                "files that were saved before histories were."
            )
        if not isinstance(epochs, slice):
            raise ValueError(f"Expected `epochs` to be a slice. Received: epochs={epochs!r}.")
        if half_life is not None and not 0 < half_life < np.inf:
            raise ValueError(
                f"Expected `half_life` to be a positive number of epochs. Received: {half_life!r}."
            )
        part = mean_of_history(self.tasks, self.history, epochs, half_life, self.between_runs)
        return replace(part, metadata=self.metadata)

    def merge(self, other: "Affinity") -> "Affinity":
        """Both measurements in one: tasks of either, pairs measured twice averaged by count.

        For tasks that were added later: train their heads on the trained trunk with a `TAGModel`,
        and merge what it measured with the old affinity. For several runs of the same tasks,
        `combine` says how much runs differ; the errors here are those of sampling probes in the
        given runs.

        Args:
            other: Another affinity, of the same tasks or of others.

        Returns:
            An `Affinity` of the tasks of `self`, then those only `other` has. A pair that neither
            measured is NaN. Its history has the blocks of both, as runs of their own, if both
            have one over probes.

        Raises:
            ValueError: They are of different look-ahead kinds.
        """
        from keras_tag.affinity.pooling import merge

        return merge(self, other)

    @classmethod
    def combine(cls, affinities: Sequence["Affinity"]) -> "Affinity":
        """The mean over several training runs, with errors that say how much runs differ.

        A pair's mean is the mean of the runs' means, every run weighing the same. Its standard
        error is the standard deviation of the runs' means over the root of their number: probes
        are only some of the batches, and a run is only one of many seeds; both are in it. With R
        runs it has R - 1 degrees of freedom, and intervals take that into account: two runs say
        little about how much runs differ.

        Args:
            affinities: At least two, of independent runs (other seeds). Tasks may come in any
                order, and a run may lack some of them.

        Returns:
            An `Affinity` of the union of the tasks. Where fewer than two runs measured a pair, its
            standard error is NaN. Its metadata has the runs'.

        Raises:
            ValueError: Fewer than two, or of different look-ahead kinds. Other settings that
                differ (rate, optimizer, losses, batch size) are warned about.

        Example:
            >>> one = Affinity.from_array([[1.0, 0.2], [0.1, 1.0]], ["a", "b"], rows="source")
            >>> two = Affinity.from_array([[1.0, 0.4], [0.1, 1.0]], ["a", "b"], rows="source")
            >>> both = Affinity.combine([one, two])
            >>> round(float(both.mean[0, 1]), 6), round(float(both.standard_error[0, 1]), 6)
            (0.3, 0.1)
        """
        from keras_tag.affinity.pooling import combine

        return combine(affinities)

    @property
    def standard_error(self) -> np.ndarray:
        """`[num_tasks, num_tasks]`, of `mean`; NaN where too few probes, or runs, can say.

        How it is found and what it is the error of: see `keras_tag.affinity.standard_errors`.
        """
        if self.errors is None:
            return np.full(self.mean.shape, np.nan)
        return self.errors.standard_error

    def interval(self, confidence: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Between which values the affinities are, by Student's t.

        Args:
            confidence: How often such intervals shall cover what they estimate, in (0, 1).

        Returns:
            Lower and upper ends, `[num_tasks, num_tasks]` each; NaN where there is no standard
            error.

        Raises:
            ValueError: A `confidence` outside of (0, 1).
        """
        if not 0 < confidence < 1:
            raise ValueError(f"Expected 0 < `confidence` < 1. Received: {confidence!r}.")
        if self.errors is None:
            return self.standard_error, self.standard_error
        reach = t_quantile(confidence, self.errors.freedom) * self.standard_error
        return self.mean - reach, self.mean + reach

    def to_frame(self, *, long: bool = False, by_epoch: bool = False) -> "pd.DataFrame":
        """The means as a `pandas.DataFrame`.

        Args:
            long: One row per pair, with the columns "source", "target", "mean", "standard_error"
                and "count", instead of a square of means.
            by_epoch: With `long`, one row per pair and epoch; more columns: "run", "row" (the how
                many-eth epoch of it, from 0) and "epoch" (its number in `fit`).

        Returns:
            A square frame of float64 (index "source", columns "target"), or a long one.

        Raises:
            ValueError: `by_epoch` without `long`, or without a history.
        """
        from keras_tag.affinity.tables import epochs_frame, long_frame, square_frame

        if by_epoch and (not long or self.history is None):
            raise ValueError(
                "Expected `long=True` and an affinity with a history for `by_epoch=True`. "
                f"Received: long={long}, {'no' if self.history is None else 'a'} history."
            )
        if by_epoch:
            return epochs_frame(self)
        return long_frame(self) if long else square_frame(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one `.npz` file (no pickle), atomically: a crash leaves the old file or the new.

        Args:
            path: Where to. The name is taken as it is.

        Raises:
            FileNotFoundError: The folder does not exist.
        """
        from keras_tag.affinity.npz_file import save

        save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Affinity":
        """Read what `save` wrote, also in an earlier version. Never executes code from the file.

        Args:
            path: The file.

        Returns:
            The `Affinity`, bit-identical to the saved one.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: The file is not an affinity, is damaged, or is of a newer format.
        """
        from keras_tag.affinity.npz_file import load

        return load(path)

    @property
    def unmeasured(self) -> list[tuple[str, str]]:
        """The (source, target) pairs that no probe has measured."""
        return name_pairs(self.count == 0, self.tasks)

    def __repr__(self) -> str:
        most = int(self.count.max(initial=0))
        header = f"Affinity of {len(self.tasks)} tasks, {most} probe{'s' * (most != 1)}"
        if self.unmeasured:
            header += f", {len(self.unmeasured)} pairs unmeasured"
        if np.isfinite(self.standard_error).any():
            header += f", standard errors about {np.nanmedian(self.standard_error):.2g}"
        return f"{header} (rows: source, columns: target)\n{self.to_frame().to_string()}"

    def _repr_html_(self) -> str:
        from keras_tag.notebook_html import affinity_html

        return affinity_html(self)
