"""Optimizers built on more variables, in another order, or with settings outside of configs."""

from contextlib import nullcontext

import apply_and_revert
import keras
import numpy as np
import pytest
from tag_models import L, relative

from keras_tag import TAGModel
from keras_tag.tag_model.shadow_optimizer import _decays


def network():
    inputs = keras.Input((6,))
    h = L.Dense(6, "tanh", name="first")(inputs)
    h = L.Dense(6, "tanh", name="second")(h)
    return keras.Model(inputs, {t: L.Dense(1, name=t)(h) for t in "ab"})


def batch(n=24):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 6))
    return x, {"a": x[:, :1], "b": x[:, 1:2] + rng.normal(size=(n, 1))}


def more(model):
    """With the variables of a layer that is frozen afterwards, and of another model."""
    variables = [*model.trainable_variables, keras.Variable(np.ones(3), name="other")]
    model.get_layer("first").trainable = False
    return variables


def swapped(model):
    """The weights of two layers, which have the same shapes, the other way round."""
    first, second, *heads = (layer.weights for layer in model.layers[1:])
    return [*second, *first, *(weight for head in heads for weight in head)]


@pytest.mark.parametrize("kind", ["optimizer", "gradient"])
@pytest.mark.parametrize("built_on", [more, swapped])
def test_the_step_is_the_optimizers_own(built_on, kind, float64):
    model, optimizer = network(), keras.optimizers.Adam(0.01)
    optimizer.build(built_on(model))
    loss = dict.fromkeys("ab", keras.losses.MeanSquaredError())
    tag = TAGModel(model, every=10**9, lookahead=kind)
    tag.compile(optimizer, loss=loss)
    x, y = batch()
    # Steps on other batches: the slots are not zero, and each is another.
    tag.fit(x[:16], {t: v[:16] for t, v in y.items()}, batch_size=8, shuffle=False, verbose=0)
    measured = tag.measure_affinity(x, y)
    assert np.isfinite(measured).all()
    if kind == "optimizer":
        expected = apply_and_revert.affinity(model, optimizer, x, y, loss, tag.shared_variables)
        assert relative(measured, expected) < 1e-6


def test_a_layer_may_be_frozen_between_two_measurements(float64):
    model, optimizer = network(), keras.optimizers.Adam(0.01)
    loss = dict.fromkeys("ab", keras.losses.MeanSquaredError())
    tag = TAGModel(model, every=1, lookahead="optimizer")
    tag.compile(optimizer, loss=loss)
    x, y = batch()
    tag.fit(x, y, batch_size=8, verbose=0)
    whole = tag.measure_affinity(x, y)
    model.get_layer("first").trainable = False
    measured = tag.measure_affinity(x, y)
    expected = apply_and_revert.affinity(model, optimizer, x, y, loss, tag.shared_variables)
    assert relative(measured, expected) < 1e-6
    assert relative(measured, whole) > 1e-3


def test_an_optimizer_of_other_variables_is_refused():
    model, optimizer = network(), keras.optimizers.Adam(0.01)
    optimizer.build(network().trainable_variables[:2])
    tag = TAGModel(model, every=1, lookahead="optimizer")
    tag.compile(optimizer, loss="mse")
    with pytest.raises(ValueError, match="built on the model's trainable variables"):
        tag.measure_affinity(*batch())


class Factor(keras.optimizers.Adam):
    """Steps of another length, by settings that its configuration does not have."""

    def __init__(self, factor=1.0, private=1.0, scale=None, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor
        self._private = private
        self.scale = scale

    def update_step(self, gradient, variable, learning_rate):
        rate = learning_rate * self.factor * self._private
        super().update_step(gradient, variable, rate * (self.scale or float)(1.0))


def excluding(model):
    optimizer = keras.optimizers.AdamW(0.02, weight_decay=0.5)
    kernel = model.get_layer("first").kernel
    optimizer.exclude_from_weight_decay(var_list=[kernel], var_names=["bias"])
    return optimizer


SETTINGS = {
    "excluded from weight decay": excluding,
    "public": lambda model: Factor(3.0, learning_rate=0.02),
    "private": lambda model: Factor(private=3.0, learning_rate=0.02),
    "a function": lambda model: Factor(scale=lambda one: 3.0 * one, learning_rate=0.02),
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_settings_that_a_configuration_lacks_are_those_of_the_step(setting, float64):
    model = network()
    optimizer = SETTINGS[setting](model)
    loss = dict.fromkeys("ab", keras.losses.MeanSquaredError())
    tag = TAGModel(model, every=10**9, lookahead="optimizer")
    tag.compile(optimizer, loss=loss, run_eagerly=True)
    x, y = batch()
    tag.fit(x, y, batch_size=8, shuffle=False, verbose=0)
    expected = apply_and_revert.affinity(
        model, optimizer, x, y, loss, model.layers[1].weights + model.layers[2].weights
    )
    assert relative(tag.measure_affinity(x, y), expected) < 1e-6


@pytest.mark.parametrize("decay", [None, 0.5])
def test_weight_decay_is_refused_where_keras_does_not_tell_whats_excluded(decay, monkeypatch):
    """As in a later Keras without the private method; while it is there, it is asked."""
    optimizer = keras.optimizers.SGD(weight_decay=decay)
    weight = keras.Variable(1.0)
    assert _decays(optimizer, weight)
    owner = next(of for of in type(optimizer).__mro__ if "_use_weight_decay" in vars(of))
    monkeypatch.delattr(owner, "_use_weight_decay")
    told = pytest.raises(TypeError, match="which weights they decay") if decay else nullcontext()
    with told:
        assert _decays(optimizer, weight)


class Forgetful(keras.optimizers.Adam):
    def __init__(self, strength=1.0, **kwargs):
        super().__init__(**kwargs)
        self.doubled = [strength]


def test_a_setting_that_can_not_be_found_is_told():
    tag = TAGModel(network(), lookahead="optimizer")
    tag.compile(Forgetful(2.0, learning_rate=0.02), loss="mse")
    with pytest.raises(TypeError, match=r"lacks \['strength'\]"):
        tag.measure_affinity(*batch())
    tag = TAGModel(network())
    tag.compile(Forgetful(2.0, learning_rate=0.02), loss="mse")
    with pytest.warns(UserWarning, match="give `lookahead_rate`"):
        tag.measure_affinity(*batch())


def test_a_fixed_loss_scale_does_not_shorten_the_step(float64):
    """Training scales the loss by the factor, and divides gradients by it."""
    found = []
    for factor in (None, 8.0):
        keras.utils.set_random_seed(0)
        tag = TAGModel(network(), lookahead="optimizer")
        tag.compile(keras.optimizers.SGD(0.1, loss_scale_factor=factor), loss="mse")
        found.append(tag.measure_affinity(*batch()))
    assert relative(*found) < 1e-9
