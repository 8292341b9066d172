"""What a functional model's training reads and updates, found by tracing its forward pass."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf


@dataclass(frozen=True)
class TrainingEffects:
    """What a forward pass in training mode does with each of a model's weights.

    Args:
        updated: Whether it updates the weight, as it does a moving average.
        shared: Whether at least two of the outputs depend on the weight.
    """

    updated: tuple[bool, ...]
    shared: tuple[bool, ...]

    @classmethod
    def of(cls, model: keras.Model) -> "TrainingEffects":
        """Trace a model. Nothing is computed, and no weight changes.

        Args:
            model: A functional model with a dict of outputs.

        Returns:
            Its effects, in the order of `model.weights`.
        """
        found: list[Any] = []

        def forward(inputs: Any) -> Any:
            with keras.StatelessScope() as scope:
                outputs = model(inputs, training=True)
            found.append(
                (outputs, [scope.get_current_value(weight) is not None for weight in model.weights])
            )
            return outputs

        # Autograph is of no use to Keras layers, and tracing without it is faster.
        traced = tf.function(forward, autograph=False).get_concrete_function(
            keras.tree.map_structure(_specification, model.input)
        )
        outputs, updated = found[-1]
        return cls(tuple(updated), _shared(model, outputs, traced))


def _specification(tensor: Any) -> Any:
    if getattr(tensor, "ragged", False):
        return tf.RaggedTensorSpec(tensor.shape, tensor.dtype)
    if getattr(tensor, "sparse", False):
        return tf.SparseTensorSpec(tensor.shape, tensor.dtype)
    return tf.TensorSpec(tensor.shape, tensor.dtype)


def _shared(model: keras.Model, outputs: Mapping[str, Any], traced: Any) -> tuple[bool, ...]:
    """Return for each weight whether at least two outputs depend on it."""
    captured = traced.captured_inputs
    inside = traced.inputs[len(traced.inputs) - len(captured) :]
    handle_of = {id(i): id(handle) for i, handle in zip(inside, captured, strict=True)}
    users: Counter[int] = Counter()
    for output in outputs.values():
        users.update({handle_of[i] for i in _ancestors(output) if i in handle_of})
    return tuple(
        any(users[id(part.handle)] >= 2 for part in _parts(weight)) for weight in model.weights
    )


def _ancestors(output: Any) -> set[int]:
    """Return the identities of the graph tensors from which an output is computed."""
    waiting = [tensor for tensor in tf.nest.flatten(output, expand_composites=True)]
    seen: set[int] = set()
    while waiting:
        tensor = waiting.pop()
        if id(tensor) not in seen:
            seen.add(id(tensor))
            waiting.extend(tensor.op.inputs)
    return seen


def _parts(weight: keras.Variable) -> list[Any]:
    """Return TensorFlow's variables behind a weight, several under a distribution strategy."""
    return list(getattr(weight.value, "values", [weight.value]))
