"""The demo's network: one hidden layer for all the tasks."""

import zlib
from collections.abc import Sequence

import keras


def build_network(
    tasks: Sequence[str], image_shape: tuple[int, int], units: int, seed: int
) -> keras.Model:
    """Make a network with one hidden layer for all tasks and a sigmoid output for each.

    The seed decides the first weights of the trunk, the seed and a task's name those of its head:
    networks that are to be compared start from the same weights, and differ by the company a task
    keeps and by nothing else. (Equal weights in *different* heads would make unrelated tasks look
    like friends in the first probes.)

    Args:
        tasks: The names of the outputs.
        image_shape: `(height, width)`.
        units: The size of the hidden layer.
        seed: Of the first weights.

    Returns:
        A functional model with dict outputs `[batch, 1]`.
    """

    def dense(size: int, activation: str, part: str) -> keras.layers.Layer:
        # A checksum of the text: the same in every process, unlike `hash`.
        first = keras.initializers.GlorotUniform(seed=zlib.crc32(f"{seed} {part}".encode()))
        return keras.layers.Dense(size, activation, kernel_initializer=first)

    image = keras.Input(image_shape)
    trunk = dense(units, "relu", "trunk")(keras.layers.Flatten()(image))
    return keras.Model(image, {task: dense(1, "sigmoid", task)(trunk) for task in tasks})
