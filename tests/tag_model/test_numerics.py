"""Losses that are 0, negative, infinite or NaN, rates of any size, and float16 that overflows."""

import warnings

import keras
import numpy as np
import pytest
from tag_models import L, assert_same, data, mlp, snapshot

from keras_tag import TAGModel

mean, square = keras.ops.mean, keras.ops.square


def shifted(constant):
    """Squared errors plus a constant, which no gradient sees: an ELBO may be so."""
    return lambda y, p: mean(square(y - p), -1) + constant


def compiled(losses, model=None, **options):
    keras.utils.set_random_seed(0)
    tag = TAGModel(mlp() if model is None else model, every=1, **options)
    tag.compile(keras.optimizers.SGD(0.05), loss={"a": "mse", "b": "mse", "c": "mse", **losses})
    return tag


def column(tag, z, task):
    return z[:, tag.tasks.index(task)]


def measured(losses, **options):
    tag = compiled(losses, lookahead_rate=0.05, **options)
    x, y = data(16, dtype="float32")
    before = snapshot(tag, tag.optimizer)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        z = tag.measure_affinity(x, y)
    assert_same(before, snapshot(tag, tag.optimizer))
    assert not np.isinf(z).any()
    return tag, z


@pytest.mark.parametrize("lookahead", ["gradient", "optimizer", "first_order"])
def test_a_loss_of_exactly_0_is_unmeasured_and_helps_nobody(lookahead):
    rate = None if lookahead == "optimizer" else 0.05
    tag = compiled({"c": lambda y, p: 0.0 * mean(p, -1)}, lookahead=lookahead, lookahead_rate=rate)
    tag.fit(*data(16, dtype="float32"), epochs=2, batch_size=8, verbose=0)
    z, zero = tag.affinity(), tag.tasks.index("c")
    assert (z.count[:, zero] == 0).all()
    others = [k for k in range(3) if k != zero]
    np.testing.assert_array_equal(z.mean[zero, others], 0.0)
    assert (z.count[np.ix_(others, others)] == 4).all()


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_a_loss_that_is_no_number_spoils_only_its_own_row_and_column(value):
    tag, z = measured({"c": shifted(value)})
    _, whole = measured({})
    lost = tag.tasks.index("c")
    assert np.isnan(z[:, lost]).all()
    others = [k for k in range(3) if k != lost]
    np.testing.assert_array_equal(z[np.ix_(others, others)], whole[np.ix_(others, others)])


def test_a_constant_changes_the_size_of_a_column_and_a_negative_loss_its_sign():
    tag, plain = measured({})
    loss = tag.evaluate(*data(16, dtype="float32"), verbose=0, return_dict=True)["c_loss"]
    for constant in (3.0, -loss / 2, -loss - 1.0):
        _, z = measured({"c": shifted(constant)})
        expected = column(tag, plain, "c") * loss / (loss + constant)
        np.testing.assert_allclose(column(tag, z, "c"), expected, rtol=1e-3, atol=1e-6)


def test_fit_warns_once_of_a_negative_loss_and_says_what_to_do():
    tag = compiled({"c": shifted(-100.0)})
    with pytest.warns(UserWarning, match=r"losses of \['c'\] are negative.*constant") as caught:
        tag.fit(*data(16, dtype="float32"), epochs=3, verbose=0)
    assert len([w for w in caught if "negative" in str(w.message)]) == 1
    assert (column(tag, tag.affinity().mean, "c") < 0).any()


@pytest.mark.parametrize(
    ("losses", "options"),
    [({"c": shifted(100.0)}, {}), ({"c": shifted(-100.0)}, {"lookahead": "cosine"})],
    ids=["made positive", "cosine"],
)
def test_what_the_warning_advises_is_not_warned_of(losses, options, recwarn):
    tag = compiled(losses, **options)
    tag.fit(*data(16, dtype="float32"), verbose=0)
    assert not [w for w in recwarn if "negative" in str(w.message)]
    assert column(tag, tag.affinity().mean, "c")[tag.tasks.index("c")] > 0


def test_labels_that_are_all_missing_are_not_warned_of(recwarn):
    x, y = data(16, dtype="float32")
    y["c"][:] = np.nan
    compiled({}).fit(x, y, verbose=0)
    assert not [w for w in recwarn if "negative" in str(w.message)]


@pytest.mark.parametrize("rate", [0.0, 1e-45, 1e-30])
def test_a_rate_too_small_to_move_anything_measures_0(rate):
    tag = compiled({}, lookahead_rate=rate)
    np.testing.assert_array_equal(tag.measure_affinity(*data(16, dtype="float32")), 0.0)


@pytest.mark.parametrize("rate", [1e10, 1e30, 1e38])
def test_a_rate_that_overflows_gives_numbers_or_nothing_and_moves_nothing(rate):
    x, y = data(16, dtype="float32")
    linear = keras.Input((6,))
    h = L.Dense(4)(linear)
    units = {"c": 1, "a": 2, "b": 1}
    model = keras.Model(linear, {task: L.Dense(n)(h) for task, n in units.items()})
    tag = compiled({}, model, lookahead_rate=rate)
    before = snapshot(tag, tag.optimizer)
    z = tag.measure_affinity(x, y)
    assert_same(before, snapshot(tag, tag.optimizer))
    assert (np.isnan(z) | (z < 0)).all()


def test_float16_gradients_that_overflow_leave_their_row_out_until_the_scale_fits():
    """The loss scale is 2**15 at first; the optimizer halves it at every step that overflows."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        inputs = keras.Input((6,))
        h = L.Dense(8, "tanh", name="trunk")(inputs)
        model = keras.Model(inputs, {k: L.Dense(1, dtype="float32", name=k)(h) for k in "pq"})
        tag = TAGModel(model, every=1, lookahead_rate=1e-3)
        tag.compile(keras.optimizers.SGD(1e-3), loss="mse")
        x, _ = data(16, dtype="float32")
        y = {"p": x[:, :1], "q": 300.0 + x[:, 1:2]}
        first = tag.measure_affinity(x, y)
        assert np.isnan(first[tag.tasks.index("q")]).all()
        assert np.isfinite(first[tag.tasks.index("p")]).all()
        tag.fit(x, y, epochs=20, verbose=0)
        counts = tag.affinity().count
        assert (counts[tag.tasks.index("p")] == 20).all()
        assert 0 < counts[tag.tasks.index("q")].min() < 20
    finally:
        keras.config.set_dtype_policy(policy)
