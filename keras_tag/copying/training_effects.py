"""The weights that a functional model's training reads and updates, found by tracing.

Nothing is computed, and no weight changes.
"""

from collections import Counter
from typing import Any

import keras
import tensorflow as tf

from keras_tag.training.nested_operations import ancestors


def updated_weights(model: keras.Model) -> list[bool]:
    """Return for each weight whether a forward pass in training mode updates it.

    Args:
        model: A functional model.

    Returns:
        One flag per weight, in the order of `model.weights`; True for moving averages.
    """
    return _trace(model, training=True)[2]


def shared_weights(model: keras.Model) -> list[bool]:
    """Return for each weight whether at least two outputs depend on it.

    Args:
        model: A functional model with a dict of outputs.

    Returns:
        One flag per weight, in the order of `model.weights`.
    """
    # Moving averages are read in inference mode only, other weights perhaps only in training mode.
    modes = [_shared(model, *_trace(model, training)[:2]) for training in (False, True)]
    return [any(flags) for flags in zip(*modes, strict=True)]


def _trace(model: keras.Model, training: bool) -> tuple[Any, Any, list[bool]]:
    """Return the traced function, its symbolic outputs, and which weights it updates."""
    found: list[Any] = []

    def forward(inputs: Any) -> Any:
        with keras.StatelessScope() as scope:
            outputs = model(inputs, training=training)
        updated = [scope.get_current_value(weight) is not None for weight in model.weights]
        found.append((outputs, updated))
        return outputs

    # Autograph is of no use to Keras layers, and tracing without it is faster.
    traced = tf.function(forward, autograph=False).get_concrete_function(
        keras.tree.map_structure(_specification, model.input)
    )
    return traced, *found[-1]


def _specification(tensor: Any) -> Any:
    if getattr(tensor, "ragged", False):
        return tf.RaggedTensorSpec(tensor.shape, tensor.dtype)
    if getattr(tensor, "sparse", False):
        return tf.SparseTensorSpec(tensor.shape, tensor.dtype)
    return tf.TensorSpec(tensor.shape, tensor.dtype)


def _shared(model: keras.Model, traced: Any, outputs: dict[str, Any]) -> list[bool]:
    """Return for each weight whether at least two outputs are computed from it."""
    captured = traced.captured_inputs
    inside = traced.inputs[len(traced.inputs) - len(captured) :]
    users: Counter[int] = Counter()
    for output in outputs.values():
        needed = ancestors(tf.nest.flatten(output, expand_composites=True))
        users.update({id(h) for i, h in zip(inside, captured, strict=True) if i.op in needed})
    return [any(users[id(part.handle)] >= 2 for part in _parts(w)) for w in model.weights]


def _parts(weight: keras.Variable) -> list[Any]:
    """Return TensorFlow's variables behind a weight, several under a distribution strategy."""
    return list(getattr(weight.value, "values", [weight.value]))
