"""Attributes that an object made again from its configuration does not have."""

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


def _same(value: Any, other: Any) -> bool:
    if isinstance(value, keras.Variable) or not isinstance(value, _COMPARED):
        return True
    return other is not None and np.array_equal(np.asarray(value), np.asarray(other))
