"""Validation of the arguments of `Affinity`.

This module knows arrays only. It never imports TensorFlow.
"""

import json
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, Literal

import numpy as np

from keras_tag.task_names import is_task_name

Rows = Literal["source", "target"]


def check_tasks(tasks: Sequence[str]) -> tuple[str, ...]:
    """Check that task names are unique strings in an order.

    Args:
        tasks: Whatever the caller passed.

    Returns:
        The names.

    Raises:
        ValueError: No names, not in an order, or a name twice.
    """
    # A set has no order that the rows could be in.
    listed = isinstance(tasks, Iterable) and not isinstance(tasks, str | Set | Mapping)
    names = tuple(tasks) if listed else ()
    if not listed or not all(map(is_task_name, names)):
        raise ValueError(
            f"Expected `tasks` to be a sequence of non-empty strings. Received: tasks={tasks!r}."
        )
    repeated = sorted({task for task in names if names.count(task) > 1})
    if repeated:
        raise ValueError(f"Expected task names to be unique. Received twice or more: {repeated}.")
    if not names:
        raise ValueError("Expected at least one task. Received: tasks=().")
    return tuple(map(str, names))


def check_metadata(metadata: Any) -> dict[str, Any]:
    """Return metadata as they will be read from a file.

    Args:
        metadata: Whatever the caller passed.

    Returns:
        A mapping of plain JSON types.

    Raises:
        ValueError: It is no mapping of plain JSON types.
    """
    try:
        plain = json.loads(json.dumps(metadata))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Expected `metadata` to be of plain JSON types. Received: {metadata!r} ({error})."
        ) from error
    if not isinstance(plain, dict):
        raise ValueError(f"Expected `metadata` to be a mapping. Received: {metadata!r}.")
    return plain


def check_square(name: str, matrix: Any, num_tasks: int, dtype: type) -> np.ndarray:
    """Return a copy of a square matrix of numbers.

    Args:
        name: What the caller calls it.
        matrix: Whatever the caller passed.
        num_tasks: How many rows and columns it must have.
        dtype: `np.float64` or `np.int64`.

    Returns:
        `[num_tasks, num_tasks]` of this dtype; masked entries are NaN.

    Raises:
        ValueError: Another shape, or values that the dtype can't hold.
    """
    try:
        if isinstance(matrix, np.ma.MaskedArray):
            matrix = np.ma.filled(matrix.astype(np.float64), np.nan)
        given = np.asarray(matrix)
        # Complex numbers would lose a part; times would become numbers of nanoseconds.
        lossy = given.dtype.kind in "cmM"
        if dtype is np.int64 and given.dtype.kind == "f":
            lossy = not np.isfinite(given).all() or bool((given != np.trunc(given)).any())
        if lossy:
            raise TypeError(f"Received: {dtype.__name__} can't hold these values of {given.dtype}")
        array: np.ndarray = np.array(given, dtype=dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"Expected `{name}` to be a matrix of numbers. {error}.") from error
    if array.shape != (num_tasks, num_tasks):
        raise ValueError(
            f"Expected `{name}` to be square, [num_tasks, num_tasks] = [{num_tasks}, {num_tasks}]. "
            f"Received: shape {list(array.shape)}."
        )
    return array


def check_fit(name: str, matrices: np.ndarray, tasks: tuple[str, ...]) -> None:
    """Check that matrices over time are of these tasks.

    Args:
        name: What the caller calls them.
        matrices: `[anything, num_tasks, num_tasks]`.
        tasks: The task names.

    Raises:
        ValueError: Another shape.
    """
    if matrices.shape[1:] != (len(tasks), len(tasks)):
        raise ValueError(
            f"Expected `{name}` to be of the {len(tasks)} tasks {list(tasks)}. Received: matrices "
            f"of shape {list(matrices.shape[1:])}."
        )


def source_rows(matrix: np.ndarray, rows: Rows) -> np.ndarray:
    """Return the matrix with rows = source.

    Args:
        matrix: `[num_tasks, num_tasks]`.
        rows: What its rows are, "source" or "target".

    Returns:
        The matrix or its transpose.

    Raises:
        ValueError: `rows` is neither.
    """
    if rows == "source":
        return matrix
    if rows == "target":
        return matrix.T.copy()
    raise ValueError(
        "Expected `rows` to be 'source' (a row is the task whose update it was) or 'target' (a row "
        f"is the task whose loss was measured). Received: rows={rows!r}."
    )


def name_pairs(mask: np.ndarray, tasks: Sequence[str]) -> list[tuple[str, str]]:
    """Return the (source, target) names of marked pairs.

    Args:
        mask: `[num_tasks, num_tasks]` bool.
        tasks: The task names.

    Returns:
        The pairs, row by row.
    """
    return [(tasks[i], tasks[j]) for i, j in zip(*np.nonzero(mask), strict=True)]
