"""Affinities from text files: CSV and JSON. Never imports TensorFlow."""

import csv
import json
import math
import os
from typing import Any

from keras_tag.affinity.affinity import Affinity
from keras_tag.affinity.checks import Rows
from keras_tag.task_names import is_task_name

# The columns of `Affinity.to_long_frame().to_csv()`, which name sources and targets.
_LONG = ("source", "target", "mean")
_NOTHING = {"", "nan", "na", "null", "none", "-"}
# Row -> column -> what the file has there.
_Table = dict[str, dict[str, Any]]


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
    name = os.fspath(path)
    end = os.path.splitext(name)[1].lower()
    if end == ".npz":
        _check_rows(name, rows, needed=False)
        return Affinity.load(path)
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            text = file.read()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"Expected {name!r} to be a text file in UTF-8. Received: {error}."
        ) from error
    table, of_pairs = (_from_json(name, text), False) if end == ".json" else _from_lines(name, text)
    known = _check_rows(name, rows, needed=not of_pairs)
    numbers = {
        row: {
            column: _number(name, f"row {row!r}, column {column!r}", cell)
            for column, cell in cells.items()
        }
        for row, cells in table.items()
    }
    return Affinity.from_dict(numbers, rows=known)


def _from_json(name: str, text: str) -> _Table:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name!r} is not JSON: {error}.") from error
    if isinstance(content, dict) and set(content) == {"tasks", "matrix"}:
        tasks, matrix = content["tasks"], content["matrix"]
        if not isinstance(tasks, list):
            raise ValueError(f"Expected `tasks` of {name!r} to be a list. Received: {tasks!r}.")
        _check_names(name, tasks, "tasks")
        lists = [matrix, *(matrix if isinstance(matrix, list) else [])]
        if not all(isinstance(part, list) and len(part) == len(tasks) for part in lists):
            raise ValueError(
                f"Expected `matrix` of {name!r} to be square: a list of numbers for each task, "
                "with a number for each task."
            )
        content = {
            task: dict(zip(tasks, row, strict=True))
            for task, row in zip(tasks, matrix, strict=True)
        }
    if not isinstance(content, dict) or not all(isinstance(v, dict) for v in content.values()):
        raise ValueError(
            f"Expected {name!r} to hold {{row: {{column: number}}}} or "
            f'{{"tasks": [names], "matrix": [[numbers]]}}. Received: {text[:60]!r}...'
        )
    return content


def _from_lines(name: str, text: str) -> tuple[_Table, bool]:
    """Return a table, and whether the file has a line for each pair."""
    first = text.split("\n", 1)[0]
    separator = max(",;\t", key=first.count)
    lines = [
        (number, [cell.strip() for cell in line])
        for number, line in enumerate(csv.reader(text.splitlines(), delimiter=separator), 1)
        if any(cell.strip() for cell in line)
    ]
    if len(lines) < 2:
        raise ValueError(
            f"Expected {name!r} to hold a line of task names and a line for each task. "
            f"Received: {len(lines)} lines."
        )
    header = lines.pop(0)[1]
    for number, cells in lines:
        if len(cells) != len(header):
            raise ValueError(
                f"Expected {len(header)} cells in line {number} of {name!r}, as in its first line. "
                f"Received: {len(cells)}."
            )
    if separator == ";":  # Where a comma is the decimal point, semicolons separate the cells.
        lines = [(n, [cells[0], *(c.replace(",", ".") for c in cells[1:])]) for n, cells in lines]
    if set(_LONG) <= set(header):
        return _from_pairs(name, header, lines), True
    columns, rows = header[1:], [cells[0] for _, cells in lines]
    _check_names(name, columns, "columns")
    _check_names(name, rows, "rows")
    # A mapping may leave out columns. A table with a row but no column of a task is incomplete.
    if set(rows) != set(columns):
        raise ValueError(
            f"Expected rows and columns of {name!r} to be of the same tasks. Received: rows "
            f"{sorted(rows)}, columns {sorted(columns)}. The first line names the columns, the "
            "first cell of every other line its row."
        )
    return {c[0]: dict(zip(columns, c[1:], strict=True)) for _, c in lines}, False


def _from_pairs(name: str, header: list[str], lines: list[tuple[int, list[str]]]) -> _Table:
    table: _Table = {}
    for number, cells in lines:
        source, target, mean = (cells[header.index(column)] for column in _LONG)
        for task in (source, target):
            table.setdefault(task, {})
        if target in table[source]:
            raise ValueError(
                f"Expected a pair once in {name!r}. Received a second time in line {number}: "
                f"{source!r}, {target!r}."
            )
        table[source][target] = _number(name, f"line {number}", mean)
    _check_names(name, list(table), "tasks")
    return table


def _number(name: str, where: str, cell: Any) -> float:
    if cell is None or (isinstance(cell, str) and cell.lower() in _NOTHING):
        return math.nan
    try:
        if isinstance(cell, bool):
            raise TypeError
        return float(cell)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"Expected numbers, or empty cells for pairs that were not measured, in {name!r}. "
            f"Received in {where}: {cell!r}."
        ) from error


def _check_names(name: str, names: list[Any], what: str) -> None:
    if not all(map(is_task_name, names)):
        raise ValueError(
            f"Expected the {what} of {name!r} to have names, as strings that are not empty. "
            f"Received: {names}."
        )
    if len(set(names)) < len(names):
        raise ValueError(
            f"Expected the {what} of {name!r} to have different names. Received: {names}."
        )


def _check_rows(name: str, rows: Rows | None, *, needed: bool) -> Rows:
    if needed and rows is None:
        raise ValueError(
            f"{name!r} doesn't say what its rows are. Give rows 'source' (a row is the task whose "
            "update it was) or 'target' (a row is the task whose loss was measured). On the "
            "command line: --rows source or --rows target."
        )
    if not needed and rows is not None:
        raise ValueError(
            f"{name!r} names sources and targets itself. Received: rows={rows!r}; leave it out."
        )
    return rows or "source"
