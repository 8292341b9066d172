"""Backward passes cut at the last common tensor are those of the tape."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tag_models import L

from keras_tag.tag_model.backward import Backward, last_common_tensor

FACTORS, WEIGHTS = (2.0, 1.0, 3.0), (1.0, 0.5, 0.0)


def one_trunk(inputs):
    h = L.Dense(4, "tanh", name="late")(L.Dense(5, "tanh", name="early")(inputs))
    return [L.Dense(1, name=name)(h) for name in "abc"]


def at_two_depths(inputs):
    early = L.Dense(5, "tanh", name="early")(inputs)
    late = L.Dense(4, "tanh", name="late")(early)
    return [L.Dense(1, name="a")(early), L.Dense(1, name="b")(late), L.Dense(1, name="c")(late)]


def behind_a_stop(inputs):
    h = L.Dense(5, "tanh", name="early")(inputs)
    return [L.Dense(1, name="a")(h), L.Dense(1, name="b")(keras.ops.stop_gradient(h))]


def with_a_layer_on_both_sides(inputs):
    tied = L.Dense(6, "tanh", name="tied")
    h = tied(inputs)
    return [L.Dense(1, name="a")(h), L.Dense(1, name="b")(tied(h))]


def separate(inputs):
    return [L.Dense(1, name=k)(L.Dense(3, "tanh", name=f"own_{k}")(inputs)) for k in "ab"]


def recurrent(inputs):
    h = L.LSTM(3, name="early")(L.Reshape((3, 2))(inputs))
    return [L.Dense(1, name=name)(h) for name in "ab"]


def sequence_and_state(inputs):
    """The sequence leaves the loop in a list of tensors, beside the state."""
    h = L.Dense(3, name="early")(L.Reshape((3, 2))(inputs))
    sequence, state = L.GRU(3, return_sequences=True, return_state=True, name="late")(h)
    return [L.Dense(1, name="a")(sequence), L.Dense(1, name="b")(state)]


def complex_numbers(inputs):
    real = L.Dense(4, name="early")(inputs)
    wave = L.Lambda(lambda h: tf.signal.fft(tf.complex(h, h * h)))(real)
    return [
        L.Dense(1, name=name)(L.Lambda(part)(wave))
        for name, part in (("a", tf.math.real), ("b", tf.math.imag))
    ]


def loops_at_two_depths(inputs):
    early = L.LSTM(3, return_sequences=True, name="early")(L.Reshape((3, 2))(inputs))
    late = L.LSTM(4, name="late")(early)
    return [
        L.Dense(1, name="a")(L.GlobalAveragePooling1D()(early)),
        *(L.Dense(1, name=name)(late) for name in "bc"),
    ]


def looked_up(inputs):
    """Gradients of rows, not of the whole table."""

    def rows_of(numbers):
        return keras.ops.cast(numbers > 0, "int32")

    table = L.Embedding(5, 4, name="table")
    h = L.Flatten()(table(rows_of(inputs)))
    return [L.Dense(1, name="a")(h), L.Dense(1, name="b")(h + L.Flatten()(table(rows_of(-inputs))))]


@tf.custom_gradient
def reads_no_gradient(outputs):
    """Its gradient is the same whatever comes in, as that of a loss with its derivative in it."""
    return outputs * 1.0, lambda upstream: 2 * outputs / 32.0


def with_a_head_that_reads_no_gradient(inputs):
    a, b, c = one_trunk(inputs)
    return [L.Lambda(reads_no_gradient)(a), b, c]


def with_a_part_that_reads_no_gradient(inputs):
    """The gradients of the parts are put into one tensor, which has the factor of "b" alone."""
    h = L.Dense(4, "tanh", name="late")(inputs)
    a, b = L.Lambda(lambda h: tf.split(h, 2, axis=1))(h)
    return [L.Lambda(reads_no_gradient)(a), L.Dense(1, name="b")(b)]


def with_a_column_that_reads_no_gradient(inputs):
    h = L.Dense(2, "tanh", name="late")(inputs)
    a, b = L.Lambda(lambda h: tf.unstack(h, axis=1))(h)
    return [L.Lambda(reads_no_gradient)(a), b]


@pytest.mark.parametrize(
    ("build", "cut_after"),
    [
        (one_trunk, "late"),
        (at_two_depths, "early"),
        (behind_a_stop, "early"),
        (with_a_layer_on_both_sides, None),
        # What is computed first depends on nothing else, and only "b" on it.
        (separate, "own_b"),
        (recurrent, "early"),
        (sequence_and_state, "late"),
        (complex_numbers, "early"),
        (loops_at_two_depths, "early"),
        (looked_up, None),
        (with_a_head_that_reads_no_gradient, "late"),
        (with_a_part_that_reads_no_gradient, "late"),
        (with_a_column_that_reads_no_gradient, "late"),
    ],
)
def test_gradients_and_connections_are_those_of_the_tape(build, cut_after):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,))
    model = keras.Model(inputs, build(inputs))
    sources = [v.value for v in model.trainable_variables]
    seen = {}

    @tf.function(autograph=False)
    def both(x):
        with tf.GradientTape(persistent=True) as tape:
            losses = [tf.reduce_mean(y**2) for y in model(x, training=True)]
        cut = last_common_tensor(losses)
        seen["cut"] = None if cut is None else cut.name
        n = len(losses)
        factors = [tf.constant(f) for f in FACTORS[:n]]
        backward = Backward(losses, factors, sources, tape)
        seen["used"] = backward.connections
        seen["shows"] = backward._shows_losses
        every, some = range(len(sources)), range(0, len(sources), 3)

        def tapes(target, factor):
            zero = tf.UnconnectedGradients.ZERO
            return [*map(tf.convert_to_tensor, tape.gradient(target, sources, factor, zero))]

        ours, theirs = [], []
        for task in (0, n - 1):
            expected = tapes(losses[task], factors[task])
            for given in (task, tf.constant(task)):
                ours += [*backward.gradient(given, every), *backward.gradient(given, some)]
                theirs += [*expected, *(expected[k] for k in some)]
        for weights in WEIGHTS[:n], [1.0] * n:
            expected = tapes(losses, [w * f for w, f in zip(weights, factors, strict=True)])
            ours += [*backward.joint(weights, every), *backward.joint(weights, some)]
            theirs += [*expected, *(expected[k] for k in some)]
        seen["tape"] = [[g is not None for g in tape.gradient(y, sources)] for y in losses]
        return ours, theirs

    x = np.random.default_rng(0).normal(size=(8, 6)).astype("float32")
    ours, theirs = both(x)
    np.testing.assert_array_equal(seen["used"], seen["tape"])
    # Otherwise every loss has a pass of its own, which takes longer.
    assert seen["shows"] == ("reads_no_gradient" not in build.__name__)
    assert (seen["cut"] is None) == (cut_after is None)
    assert cut_after is None or cut_after in seen["cut"]
    for mine, tapes in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, tapes, rtol=1e-6, atol=1e-7)
