"""The cost of a training, in joint runs: epochs times multiply-adds."""

import keras
import numpy as np
import pytest

from keras_tag.search.ledger import Outcome, cost_of
from keras_tag.search.multiply_adds import multiply_adds

layers = keras.layers


@pytest.mark.parametrize(
    ("shape", "made", "expected"),
    [
        ((8,), [layers.Dense(4, "tanh"), layers.Dense(2)], 8 * 4 + 4 * 2),
        ((6, 8), [layers.Dense(4)], 6 * 8 * 4),
        (
            (16, 16, 3),
            [
                layers.Conv2D(4, 3, strides=2),
                layers.BatchNormalization(),
                layers.DepthwiseConv2D(3),
                layers.Conv2DTranspose(2, 2, strides=2),
            ],
            7 * 7 * 27 * 4 + 5 * 5 * 9 * 4 + 5 * 5 * 4 * 4 * 2,
        ),
        ((6, 8), [lambda h: layers.MultiHeadAttention(2, 4)(h, h)], 4 * 6 * 8 * 8 + 2 * 6 * 6 * 8),
        ((6, 8), [layers.LSTM(3), layers.Dense(2)], None),  # How often a loop runs is not seen.
    ],
)
def test_multiply_adds_are_those_counted_by_hand(shape, made, expected):
    h = inputs = keras.Input(shape)
    for layer in made:
        h = layer(h)
    count = multiply_adds(keras.Model(inputs, h), np.zeros((2, *shape), "float32"))
    assert count == (None if expected is None else 2 * expected)


def test_the_cost_is_epochs_times_multiply_adds():
    joint = Outcome(0, "joint", ("a", "b"), epochs=4, multiply_adds=100)
    assert cost_of(joint, joint) == 1
    assert cost_of(Outcome(1, "searched", ("a",), epochs=6, multiply_adds=50), joint) == 0.75
    assert cost_of(Outcome(1, "searched", ("a",), epochs=6), joint) == 1.5
