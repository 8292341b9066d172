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
