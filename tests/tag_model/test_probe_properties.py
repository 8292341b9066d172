"""Properties that theory gives every affinity matrix, on random linear and tanh networks."""

import keras
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tag_models import L, relative

from keras_tag import TAGModel

SETTINGS = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
RATE = 0.1


def weights(seed, names, units=5):
    rng = np.random.default_rng(seed)
    return {
        "trunk": rng.normal(size=(4, units)),
        **{name: rng.normal(size=(units, 1)) for name in names},
    }


def problem(seed, names):
    rng = np.random.default_rng(seed + 1)
    x = rng.normal(size=(10, 4))
    return x, {name: rng.normal(size=(10, 1)) for name in names}


def build(values, names):
    inputs = keras.Input((4,))
    trunk = L.Dense(values["trunk"].shape[1], "tanh", name="trunk")
    h = trunk(inputs)
    model = keras.Model(inputs, {n: L.Dense(1, use_bias=False, name=f"head_{n}")(h) for n in names})
    trunk.kernel.assign(values["trunk"])
    for name in names:
        model.get_layer(f"head_{name}").kernel.assign(values[name])
    return model


def affinity(model, x, y, losses=None, **compile_options):
    tag = TAGModel(model, lookahead_rate=RATE)
    tag.compile("sgd", loss=losses or dict.fromkeys(y, "mse"), **compile_options)
    return tag.tasks, tag.measure_affinity(x, y)


@SETTINGS
@given(seed=st.integers(0, 10**6), order=st.permutations(["p", "q", "r"]))
def test_permuting_the_tasks_permutes_rows_and_columns(seed, order, float64):
    names = ["p", "q", "r"]
    x, y = problem(seed, names)
    tasks, z = affinity(build(weights(seed, names), names), x, y)
    permuted_tasks, permuted = affinity(build(weights(seed, names), order), x, y)
    assert (tasks, permuted_tasks) == (tuple(names), tuple(order))
    index = [names.index(task) for task in order]
    assert relative(permuted, z[np.ix_(index, index)]) < 1e-9


@SETTINGS
@given(seed=st.integers(0, 10**6), factor=st.floats(0.1, 10.0))
def test_scaling_a_loss_scales_its_step_and_leaves_its_column(seed, factor, float64):
    """c L_q: the ratio L'/L in column q is the same; row q is the row at rate c x rate."""
    names = ["p", "q"]
    x, y = problem(seed, names)
    values = weights(seed, names)
    _, z = affinity(build(values, names), x, y)
    scaled_loss = {"p": "mse", "q": lambda t, p: factor * keras.ops.mean((t - p) ** 2, -1)}
    _, scaled = affinity(build(values, names), x, y, scaled_loss)
    np.testing.assert_allclose(scaled[0], z[0], rtol=1e-9)
    tag = TAGModel(build(values, names), lookahead_rate=factor * RATE)
    tag.compile("sgd", loss="mse")
    np.testing.assert_allclose(scaled[1], tag.measure_affinity(x, y)[1], rtol=1e-7, atol=1e-12)


@SETTINGS
@given(seed=st.integers(0, 10**6))
def test_a_duplicated_task_has_the_same_column_and_the_same_row(seed, float64):
    x, y = problem(seed, ["p", "q"])
    values = weights(seed, ["p", "q"])
    values["twin"], y["twin"] = values["q"], y["q"]
    _, z = affinity(build(values, ["p", "q", "twin"]), x, y)
    np.testing.assert_allclose(z[:, 1], z[:, 2], rtol=1e-12)
    np.testing.assert_allclose(z[1], z[2], rtol=1e-12)


@SETTINGS
@given(seed=st.integers(0, 10**6))
def test_a_task_of_zero_weight_takes_no_step_and_is_measured_as_a_target(seed, float64):
    names = ["p", "q"]
    x, y = problem(seed, names)
    values = weights(seed, names)
    _, z = affinity(build(values, names), x, y)
    _, zero = affinity(build(values, names), x, y, loss_weights={"p": 0.0, "q": 1.0})
    assert np.isnan(zero[0]).all()
    np.testing.assert_array_equal(zero[1], z[1])


@SETTINGS
@given(seed=st.integers(0, 10**6), rate=st.sampled_from([1e-5, 1e-4]))
def test_a_small_step_is_its_first_order_term(seed, rate, float64):
    names = ["p", "q", "r"]
    x, y = problem(seed, names)
    zs = []
    for kind in ("gradient", "first_order"):
        tag = TAGModel(build(weights(seed, names), names), lookahead=kind, lookahead_rate=rate)
        tag.compile("sgd", loss="mse")
        zs.append(tag.measure_affinity(x, y))
    assert relative(*zs) < 200 * rate
