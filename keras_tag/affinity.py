"""Inter-task affinity Z[i, j]: rows are sources (whose update), columns targets (whose loss).

This module knows arrays only. It never imports TensorFlow.
"""

import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np

from keras_tag.atomic_files import write_atomically

if TYPE_CHECKING:
    import pandas as pd

Rows = Literal["source", "target"]

_FORMAT = "keras_tag.Affinity"
_FORMAT_VERSION = 1


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

    def __post_init__(self) -> None:
        tasks = _check_tasks(self.tasks)
        mean = _check_square("mean", self.mean, len(tasks), np.float64)
        count = _check_square("count", self.count, len(tasks), np.int64)
        if np.isinf(mean).any():
            pairs = _name_pairs(np.isinf(mean), tasks)
            raise ValueError(
                f"Expected affinities to be finite (or NaN where unmeasured). Received infinite "
                f"values for (source, target): {pairs}."
            )
        if ((count == 0) != np.isnan(mean)).any() or (count < 0).any():
            raise ValueError(
                "Expected `count` to be 0 exactly where `mean` is NaN (unmeasured), and positive "
                f"elsewhere. They disagree for (source, target): "
                f"{_name_pairs(((count == 0) != np.isnan(mean)) | (count < 0), tasks)}."
            )
        mean.setflags(write=False)
        count.setflags(write=False)
        object.__setattr__(self, "tasks", tasks)
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "count", count)

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
        tasks = _check_tasks(tasks)
        mean = _check_square("matrix", matrix, len(tasks), np.float64)
        mean = _source_rows(mean, rows)
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
        names = _check_tasks(tasks)
        unknown = sorted(set(names) - set(self.tasks))
        if unknown:
            raise ValueError(
                f"Expected `tasks` to be some of {list(self.tasks)}. Received: {unknown}."
            )
        where = np.ix_(*[[self.tasks.index(name) for name in names]] * 2)
        return Affinity(names, self.mean[where], self.count[where])

    def merge(self, other: "Affinity") -> "Affinity":
        """Both measurements in one: tasks of either, pairs measured twice averaged by count.

        Args:
            other: Another affinity, of the same tasks or of others.

        Returns:
            An `Affinity` of the tasks of `self`, then those only `other` has. A pair that neither
            measured is NaN.
        """
        tasks = (*self.tasks, *(name for name in other.tasks if name not in self.tasks))
        total = np.zeros((len(tasks), len(tasks)))
        count = np.zeros(total.shape, dtype=np.int64)
        for part in (self, other):
            where = np.ix_(*[[tasks.index(name) for name in part.tasks]] * 2)
            total[where] += np.where(part.count > 0, part.mean, 0.0) * part.count
            count[where] += part.count
        mean = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
        return Affinity(tasks, mean, count)

    def to_frame(self) -> "pd.DataFrame":
        """The means as a `pandas.DataFrame`: index "source", columns "target".

        Returns:
            A frame of float64, `[num_tasks, num_tasks]`.
        """
        import pandas as pd

        return pd.DataFrame(
            self.mean,
            index=pd.Index(self.tasks, name="source"),
            columns=pd.Index(self.tasks, name="target"),
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one `.npz` file (no pickle), atomically: a crash leaves the old file or the new.

        Args:
            path: Where to. The name is taken as it is.

        Raises:
            FileNotFoundError: The folder does not exist.
        """

        def write(file: BinaryIO) -> None:
            np.savez_compressed(
                file,
                format=np.array(_FORMAT),
                format_version=np.array(_FORMAT_VERSION),
                # Not a string array: NumPy drops a name's last NUL.
                tasks=np.frombuffer(json.dumps(self.tasks).encode("ascii"), "uint8"),
                mean=self.mean,
                count=self.count,
            )

        write_atomically(path, write)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Affinity":
        """Read what `save` wrote. Never executes code from the file.

        Args:
            path: The file.

        Returns:
            The `Affinity`, bit-identical to the saved one.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: The file is not an affinity, is damaged, or is of a newer format.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = dict(file)
        except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
            if isinstance(error, FileNotFoundError):
                raise
            raise ValueError(
                f"Expected a file written by `Affinity.save`. Received: path={str(path)!r}, which "
                f"can't be read as one ({error})."
            ) from error
        if str(arrays.get("format", "")) != _FORMAT:
            raise ValueError(
                f"Expected a file written by `Affinity.save`. Received: path={str(path)!r}, which "
                f"holds {sorted(arrays)}."
            )
        version = int(arrays["format_version"])
        if version > _FORMAT_VERSION:
            raise ValueError(
                f"{str(path)!r} is of affinity format {version}; this keras_tag reads up to "
                f"{_FORMAT_VERSION}. Update keras_tag to read it."
            )
        tasks = json.loads(arrays["tasks"].tobytes())
        return cls(tuple(tasks), arrays["mean"], arrays["count"])

    @property
    def unmeasured(self) -> list[tuple[str, str]]:
        """The (source, target) pairs that no probe has measured."""
        return [
            (self.tasks[i], self.tasks[j])
            for i, j in zip(*np.nonzero(self.count == 0), strict=True)
        ]

    def __repr__(self) -> str:
        most = int(self.count.max(initial=0))
        header = f"Affinity of {len(self.tasks)} tasks, {most} probe{'s' * (most != 1)}"
        if self.unmeasured:
            header += f", {len(self.unmeasured)} pairs unmeasured"
        return f"{header} (rows: source, columns: target)\n{self.to_frame().to_string()}"


def _check_tasks(tasks: Sequence[str]) -> tuple[str, ...]:
    if isinstance(tasks, str) or not all(isinstance(task, str) and task for task in tasks):
        raise ValueError(
            f"Expected `tasks` to be a sequence of non-empty strings. Received: tasks={tasks!r}."
        )
    names = tuple(map(str, tasks))
    repeated = sorted({task for task in names if names.count(task) > 1})
    if repeated:
        raise ValueError(f"Expected task names to be unique. Received twice or more: {repeated}.")
    if not names:
        raise ValueError("Expected at least one task. Received: tasks=().")
    return names


def _check_square(name: str, matrix: Any, num_tasks: int, dtype: type) -> np.ndarray:
    try:
        array: np.ndarray = np.array(matrix, dtype=dtype)
    except (TypeError, ValueError) as error:
        raise ValueError(f"Expected `{name}` to be a matrix of numbers. {error}.") from error
    if array.shape != (num_tasks, num_tasks):
        raise ValueError(
            f"Expected `{name}` to be square, [num_tasks, num_tasks] = [{num_tasks}, {num_tasks}]. "
            f"Received: shape {list(array.shape)}."
        )
    return array


def _source_rows(matrix: np.ndarray, rows: Rows) -> np.ndarray:
    if rows == "source":
        return matrix
    if rows == "target":
        return matrix.T.copy()
    raise ValueError(
        f"Expected `rows` to be 'source' (a row is whose update it was) or 'target' (a row is "
        f"whose loss was measured). Received: rows={rows!r}."
    )


def _name_pairs(mask: np.ndarray, tasks: Sequence[str]) -> list[tuple[str, str]]:
    return [(tasks[i], tasks[j]) for i, j in zip(*np.nonzero(mask), strict=True)]
