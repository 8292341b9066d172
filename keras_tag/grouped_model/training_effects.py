"""What a training step would change in a functional model, found by tracing its forward pass."""

from typing import Any

import keras
import tensorflow as tf


def updated_by_training(model: keras.Model) -> list[Any]:
    """Return the weights that a forward pass in training mode updates, such as moving averages.

    Nothing is computed, and no weight changes.

    Args:
        model: A functional model.

    Returns:
        The weights that are not trainable and that it updates.
    """
    updated: list[Any] = []

    def forward(inputs: Any) -> Any:
        with keras.StatelessScope() as scope:
            outputs = model(inputs, training=True)
        updated.extend(
            weight
            for weight in model.non_trainable_weights
            if scope.get_current_value(weight) is not None
        )
        return outputs

    # Autograph is of no use to Keras layers, and tracing without it is faster.
    traced = tf.function(forward, autograph=False)
    traced.get_concrete_function(keras.tree.map_structure(_specification, model.input))
    return updated


def _specification(tensor: Any) -> Any:
    if getattr(tensor, "ragged", False):
        return tf.RaggedTensorSpec(tensor.shape, tensor.dtype)
    if getattr(tensor, "sparse", False):
        return tf.SparseTensorSpec(tensor.shape, tensor.dtype)
    return tf.TensorSpec(tensor.shape, tensor.dtype)
