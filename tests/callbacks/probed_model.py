"""A small model of three tasks to be probed, and data for it."""

import keras
import numpy as np

from keras_tag import TAGModel

TASKS = ("a", "b", "c")
BATCH = 8


def probed(every=1, seed=0, learning_rate=0.05):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((4,))
    trunk = keras.layers.Dense(6, "tanh")(inputs)
    tag = TAGModel(
        keras.Model(inputs, {task: keras.layers.Dense(1, name=task)(trunk) for task in TASKS}),
        every=every,
    )
    tag.compile(keras.optimizers.SGD(learning_rate), loss=dict.fromkeys(TASKS, "mse"))
    return tag


def data(steps=6, seed=0):
    """`steps` batches; tasks a and b are one, c is another."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(steps * BATCH, 4))
    first, second = np.tanh(x[:, :2].sum(1, keepdims=True)), np.tanh(x[:, 2:].sum(1, keepdims=True))
    return x, {"a": first, "b": first + 0.1, "c": second}
