"""Layers that draw random numbers, keep state, share weights or have sparse gradients."""

import apply_and_revert
import keras
import numpy as np
import pytest
from quick import quick
from tag_models import L, assert_same, relative, snapshot

from keras_tag import TAGModel

LOSS = {"one": "mse", "two": "mae"}


def two_heads(inputs, h):
    return keras.Model(inputs, {"one": L.Dense(1, name="one")(h), "two": L.Dense(2, name="two")(h)})


def dropout():
    i = keras.Input((6,))
    return two_heads(i, L.Dropout(0.5)(L.Dense(8, "tanh", name="trunk")(i)))


def gaussian_noise():
    i = keras.Input((6,))
    return two_heads(i, L.GaussianNoise(0.5)(L.Dense(8, "tanh", name="trunk")(i)))


def batch_norm():
    i = keras.Input((6,))
    return two_heads(i, L.BatchNormalization(name="trunk_n")(L.Dense(8, "tanh", name="trunk")(i)))


def spectral_norm():
    i = keras.Input((6,))
    return two_heads(i, L.SpectralNormalization(L.Dense(8, "tanh"), name="trunk")(i))


def nested():
    i = keras.Input((6,))
    inner = keras.Sequential([L.Dense(8, "relu"), L.Dropout(0.3), L.Dense(8)], name="trunk")
    j = keras.Input((6,))
    return two_heads(i, keras.Model(j, inner(j), name="trunk_outer")(i))


def embedding():
    i = keras.Input((7,), dtype="int32")
    return two_heads(i, L.Flatten()(L.Embedding(12, 3, name="trunk")(i)))


def lstm():
    i = keras.Input((7, 3))
    return two_heads(i, L.LSTM(5, dropout=0.2, name="trunk")(i))


def gru():
    i = keras.Input((7, 3))
    return two_heads(i, L.GRU(5, name="trunk")(i))


def attention():
    i = keras.Input((7, 4))
    h = L.MultiHeadAttention(2, 3, dropout=0.2, name="trunk")(i, i)
    return two_heads(i, L.GlobalAveragePooling1D()(h))


def called_twice():
    i = keras.Input((6,))
    layer = L.Dense(6, "tanh", name="trunk")
    return two_heads(i, layer(L.Dropout(0.2)(layer(i))))


def masked():
    i = keras.Input((7,), dtype="int32")
    h = L.Embedding(12, 3, mask_zero=True, name="trunk_e")(i)
    return two_heads(i, L.LSTM(4, name="trunk")(h))


MODELS = {
    f.__name__: f
    for f in (
        dropout,
        gaussian_noise,
        batch_norm,
        spectral_norm,
        nested,
        embedding,
        lstm,
        gru,
        attention,
        called_twice,
        masked,
    )
}


def batch(model, n=12):
    rng = np.random.default_rng(3)
    shape = (n, *model.input_shape[1:])
    if model.inputs[0].dtype == "int32":
        x = rng.integers(0, 12, size=shape).astype("int32")
    else:
        x = rng.normal(size=shape).astype(keras.config.floatx())
    y = {
        "one": rng.normal(size=(n, 1)).astype(keras.config.floatx()),
        "two": rng.normal(size=(n, 2)).astype(keras.config.floatx()),
    }
    return x, y


@pytest.mark.parametrize(
    "name",
    quick(MODELS, ["batch_norm", "spectral_norm", "nested", "lstm", "called_twice", "masked"]),
)
def test_the_probe_is_right_and_leaves_no_trace(name, float64):
    model = MODELS[name]()
    tag = TAGModel(model)
    optimizer = keras.optimizers.SGD(0.1)
    losses = {"one": keras.losses.MeanSquaredError(), "two": keras.losses.MeanAbsoluteError()}
    tag.compile(optimizer, loss=losses)
    optimizer.build(model.trainable_variables)
    x, y = batch(model)
    before = snapshot(tag, optimizer)
    z = tag.measure_affinity(x, y)
    assert_same(before, snapshot(tag, optimizer))
    shared = [
        v
        for v in model.trainable_variables
        if "trunk" in v.path or ("one" not in v.path and "two" not in v.path)
    ]
    assert [v.path for v in tag.shared_variables] == [v.path for v in shared]
    expected = apply_and_revert.affinity(
        model, optimizer, x, y, losses, shared, kind="gradient", rate=0.1
    )
    assert relative(z, expected) < 1e-6


def spectral_norm_everywhere():
    i = keras.Input((6,))
    h = L.SpectralNormalization(L.Dense(8, "tanh"), name="trunk")(i)
    one = L.SpectralNormalization(L.Dense(1), name="one")(h)
    return keras.Model(i, {"one": one, "two": L.Dense(2, name="two")(h)})


@pytest.mark.parametrize("steps", quick([1, 3], [3]))
@pytest.mark.parametrize("kind", ["optimizer", "gradient"])
def test_an_optimizers_step_starts_from_the_weight_that_a_layer_has_rewritten(kind, steps, float64):
    """So it is in training; the weight itself was not yet divided by its norm."""
    model, optimizer = spectral_norm_everywhere(), keras.optimizers.Adam(0.02)
    rate = {"lookahead_rate": 0.1} if kind == "gradient" else {}
    tag = TAGModel(model, lookahead=kind, steps=steps, **rate)
    losses = {"one": keras.losses.MeanSquaredError(), "two": keras.losses.MeanAbsoluteError()}
    tag.compile(optimizer, loss=losses)
    optimizer.build(model.trainable_variables)
    x, y = batch(model)
    z = tag.measure_affinity(x, y)
    expected = apply_and_revert.affinity(
        model, optimizer, x, y, losses, tag.shared_variables, kind=kind, rate=0.1, steps=steps
    )
    assert relative(z, expected) < 1e-6


def test_the_default_rate_is_that_of_a_step_from_there(float64):
    model = spectral_norm_everywhere()
    tag = TAGModel(model)
    tag.compile(keras.optimizers.Adam(0.02), loss=LOSS)
    x, y = batch(model)
    z = tag.measure_affinity(x, y)
    state = snapshot(model)
    model(x, training=True)
    for variable, value in zip(model.variables, state, strict=False):
        if not variable.trainable:
            variable.assign(value)
    # The kernels are divided by their norms now, and dividing them again changes nothing.
    assert relative(z, tag.measure_affinity(x, y)) < 1e-6


@pytest.mark.parametrize(
    "name",
    quick(
        MODELS,
        ["dropout", "gaussian_noise", "lstm", "attention"],
        # These draw nothing.
        nightly=["batch_norm", "embedding", "gru", "called_twice", "masked"],
    ),
)
def test_the_same_random_draws_before_and_after(name):
    """A step of length 0 changes no loss: not one bit, in a compiled step with dropout."""
    model = MODELS[name]()
    tag = TAGModel(model, every=1, lookahead_rate=0.0)
    tag.compile("adam", loss=LOSS)
    tag.fit(*batch(model), batch_size=6, verbose=0)
    # The graph rewriter rounds the losses of spectral normalisation otherwise in a function.
    atol = 1e-7 if name == "spectral_norm" else 0
    np.testing.assert_allclose(tag.affinity().mean, np.zeros((2, 2)), rtol=0, atol=atol)
    assert tag.affinity().count.min() == 2


def test_several_inputs_by_name():
    u, v = keras.Input((3,), name="u"), keras.Input((2,), name="v")
    h = L.Dense(5, "tanh")(L.Concatenate()([u, v]))
    model = keras.Model(
        {"u": u, "v": v}, {"one": L.Dense(1, name="one")(h), "two": L.Dense(2, name="two")(h)}
    )
    rng = np.random.default_rng(0)
    x = {"u": rng.normal(size=(8, 3)), "v": rng.normal(size=(8, 2))}
    y = {"one": rng.normal(size=(8, 1)), "two": rng.normal(size=(8, 2))}
    tag = TAGModel(model, every=1)
    tag.compile("sgd", loss=LOSS)
    tag.fit(x, y, verbose=0)
    assert tag.tasks == ("one", "two")
    assert np.isfinite(tag.affinity().mean).all()
