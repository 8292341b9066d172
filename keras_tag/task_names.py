"""Validation of task names."""

from typing import Any


def is_task_name(value: Any) -> bool:
    """Return whether a value is a string that is not empty and can be written to a file.

    A lone surrogate is refused: UTF-8, pandas and fonts have no place for it.
    """
    if not isinstance(value, str) or not value:
        return False
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
