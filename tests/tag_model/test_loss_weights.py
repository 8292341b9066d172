"""A task's step is the one that the joint update takes for it: its loss weight included."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from quick import quick

from keras_tag import TAGModel

TASKS = ("a", "b", "c")
RATE = 0.05
LOSS = dict.fromkeys(TASKS, "mse")


def network():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    trunk = keras.layers.Dense(6, "tanh", name="trunk")(inputs)
    return keras.Model(inputs, {task: keras.layers.Dense(1, name=task)(trunk) for task in TASKS})


def data(n=32):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(n, 4)).astype("float32")
    return x, {task: x[:, [k]] + 0.3 * x[:, [3]] for k, task in enumerate(TASKS)}


def by_hand(model, weights, order=1):
    """Plain TensorFlow: move the trunk by w_i times task i's gradient, measure every loss."""
    x, y = data()
    trunk = model.get_layer("trunk").trainable_variables

    def losses():
        out = model(x)
        return [tf.reduce_mean((y[task] - out[task]) ** 2) for task in TASKS]

    before = np.array([float(loss) for loss in losses()])
    start = [v.numpy() for v in trunk]
    gradients = []
    for k in range(len(TASKS)):
        with tf.GradientTape() as tape:
            loss = losses()[k]
        gradients.append([g.numpy() for g in tape.gradient(loss, [v.value for v in trunk])])
    rows = []
    for own, weight in zip(gradients, weights, strict=True):
        if order == 1:
            for v, value, g in zip(trunk, start, own, strict=True):
                v.assign(value - RATE * weight * g)
            rows.append(1 - np.array([float(loss) for loss in losses()]) / before)
        else:
            inner = [sum(np.sum(p * q) for p, q in zip(own, o, strict=True)) for o in gradients]
            rows.append(RATE * weight * np.array(inner) / before)
    for v, value in zip(trunk, start, strict=True):
        v.assign(value)
    return np.array(rows)


def measured(weights, **kwargs):
    model = network()
    tag = TAGModel(model, **kwargs)
    tag.compile(keras.optimizers.SGD(RATE), loss=LOSS, loss_weights=weights)
    return model, tag.measure_affinity(*data())


@pytest.mark.parametrize("lookahead", ["gradient", "optimizer", "first_order"])
@pytest.mark.parametrize("weights", [[1.0, 1.0, 1.0], [30.0, 1.0, 0.2]])
def test_a_row_is_that_of_the_weighted_step(lookahead, weights):
    model, affinity = measured(dict(zip(TASKS, weights, strict=True)), lookahead=lookahead)
    expected = by_hand(model, weights, order=0 if lookahead == "first_order" else 1)
    np.testing.assert_allclose(affinity, expected, rtol=2e-3, atol=2e-6)


@pytest.mark.slow
def test_weights_of_one_change_no_bit():
    for lookahead in ("gradient", "first_order", "optimizer"):
        _, without = measured(None, lookahead=lookahead)
        _, ones = measured([1.0, 1.0, 1.0], lookahead=lookahead)
        np.testing.assert_array_equal(without, ones)


@pytest.mark.parametrize("lookahead", ["gradient", "optimizer", "first_order"])
def test_a_task_of_weight_zero_takes_no_step_and_is_measured_as_a_target(lookahead):
    _, affinity = measured({"a": 1.0, "b": 0.0, "c": 2.0}, lookahead=lookahead)
    assert np.isnan(affinity[1]).all()
    assert np.isfinite(affinity[[0, 2]]).all()


@pytest.mark.slow
def test_a_cosine_has_no_weights():
    _, without = measured(None, lookahead="cosine")
    _, weighted = measured({"a": 30.0, "b": 0.0, "c": 1.0}, lookahead="cosine")
    np.testing.assert_array_equal(without, weighted)


@pytest.mark.slow
def test_sources_in_turn_are_weighted_each_by_its_own():
    rows = []
    for kwargs in ({}, {"sources_per_probe": 1}):
        tag = TAGModel(network(), every=1, lookahead_rate=RATE, **kwargs)
        tag.compile(keras.optimizers.SGD(0.0), loss=LOSS, loss_weights=[30.0, 1.0, 0.2])
        tag.fit(*data(), batch_size=32, epochs=3, shuffle=False, verbose=0)
        rows.append(tag.affinity().mean)
    np.testing.assert_allclose(rows[0], rows[1], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("kind", quick([keras.Variable, tf.Variable], [keras.Variable]))
@pytest.mark.parametrize("reuse", [False, True])
def test_weights_that_a_callback_changes_are_followed_from_step_to_step(kind, reuse):
    def train(wrap):
        weight = kind(1.0)
        model = wrap(network())
        model.compile(
            keras.optimizers.SGD(RATE), loss=LOSS, loss_weights={"a": weight, "b": 1.0, "c": 1.0}
        )
        change = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: weight.assign(9.0))
        model.fit(*data(), batch_size=32, epochs=2, shuffle=False, verbose=0, callbacks=[change])
        return model

    plain = train(lambda model: model)
    tag = train(lambda model: TAGModel(model, every=1, reuse_gradients=reuse))
    for ours, theirs in zip(tag.model.weights, plain.weights, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-5, atol=1e-6)
    first, second = _by_epoch(tag)
    # b's row, whose weight stays, changes little from step to step; a's grows nine times.
    assert 5 < second[0, 0] / first[0, 0] < 12
    assert 0.5 < second[1, 1] / first[1, 1] < 2


def _by_epoch(tag):
    history = tag.affinity().history
    return [total / count for total, count in zip(history.total, history.count, strict=True)]
