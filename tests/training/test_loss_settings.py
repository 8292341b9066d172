"""Losses that differ have different texts, and the same loss made again has the same."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_tag.training.loss_settings import named_with_settings


class Weighted(keras.losses.Loss):
    def __init__(self, weight, **kwargs):
        super().__init__(**kwargs)
        self.weight = weight
        self.seen = keras.Variable(0.0, trainable=False)

    def call(self, y, p):
        return keras.ops.mean((y - p) ** 2 * self.weight, -1)


class Scaled:
    def __init__(self, scale):
        self.scale = scale

    def __call__(self, y, p):
        return self.scale * keras.ops.mean(abs(y - p), -1)


def of_closure(scale):
    return lambda y, p: scale * keras.ops.mean(abs(y - p), -1)


def scaled(y, p, scale=1.0):
    return scale * keras.ops.mean(abs(y - p), -1)


def decorated(loss):
    @functools.wraps(loss)
    def around(y, p):
        return loss(y, p)

    return around


def decorated_loss(loss):
    return lambda y, p: loss(y, p)


LOSSES = {
    "functions": lambda k: (keras.losses.mean_squared_error, keras.losses.mean_absolute_error)[k],
    "strings": lambda k: ("mse", "mae")[k],
    "reduction": lambda k: keras.losses.MeanSquaredError(("sum", "sum_over_batch_size")[k]),
    "python number": lambda k: keras.losses.Huber((1.0, 0.1)[k]),
    "flag": lambda k: keras.losses.BinaryCrossentropy(from_logits=bool(k)),
    "numpy number": lambda k: keras.losses.Huber(np.float32((1.0, 0.1)[k])),
    "array": lambda k: Weighted(np.arange(3.0) + k),
    "tensor": lambda k: Weighted(tf.constant([1.0, k])),
    "list of arrays": lambda k: Weighted([np.zeros(2), np.arange(2.0) + k]),
    "dict": lambda k: Weighted({"near": 1.0, "far": float(k)}),
    "function in a loss": lambda k: Weighted((keras.ops.abs, keras.ops.square)[k]),
    "class": lambda k: (keras.losses.MeanSquaredError(), keras.losses.LogCosh())[k],
    "object": lambda k: Scaled((1.0, 2.0)[k]),
    "closure": lambda k: of_closure((1.0, 2.0)[k]),
    "closure of a closure": lambda k: decorated(of_closure((1.0, 2.0)[k])),
    "partial": lambda k: functools.partial(scaled, scale=(1.0, 2.0)[k]),
    "lambda": lambda k: (lambda y, p: (y - p) ** 2, lambda y, p: abs(y - p))[k],
    "power": lambda k: (lambda y, p: (y - p) ** 2, lambda y, p: (y - p) ** 4)[k],
    "loss in a loss": lambda k: Weighted(keras.losses.Huber((1.0, 0.1)[k])),
    "loss in a function": lambda k: decorated_loss(keras.losses.Huber((1.0, 0.1)[k])),
    "partial of an object": lambda k: functools.partial(Scaled((1.0, 2.0)[k])),
    "partial of a loss": lambda k: functools.partial(keras.losses.Huber((1.0, 0.1)[k])),
    "tf.function": lambda k: tf.function(of_closure((1.0, 2.0)[k])),
}


@pytest.mark.parametrize("kind", LOSSES)
def test_another_loss_has_another_text(kind):
    first, second, again = (named_with_settings(LOSSES[kind](k)) for k in (0, 1, 0))
    assert first != second
    # Keras numbers the names of losses, and an address is another one in another process.
    assert first == again
    assert "0x" not in first


def test_state_and_the_type_of_a_number_are_no_settings():
    loss = Weighted(1.0)
    before = named_with_settings(loss)
    loss.seen.assign(2.0)
    assert named_with_settings(loss) == before
    one, other = keras.losses.Huber(1.0), keras.losses.Huber(np.float32(1.0))
    assert named_with_settings(one) == named_with_settings(other)
