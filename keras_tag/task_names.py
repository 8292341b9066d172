"""Validation of task names."""

from collections import Counter
from collections.abc import Iterable
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


def check_group(group: Iterable[str], name: str = "every group") -> tuple[str, ...]:
    """Check that a group is of task names, each once.

    Args:
        group: Whatever the caller passed. The tasks of a set, which have no order, are sorted.
        name: What the caller calls it.

    Returns:
        The names.

    Raises:
        ValueError: No names, something else, or a name twice.
    """
    listed = isinstance(group, Iterable) and not isinstance(group, str)
    names = list(group) if listed else []
    if not names or not all(map(is_task_name, names)) or len(set(names)) < len(names):
        raise ValueError(
            f"Expected {name} to be a sequence of one or more task names, each once. "
            f"Received: {group!r}."
        )
    # The views of a dictionary have an order.
    return tuple(map(str, sorted(names) if isinstance(group, set | frozenset) else names))


def check_different(names: Iterable[str]) -> None:
    """Check that no two outputs of a model have one name, as the calls of one layer have.

    Keras logs such outputs under one name, and labels by name can't tell them apart.

    Args:
        names: The names of the outputs.

    Raises:
        ValueError: Some are equal.
    """
    names = list(names)
    twice = sorted(name for name, times in Counter(names).items() if times > 1)
    if twice:
        raise ValueError(
            "Expected outputs of different names, which are the tasks. Received several of the "
            f"names {twice} among {names}. Name them with a dict: keras.Model(model.inputs, "
            "{'task': model.outputs[0], ...}). The layers stay the same."
        )
