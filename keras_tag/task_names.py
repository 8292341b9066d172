"""What may be a task's name."""

from typing import Any


def is_task_name(value: Any) -> bool:
    """Whether it is a string that is not empty and can be written to a file.

    Half a surrogate pair is no text: neither UTF-8 nor pandas nor a font can hold it.
    """
    if not isinstance(value, str) or not value:
        return False
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
