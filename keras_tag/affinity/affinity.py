"""Inter-task affinity Z[i, j]: rows are sources (whose update), columns targets (whose loss).

This module knows arrays only. It never imports TensorFlow.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_tag.affinity import npz_file, pooling
from keras_tag.affinity.checks import Rows, check_square, check_tasks, source_rows
from keras_tag.affinity.history import AffinityHistory
from keras_tag.affinity.measurement import Measurement, power_of_ten
from keras_tag.affinity.standard_errors import SamplingErrors, t_quantile

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False, repr=False)
class Affinity(Measurement):
    """Inter-task affinities: how one task's update of the shared weights changes each task's loss.

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
        history: The affinities over time, where they were measured; None for a table.
        errors: The standard errors of the means; None where they are unknown (a table).
        between_runs: Whether `mean` is a mean over training runs and `errors` are about how much
            runs differ (see `combine`); otherwise it is a mean over probes.
        metadata: What it was measured with, as far as that is known: "versions", "seed" and
            "settings" (see `docs/trust.md`); of several runs "runs", a list of these. Plain JSON
            types.

    Raises:
        ValueError: Names that are not unique, shapes that do not fit, infinite values, or counts
            that contradict the NaNs of `mean`.

    Example:
        >>> affinity = Affinity.from_array(
        ...     [[0.5, 0.1], [-0.2, 0.4]], tasks=["depth", "edges"], rows="source")
        >>> float(affinity.mean[0, 1])  # what an update for "depth" does to the loss of "edges"
        0.1

    Reference:
        Fifty et al., "Efficiently Identifying Task Groupings for Multi-Task Learning", NeurIPS
        2021, arXiv:2109.04617, section 3.1, equation 2.
    """

    @classmethod
    def _of(cls, measurement: Measurement) -> "Affinity":
        return cls(**{part.name: getattr(measurement, part.name) for part in fields(measurement)})

    @classmethod
    def from_history(cls, tasks: Sequence[str], history: AffinityHistory) -> "Affinity":
        """Return the mean over all the probes of a history, and keep the history.

        Args:
            tasks: The task names, in the order of the history's rows and columns.
            history: Sums over blocks of probes.

        Returns:
            An `Affinity`.
        """
        return cls._of(pooling.mean_of_history(tuple(tasks), history))

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
            mapping: One entry per task. The inner mappings may leave out tasks, but not add any.
            rows: "source" or "target", what the *outer* key is; see `from_array`.

        Returns:
            An `Affinity`.

        Raises:
            ValueError: An inner name that is not an outer one, and see the class.
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
        """Return the affinity among some of the tasks, to group these again without retraining.

        Args:
            tasks: Names of tasks, in the order that the result shall have.

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
        return replace(
            self,
            tasks=names,
            mean=self.mean[where],
            count=self.count[where],
            history=None if self.history is None else self.history.take(index),
            errors=None if self.errors is None else self.errors.take(index),
        )

    def over(self, epochs: slice) -> "Affinity":
        """Return the affinity over some of the epochs.

        Affinities change while a model learns. The paper takes the mean over the whole run. It is
        not known which mean predicts the gain of a grouping best.

        Args:
            epochs: Which epochs, as a slice of the trained epochs in the order of time (over all
                calls of `fit`): `slice(5)` the first five, `slice(-5, None)` the last five. If
                several runs were pooled, the slice is taken of each run.

        Returns:
            An `Affinity` that keeps the history of these epochs.

        Raises:
            ValueError: No history, or no epoch left.

        Example:
            >>> late = tag.affinity().over(slice(-10, None))
        """
        history = self._known_history()
        if not isinstance(epochs, slice):
            raise ValueError(f"Expected `epochs` to be a slice. Received: epochs={epochs!r}.")
        part = pooling.mean_of_history(self.tasks, history, epochs, between_runs=self.between_runs)
        return self._of(replace(part, metadata=self.metadata))

    def _known_history(self) -> AffinityHistory:
        if self.history is None:
            raise ValueError(
                "Expected an affinity with a history. Received: one without. Tables have none, nor "
                "do files of the first versions."
            )
        return self.history

    def merge(self, *others: "Affinity") -> "Affinity":
        """Pool several measurements: a pair's mean is that over all the probes of any of them.

        Use it for tasks that were added later: train their heads on the trained trunk with a
        `TAGModel`, and merge what it measured with the old affinity. For several runs of the same
        tasks, `combine` says how much runs differ; the errors here are those of sampling probes in
        the given runs.

        Args:
            *others: Other affinities, of the same tasks or of others.

        Returns:
            An `Affinity` of the tasks of `self`, then those that only others have. A pair that
            none of them measured is NaN. Its history has the blocks of all, as runs of their own,
            if all have one over probes.

        Raises:
            ValueError: They are of different look-ahead kinds.
        """
        if not others:
            return self
        return self._of(pooling.merge([self, *others]))

    @classmethod
    def combine(cls, affinities: Sequence["Affinity"]) -> "Affinity":
        """Return the mean over several training runs, with errors that say how much runs differ.

        A pair's mean is the mean of the runs' means, every run weighing the same. Its standard
        error is the standard deviation of the runs' means over the root of their number. It covers
        both sources of chance: only some batches were probed, and a run has one of many seeds. With
        R runs it has R - 1 degrees of freedom, and intervals take that into account: two runs say
        little about how much runs differ.

        Args:
            affinities: At least two, of independent runs (other seeds). Tasks may come in any
                order, and a run may lack some of them.

        Returns:
            An `Affinity` of the union of the tasks. Where fewer than two runs measured a pair, its
            standard error is NaN. Its metadata holds those of the runs.

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
        return cls._of(pooling.combine(affinities))

    def interval(self, confidence: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Return confidence intervals of the affinities, by Student's t.

        Args:
            confidence: The share of such intervals that shall cover what they estimate, in
                (0, 1).

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

    def to_frame(self) -> "pd.DataFrame":
        """Return the means as a square `pandas.DataFrame`.

        Returns:
            `[num_tasks, num_tasks]` float64: index "source", columns "target".
        """
        import pandas as pd

        sources, targets = (pd.Index(self.tasks, name=name) for name in ("source", "target"))
        return pd.DataFrame(self.mean, index=sources, columns=targets)

    def to_long_frame(self) -> "pd.DataFrame":
        """Return a `pandas.DataFrame` with one row per pair.

        Returns:
            `num_tasks**2` rows with the columns "source", "target", "mean", "standard_error" and
            "count".
        """
        import pandas as pd

        return pd.DataFrame(
            {
                "source": [task for task in self.tasks for _ in self.tasks],
                "target": list(self.tasks) * len(self.tasks),
                "mean": self.mean.ravel(),
                "standard_error": self.standard_error.ravel(),
                "count": self.count.ravel(),
            }
        )

    def to_epoch_frame(self) -> "pd.DataFrame":
        """Return a `pandas.DataFrame` with one row per pair and epoch.

        Returns:
            The columns of `to_long_frame` and, before them, "run" (0 unless several runs were
            pooled), "row" (the run's epochs with probes, counted from 0) and "epoch" (the epoch's
            number in its call of `fit`).

        Raises:
            ValueError: The affinity has no history.
        """
        import pandas as pd

        history = self._known_history()
        frames = []
        for run, row in np.unique(np.stack([history.run, history.row], axis=1), axis=0):
            part = history.part((history.run == run) & (history.row == row))
            errors = SamplingErrors.of_run(part)
            frame = Affinity(self.tasks, *part.mean(), errors=errors).to_long_frame()
            for place, name in enumerate(("run", "row", "epoch")):
                frame.insert(place, name, int(getattr(part, name)[0]))
            frames.append(frame)
        return pd.concat(frames, ignore_index=True)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one `.npz` file (no pickle), atomically: a crash leaves the old file or the new.

        Args:
            path: Where to. The name is taken as it is.

        Raises:
            FileNotFoundError: The folder does not exist.
        """
        npz_file.save(self, path)

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
        return cls._of(npz_file.load(path))

    def _describe(self) -> str:
        most, unit = int(self.count.max(initial=0)), power_of_ten(self.mean)
        text = f"Affinity of {len(self.tasks)} tasks" + f" in units of 1e{unit}" * (unit != 0)
        text += f", {most} probe{'s' * (most != 1)}"
        if self.unmeasured:
            text += f", {len(self.unmeasured)} pairs unmeasured"
        if np.isfinite(self.standard_error).any():
            middle = np.nanmedian(self.standard_error) / 10.0**unit
            text += f", standard errors about {middle:.2g}"
        return f"{text} (rows: source, columns: target)"

    def __repr__(self) -> str:
        table: str = self._shown().to_string(na_rep="-", float_format="{:.2f}".format)
        return f"{self._describe()}\n{table}"

    def _repr_html_(self) -> str:
        # Written out, 200 tasks would be a megabyte in a notebook.
        table: str = self._shown().to_html(
            na_rep="-", float_format="{:.2f}".format, max_rows=20, max_cols=20
        )
        return f"<p>{self._describe()}</p>{table}"

    def _shown(self) -> "pd.DataFrame":
        # 0 is added so that none is shown as -0.00.
        return (self.to_frame() / 10.0 ** power_of_ten(self.mean)).round(2) + 0.0
