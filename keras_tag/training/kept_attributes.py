"""Attributes that an object made again from its configuration does not have."""

import inspect
from typing import Any

import keras
import numpy as np
import tensorflow as tf

_COMPARED = (bool, int, float, str, np.ndarray, np.generic, tf.Tensor, tf.Variable)


def lost_attributes(original: Any, copy: Any) -> list[str]:
    """Return the public attributes whose values did not come through.

    Args:
        original: An object.
        copy: What was made from its configuration.

    Returns:
        The names of attributes that hold other numbers, strings or arrays in the copy, or that it
        does not have. Attributes of other types are not compared.
    """
    return [
        name
        for name, value in vars(original).items()
        if not name.startswith("_") and name != "built" and not _same(value, vars(copy).get(name))
    ]


def unsaid_arguments(made: Any) -> list[str]:
    """Return the arguments of an object's constructor that its configuration does not have.

    Args:
        made: An object with `get_config`.

    Returns:
        Their names. An object made again from the configuration has the defaults in their place.
    """
    parameters = list(inspect.signature(type(made).__init__).parameters.values())[1:]
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    config = made.get_config()
    return [name for name in named if name not in config]


def _same(value: Any, other: Any) -> bool:
    if isinstance(value, keras.Variable) or not isinstance(value, _COMPARED):
        return True
    return other is not None and np.array_equal(np.asarray(value), np.asarray(other))
