"""Affinities from text files: CSV and JSON. Never imports TensorFlow."""

import csv
import json
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

from keras_tag.affinity.affinity import Affinity
from keras_tag.affinity.checks import Rows

# The columns of `Affinity.to_long_frame().to_csv()`, which name sources and targets.
_LONG = ("source", "target", "mean")
_NOTHING = {"", "nan", "na", "null", "none", "-"}


def read_affinity(path: str | os.PathLike[str], rows: Rows | None = None) -> Affinity:
    """Read an affinity from a `.npz`, `.json` or text file, told apart by the end of its name.

    - `.npz`: what `Affinity.save` wrote.
    - `.json`: `{row: {column: number}}`, or `{"tasks": [names], "matrix": [[numbers]]}`.
    - any other: a table separated by commas, semicolons or tabs. The first line names the columns,
      the first cell of every other line its row. A cell that is empty was not measured. Or three
      columns source, target, mean (and more), a line for each pair.

    Args:
        path: The file.
        rows: What a row of the file is: "source" (a task's update) or "target" (its loss). A
            `.npz` file and a table of pairs say it themselves; then None.

    Returns:
        An `Affinity`.

    Raises:
        OSError: The file can't be read.
        ValueError: It is not of that form, or `rows` is missing or not wanted.
    """
    end = os.path.splitext(os.fspath(path))[1].lower()
    if end == ".npz":
        _check_rows(path, rows, needed=False)
        return Affinity.load(path)
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            text = file.read()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"Expected {os.fspath(path)!r} to be a text file in UTF-8. Received: {error}."
        ) from error
    if end == ".json":
        return _from_json(path, text, rows)
    return _from_table(path, text, rows)


def _from_json(path: str | os.PathLike[str], text: str, rows: Rows | None) -> Affinity:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{os.fspath(path)!r} is not JSON: {error}.") from error
    if isinstance(content, Mapping) and set(content) == {"tasks", "matrix"}:
        known = _check_rows(path, rows)
        matrix = content["matrix"]
        if not isinstance(matrix, Sequence) or not all(isinstance(row, list) for row in matrix):
            raise ValueError(f"Expected `matrix` of {os.fspath(path)!r} to be a list of lists.")
        numbers = [
            [_number(path, f"row {r}", cell) for cell in row] for r, row in enumerate(matrix)
        ]
        return Affinity.from_array(numbers, content["tasks"], rows=known)
    if not isinstance(content, Mapping) or not all(
        isinstance(v, Mapping) for v in content.values()
    ):
        raise ValueError(
            f"Expected {os.fspath(path)!r} to hold {{row: {{column: number}}}} or "
            f'{{"tasks": [names], "matrix": [[numbers]]}}. Received: {text[:60]!r}...'
        )
    known = _check_rows(path, rows)
    return Affinity.from_dict(
        {
            row: {column: _number(path, f"row {row!r}", cell) for column, cell in cells.items()}
            for row, cells in content.items()
        },
        rows=known,
    )


def _from_table(path: str | os.PathLike[str], text: str, rows: Rows | None) -> Affinity:
    first = text.split("\n", 1)[0]
    separator = max(",;\t", key=first.count)
    lines = [
        (number, [cell.strip() for cell in line])
        for number, line in enumerate(csv.reader(text.splitlines(), delimiter=separator), 1)
        if any(cell.strip() for cell in line)
    ]
    if len(lines) < 2:
        raise ValueError(
            f"Expected {os.fspath(path)!r} to hold a line of task names and a line for each task. "
            f"Received: {len(lines)} lines."
        )
    header = lines[0][1]
    for number, cells in lines[1:]:
        if len(cells) != len(header):
            raise ValueError(
                f"Expected {len(header)} cells in line {number} of {os.fspath(path)!r}, as in its "
                f"first line. Received: {len(cells)}."
            )
    if separator == ";":  # Where a comma is the decimal point, semicolons separate the cells.
        lines = [(n, [cells[0], *(c.replace(",", ".") for c in cells[1:])]) for n, cells in lines]
    if set(_LONG) <= set(header):
        _check_rows(path, rows, needed=False)
        return _from_pairs(path, header, lines[1:])
    _check_names(path, header[1:], "columns")
    _check_names(path, [cells[0] for _, cells in lines[1:]], "rows")
    table = {
        cells[0]: {
            column: _number(path, f"line {number}, column {column!r}", cell)
            for column, cell in zip(header[1:], cells[1:], strict=True)
        }
        for number, cells in lines[1:]
    }
    # A mapping may leave out columns. A table with a row but no column of a task is incomplete.
    if set(table) != set(header[1:]):
        raise ValueError(
            f"Expected rows and columns of {os.fspath(path)!r} to be of the same tasks. Received: "
            f"rows {sorted(table)}, columns {sorted(header[1:])}. The first line names the "
            "columns, the first cell of every other line its row."
        )
    return Affinity.from_dict(table, rows=_check_rows(path, rows))


def _from_pairs(
    path: str | os.PathLike[str], header: list[str], lines: list[tuple[int, list[str]]]
) -> Affinity:
    source, target, mean = (header.index(name) for name in _LONG)
    table: dict[str, dict[str, float]] = {}
    for number, cells in lines:
        for task in (cells[source], cells[target]):
            table.setdefault(task, {})
        if cells[target] in table[cells[source]]:
            raise ValueError(
                f"Expected a pair once in {os.fspath(path)!r}. Received a second time in line "
                f"{number}: {cells[source]!r}, {cells[target]!r}."
            )
        table[cells[source]][cells[target]] = _number(path, f"line {number}", cells[mean])
    return Affinity.from_dict(table, rows="source")


def _number(path: str | os.PathLike[str], where: str, cell: Any) -> float:
    if cell is None or (isinstance(cell, str) and cell.lower() in _NOTHING):
        return math.nan
    try:
        if isinstance(cell, bool):
            raise TypeError
        return float(cell)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Expected numbers, or empty cells for pairs that were not measured, in "
            f"{os.fspath(path)!r}. Received in {where}: {cell!r}."
        ) from error


def _check_names(path: str | os.PathLike[str], names: list[str], what: str) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated or "" in names:
        raise ValueError(
            f"Expected the {what} of {os.fspath(path)!r} to have different names. Received: "
            f"{names}."
        )


def _check_rows(path: str | os.PathLike[str], rows: Rows | None, *, needed: bool = True) -> Rows:
    if needed and rows is None:
        raise ValueError(
            f"{os.fspath(path)!r} doesn't say what its rows are. Give rows 'source' (a row is "
            "the task whose update it was) or 'target' (a row is the task whose loss was "
            "measured). On the command line: --rows source or --rows target."
        )
    if not needed and rows is not None:
        raise ValueError(
            f"{os.fspath(path)!r} names sources and targets itself. Received: "
            f"rows={rows!r}; leave it out."
        )
    return rows or "source"
