"""The layers of a model at every depth, in an order that a copy of the model repeats."""

from typing import Any

import keras


def flattened(model: keras.Model) -> list[Any]:
    """Return the layers at every depth, each of them after the layers that contain it.

    Keras has public attributes for the layers of a model, and none for the layers of a layer.

    Args:
        model: A Keras model.

    Returns:
        The layers, without the model itself.
    """
    layers: list[Any] = model._flatten_layers(include_self=False)
    return layers
