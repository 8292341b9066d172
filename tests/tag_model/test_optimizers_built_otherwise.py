"""An optimizer that was built by hand: on more variables, or in another order."""

import apply_and_revert
import keras
import numpy as np
import pytest
from tag_models import L, relative

from keras_tag import TAGModel


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
