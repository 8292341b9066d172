"""Attributes that an object made again from its configuration does not have."""

import functools
import inspect
import types
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_tag.training.loss_settings import named_with_settings

_ARRAYS = (np.ndarray, tf.Tensor, tf.Variable)
_DATA = (bool, int, float, str, np.generic, *_ARRAYS)
_CONTAINERS = (list, tuple, set, frozenset, dict)
_FUNCTIONS = (
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    functools.partial,
    np.ufunc,
)


def lost_attributes(original: Any, copy: Any, private: bool = False) -> list[str]:
    """Return the attributes whose values did not come through.

    Args:
        original: An object.
        copy: What was made from its configuration.
        private: Whether to compare functions, and arrays and containers of numbers and strings of
            names that begin with "_" as well, but for those that every layer has.

    Returns:
        The names of attributes that hold other numbers, strings or arrays, or containers of them,
        in the copy, or that it does not have. Attributes of other types are not compared.
    """
    of_keras = vars(keras.layers.Layer(name="any")) if private else {}

    def is_compared(name: str, value: Any) -> bool:
        if isinstance(value, _FUNCTIONS):
            return private and name not in of_keras
        if name.startswith("_"):
            return private and name not in of_keras and isinstance(value, _ARRAYS + _CONTAINERS)
        # Keras numbers the names of layers that a layer makes.
        return name not in ("built", "name")

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


def lost_arguments(original: Any, copy: Any) -> list[str]:
    """Return the arguments of a constructor whose values did not come through.

    Args:
        original: An object with `get_config`.
        copy: What was made from its configuration.

    Returns:
        The names of those that the configuration does not have, and that are neither kept in
        attributes of these names nor in dicts, with equal values in both. One that is kept under
        no such name can't be compared, and is not named.
    """
    try:
        unsaid = unsaid_arguments(original)
    except Exception:
        # A layer that another one makes needs no configuration, and Keras may know none: its
        # arguments are what that layer gives it, in the copy as well.
        return []
    return [name for name in unsaid if not _equal(_kept(original, name), _kept(copy, name))]


def _kept(made: Any, name: str) -> Any:
    """Return what an object keeps of an argument; None if that is not known."""
    dicts = [value for value in vars(made).values() if isinstance(value, dict)]
    places = [(vars(made), name), (vars(made), f"_{name}"), *((found, name) for found in dicts)]
    return next((place[key] for place, key in places if key in place), None)


def _equal(value: Any, other: Any) -> bool:
    """Return whether two values are known to be equal."""
    if value is other or isinstance(value, keras.Variable):
        return True
    if hasattr(value, "get_config") and type(value) is type(other):
        try:
            return repr(_settings(value)) == repr(_settings(other))
        except Exception:
            return False  # Such as a layer whose configuration Keras does not know.
    return _is_data(value) and _same(value, other)


def _settings(made: Any) -> Any:
    """Return the configuration of an object, without the names that Keras counts."""

    def unnamed(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: unnamed(value) for key, value in part.items() if key != "name"}
        return [unnamed(value) for value in part] if isinstance(part, list | tuple) else part

    return _plain(unnamed(made.get_config()))


def _same(value: Any, other: Any) -> bool:
    """Return whether two values are equal; what holds layers is compared elsewhere."""
    if not _is_data(value) or (isinstance(value, _CONTAINERS) and not value):
        return True
    if not _is_data(other):
        return False
    if isinstance(value, _ARRAYS) and (one := np.asarray(value)).dtype != object:
        two = np.asarray(other)
        return np.array_equal(one, two, equal_nan=one.dtype.kind == two.dtype.kind == "f")
    plain, plain_other = _plain(value), _plain(other)
    # NaN equals itself as a text only.
    return bool(plain == plain_other) or repr(plain) == repr(plain_other)


def _is_data(value: Any) -> bool:
    """Return whether a value is made of numbers, strings, functions and arrays."""
    if isinstance(value, tf.Tensor):
        return hasattr(value, "numpy")  # One of a graph has no value.
    if isinstance(value, dict):
        return all(part is None or _is_data(part) for pair in value.items() for part in pair)
    if isinstance(value, _CONTAINERS):
        return all(part is None or _is_data(part) for part in value)
    return isinstance(value, _DATA + _FUNCTIONS) and not isinstance(value, keras.Variable)


def _plain(value: Any) -> Any:
    """Return data in containers of Python's own, with lists for arrays and tuples.

    Functions become texts. Two of them are equal if they run the same code with the same data.
    """
    if isinstance(value, np.ufunc):
        return repr(value)
    if isinstance(value, functools.partial):
        applied = _plain(value.func) if isinstance(value.func, _FUNCTIONS) else None
        return f"{applied} {named_with_settings(value)}"
    if isinstance(value, _FUNCTIONS):
        return f"{id(getattr(value, '__code__', None))} {named_with_settings(value)}"
    if isinstance(value, dict):
        return sorted(((repr(_plain(key)), _plain(part)) for key, part in value.items()))
    if isinstance(value, (set, frozenset)):
        return sorted(repr(_plain(part)) for part in value)
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    plain = np.asarray(value).tolist()
    return _plain(plain) if isinstance(value, np.ndarray) and value.dtype == object else plain
