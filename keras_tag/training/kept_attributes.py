"""Attributes that an object made again from its configuration does not have."""

import inspect
from typing import Any

import keras
import numpy as np
import tensorflow as tf

_ARRAYS = (np.ndarray, tf.Tensor, tf.Variable)
_COMPARED = (bool, int, float, str, np.generic, *_ARRAYS)
_CONTAINERS = (list, tuple, set, frozenset, dict)


def lost_attributes(original: Any, copy: Any, private: bool = False) -> list[str]:
    """Return the attributes whose values did not come through.

    Args:
        original: An object.
        copy: What was made from its configuration.
        private: Whether to compare arrays, and containers of numbers and strings, of names that
            begin with "_" as well, but for those that every layer has.

    Returns:
        The names of attributes that hold other numbers, strings or arrays, or containers of them,
        in the copy, or that it does not have. Attributes of other types are not compared.
    """
    of_keras = vars(keras.layers.Layer(name="any")) if private else {}

    def is_compared(name: str, value: Any) -> bool:
        if name.startswith("_"):
            return private and name not in of_keras and isinstance(value, _ARRAYS + _CONTAINERS)
        return name != "built"

    return [
        name
        for name, value in vars(original).items()
        if is_compared(name, value) and not _same(value, vars(copy).get(name))
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
    if isinstance(value, keras.Variable):
        return True
    if isinstance(value, _CONTAINERS):
        # What holds layers, for example, is compared elsewhere.
        return not value or not _is_data(value) or repr(_plain(value)) == repr(_plain(other))
    if not isinstance(value, _COMPARED):
        return True
    return other is not None and np.array_equal(np.asarray(value), np.asarray(other))


def _is_data(value: Any) -> bool:
    """Return whether a value is made of numbers, strings and arrays."""
    if isinstance(value, dict):
        return all(_is_data(part) for pair in value.items() for part in pair)
    if isinstance(value, _CONTAINERS):
        return all(map(_is_data, value))
    return isinstance(value, _COMPARED) and not isinstance(value, keras.Variable)


def _plain(value: Any) -> Any:
    """Return data in containers of Python's own, with lists for arrays and tuples."""
    if isinstance(value, dict):
        return sorted(((repr(_plain(key)), _plain(part)) for key, part in value.items()))
    if isinstance(value, (set, frozenset)):
        return sorted(repr(_plain(part)) for part in value)
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return np.asarray(value).tolist()
