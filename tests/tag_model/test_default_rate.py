"""The default rate of a gradient step: as long as the optimizer's real step, to first order."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from quick import quick
from tag_models import LOSS, assert_same, data, mlp, snapshot

from keras_tag import TAGModel

OPTIMIZERS = {
    "adam": lambda: keras.optimizers.Adam(0.01),
    "rmsprop": lambda: keras.optimizers.RMSprop(0.005),
    "lion": lambda: keras.optimizers.Lion(0.003),
    "global_clipnorm": lambda: keras.optimizers.Adam(0.01, global_clipnorm=0.05),
    "loss_scale": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.01)),
}
X, Y = data(24, dtype="float32")


def trained(optimizer, **kwargs):
    keras.utils.set_random_seed(0)
    tag = TAGModel(mlp(), every=10**9, **kwargs)
    tag.compile(optimizer, loss=LOSS, loss_weights={"a": 2.0, "b": 1.0, "c": 1.0}, run_eagerly=True)
    tag.fit(X, Y, batch_size=8, shuffle=False, verbose=0)
    return tag


def rate_by_hand(tag, y=Y):
    """Plain Keras: take the optimizer's step along the joint gradient, and put it back."""
    optimizer = getattr(tag.optimizer, "inner_optimizer", tag.optimizer)
    trunk = tag.model.get_layer("trunk").trainable_variables
    everything = [*trunk, *optimizer.variables]
    saved = [np.copy(v.numpy()) for v in everything]
    with tf.GradientTape() as tape:
        out = tag.model(X, training=True)
        joint = (
            2 * tf.reduce_mean((y["a"] - out["a"]) ** 2)
            + keras.losses.BinaryCrossentropy()(y["b"], out["b"])
            + keras.losses.Huber()(y["c"], out["c"])
        )
    gradient = [g.numpy() for g in tape.gradient(joint, [v.value for v in trunk])]
    optimizer.apply_gradients([(tf.constant(g), v) for g, v in zip(gradient, trunk, strict=True)])
    step = [old - v.numpy() for old, v in zip(saved, trunk, strict=False)]
    for variable, value in zip(everything, saved, strict=True):
        variable.assign(value)

    def inner(left, right):
        return sum(float(np.sum(a.astype("float64") * b)) for a, b in zip(left, right, strict=True))

    return inner(step, gradient) / inner(gradient, gradient)


@pytest.mark.parametrize("name", quick(OPTIMIZERS, ["adam"]))
def test_the_rate_is_that_of_the_optimizers_real_step(name):
    tag = trained(OPTIMIZERS[name]())
    before = snapshot(tag, tag.optimizer)

    def measured():
        found = []
        for tag.lookahead in ("gradient", "first_order"):
            found.append(tag.measure_affinity(X, Y))
        return np.stack(found)

    affinities = measured()
    assert_same(before, snapshot(tag, tag.optimizer))
    tag.lookahead_rate = rate_by_hand(tag)
    np.testing.assert_allclose(affinities, measured(), rtol=2e-3, atol=2e-6)


@pytest.mark.slow
def test_momentum_against_the_gradient_leaves_no_probe_out():
    up = {"a": Y["a"] + 50, "b": np.ones_like(Y["b"]), "c": Y["c"] + 50}
    down = {"a": Y["a"] - 50, "b": np.zeros_like(Y["b"]), "c": Y["c"] - 50}
    tag, given = trained(OPTIMIZERS["adam"]()), trained(OPTIMIZERS["adam"]())
    for model in (tag, given):
        model.fit(X, up, batch_size=8, epochs=4, shuffle=False, verbose=0)
    rate = rate_by_hand(tag, down)
    assert rate < 0
    given.lookahead_rate = -rate
    affinity = tag.measure_affinity(X, down)
    assert np.isfinite(affinity).all()
    np.testing.assert_allclose(affinity, given.measure_affinity(X, down), rtol=2e-3, atol=2e-6)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_with_sgd_it_is_the_learning_rate_bit_for_bit(momentum):
    def measure(**kwargs):
        optimizer = keras.optimizers.SGD(0.0625, momentum=momentum)
        return trained(optimizer, **kwargs).measure_affinity(X, Y)

    np.testing.assert_array_equal(measure(), measure(lookahead_rate=0.0625))


def test_metadata_keep_the_rate_in_force():
    for optimizer, kwargs, expected in (
        (keras.optimizers.SGD(0.05), {}, 0.05),
        (keras.optimizers.Adam(0.01), {"lookahead_rate": 0.2}, 0.2),
        (keras.optimizers.Adam(0.01), {}, None),
    ):
        tag = TAGModel(mlp(), every=1, **kwargs)
        tag.compile(optimizer, loss=LOSS)
        tag.fit(X, Y, verbose=0)
        rate = tag.affinity().metadata["settings"]["rate"]
        assert rate == pytest.approx(expected) if expected else 0 < rate != 0.01


@pytest.mark.slow
def test_an_optimizer_that_cannot_be_copied_is_warned_of():
    class Own(keras.optimizers.Adam):
        def __init__(self, strength):
            super().__init__(0.01 * strength)

        def get_config(self):
            return {}

    tag = TAGModel(mlp(), every=1)
    tag.compile(Own(1.0), loss=LOSS)
    with pytest.warns(UserWarning, match="lookahead_rate"):
        affinity = tag.measure_affinity(X, Y)
    given = TAGModel(tag.model, lookahead_rate=0.01)
    given.compile("sgd", loss=LOSS)
    np.testing.assert_allclose(affinity, given.measure_affinity(X, Y), rtol=1e-5)
