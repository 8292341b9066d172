"""Texts by which losses and other functions, with their settings, can be told apart.

Of a function they have the names and numbers that it uses, but neither its operators nor its texts.
"""

import functools
import hashlib
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_tag.training.of_keras import is_of_keras

# Stands for what is no setting, such as a variable.
_NOTHING = object()

# Functions in functions, of which one may lead back to another.
_DEEPEST = 4


def named_with_settings(loss: Any) -> str:
    """Return the name of a loss or function, with its settings, such as a delta.

    Args:
        loss: What was given to `compile(loss=...)` for one task, or any function.
    """
    if isinstance(loss, str):
        return loss
    if hasattr(loss, "python_function"):  # A `tf.function`.
        loss = loss.python_function
    if inspect.isroutine(loss) or isinstance(loss, functools.partial):
        said = _value(loss)
        return said if isinstance(said, str) else repr(said)
    if isinstance(loss, keras.layers.Layer):
        return _name(type(loss))
    # Not from the configuration: that of `Huber` lacks delta. Keras numbers the names of losses.
    settings = {name: of for name, of in getattr(loss, "__dict__", {}).items() if name != "name"}
    return f"{_name(type(loss))} {_value(settings)}"


def _value(value: Any, depth: int = 0) -> Any:
    """Return a setting as plain data, or `_NOTHING`."""
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return value
    if isinstance(value, keras.Variable | tf.Variable):
        return _NOTHING
    if isinstance(value, np.generic | np.ndarray) or tf.is_tensor(value):
        return _array(value)
    inner = functools.partial(_value, depth=depth)
    if isinstance(value, Mapping):
        return _said({str(key): inner(part) for key, part in value.items()})
    if isinstance(value, list | tuple):
        return [part for part in map(inner, value) if part is not _NOTHING]
    if isinstance(value, set | frozenset):
        return sorted(repr(part) for part in map(inner, value) if part is not _NOTHING)
    if isinstance(value, functools.partial):
        called = inner(value.func)
        called = _name(type(value.func)) if called is _NOTHING else called
        return [called, inner(value.args), inner(value.keywords)]
    if inspect.isroutine(value):
        return _function(value, depth)
    if isinstance(value, type):
        return _name(value)
    # An initializer draws a seed of its own.
    no_settings = isinstance(value, keras.layers.Layer | keras.initializers.Initializer)
    if not callable(value) or no_settings or depth == _DEEPEST:
        return _NOTHING
    # Such as a loss in a loss.
    settings = {name: of for name, of in getattr(value, "__dict__", {}).items() if name != "name"}
    return [_name(type(value)), _value(settings, depth + 1)]


def _array(value: Any) -> Any:
    """Return an array as a number where it is one, otherwise as its shape and a checksum."""
    if tf.is_tensor(value) and not hasattr(value, "numpy"):
        return _NOTHING  # Of a graph.
    array = np.asarray(value)
    if not array.ndim or array.dtype == object:
        return _value(array.tolist())
    checksum = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
    return f"{array.dtype} {array.shape} {checksum[:16]}"


def _function(function: Any, depth: int) -> Any:
    """Return the name of a function, with the names and numbers that it uses."""
    function = getattr(function, "__func__", function)
    code = getattr(function, "__code__", None)
    if code is None or depth == _DEEPEST or is_of_keras(function):
        return _name(function)
    # Functions that are made in one place have one name.
    used = {
        "names": code.co_names,
        "numbers": [of for of in code.co_consts if isinstance(of, int | float)],
        "defaults": function.__defaults__,
        "keywords": function.__kwdefaults__,
        "closure": [*_closure(function)],
    }
    return [_name(function), {name: _value(of, depth + 1) for name, of in used.items() if of}]


def _closure(function: Any) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # It is empty so far.
            continue


def _said(values: dict[str, Any]) -> dict[str, Any]:
    return {name: values[name] for name in sorted(values) if values[name] is not _NOTHING}


def _name(named: Any) -> str:
    """Return the full name of a function or class; Keras moves its own from module to module."""
    module = named.__module__.partition(".")[0] if is_of_keras(named) else named.__module__
    return f"{module}.{named.__qualname__}"
