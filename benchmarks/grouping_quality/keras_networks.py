"""The networks of the tables as Keras models, with the weights that every network starts from."""

import re
from collections.abc import Sequence

import keras
import numpy as np

from benchmarks.grouping_quality import deep_trunk, trunk_passes
from benchmarks.grouping_quality.task_sets import Layer, Recipe, TaskSet


def joint_network(data: TaskSet, units: int, recipe: Recipe) -> keras.Model:
    """The network of all tasks; its weights are to be set.

    Args:
        data: Features, tasks and which are binary.
        units: The size of the trunk.
        recipe: How it is trained.

    Returns:
        A model from flat features to {`layer_name` of the task: `[batch, 1]`}.
    """
    inputs = keras.Input((data.splits["train"].x.shape[1],))
    if recipe.trunk is None:
        hidden = keras.layers.Dense(units, "relu")(inputs)
    else:
        hidden = _trunk(inputs, recipe.trunk(units), recipe.shape)
    return keras.Model(
        inputs,
        {
            name: keras.layers.Dense(1, "sigmoid" if binary else None, name=name)(hidden)
            for name, binary in zip(map(layer_name, data.tasks), data.binary, strict=True)
        },
    )


def layer_name(task: str) -> str:
    """A task's name as TensorFlow allows it: letters and digits."""
    return re.sub("[^A-Za-z0-9_]+", "_", task)


def set_first_weights(
    model: keras.Model, data: TaskSet, units: int, recipe: Recipe, seed: int
) -> None:
    """Give a `joint_network` the weights that the table's networks of a seed start from."""
    features = data.splits["train"].x.shape[1]
    laid_out = deep_trunk.trunk_of_recipe(recipe, units, features)
    trunk, heads = deep_trunk.first_weights(laid_out, data.tasks, seed)
    heads_named = set(map(layer_name, data.tasks))
    ahead = iter(layer for layer in model.layers if layer.weights and layer.name not in heads_named)
    for kernel, *rest in trunk:
        product = next(ahead)
        kernel = kernel.reshape(product.kernel.shape)
        product.set_weights([kernel] if len(rest) == 2 else [kernel, *rest])
        if len(rest) == 2:
            gamma, beta = rest
            next(ahead).set_weights([gamma, beta, np.zeros_like(beta), np.ones_like(gamma)])
    for t, task in enumerate(data.tasks):
        model.get_layer(layer_name(task)).set_weights([heads[:, [t]], np.zeros(1, np.float32)])


def _trunk(
    inputs: keras.KerasTensor, layers: Sequence[Layer], shape: tuple[int, ...] | None
) -> keras.KerasTensor:
    x = inputs if shape is None else keras.layers.Reshape(shape)(inputs)
    for layer in layers:
        bias = not layer.batch_normalization
        if layer.kernel:
            two = shape is not None and len(shape) == 3
            convolution = keras.layers.Conv2D if two else keras.layers.Conv1D
            x = convolution(layer.units, layer.kernel, layer.stride, use_bias=bias)(x)
        else:
            x = x if x.ndim == 2 else keras.layers.Flatten()(x)
            x = keras.layers.Dense(layer.units, use_bias=bias)(x)
        if layer.batch_normalization:
            x = keras.layers.BatchNormalization(
                momentum=trunk_passes.MOMENTUM, epsilon=trunk_passes.NORM_EPSILON
            )(x)
        x = keras.layers.Activation("relu")(x)
        if layer.dropout:
            x = keras.layers.Dropout(layer.dropout)(x)
    return x if x.ndim == 2 else keras.layers.Flatten()(x)
