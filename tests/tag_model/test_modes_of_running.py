"""Mixed precision, XLA, several steps per execution, reused gradients, odd ways to call fit."""

import keras
import numpy as np
import pytest
from fresh_process import run_alone
from quick import quick
from tag_models import LOSS, L, assert_same, data, mlp, relative

from keras_tag import TAGModel


@pytest.fixture
def policy(request):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy(before)


def two_outputs():
    inputs = keras.Input((6,))
    h = L.Dense(16, "tanh", name="trunk")(inputs)
    return keras.Model(
        inputs,
        {k: L.Dense(1, dtype="float32", name=k)(h) for k in ("p", "q")},
    )


@pytest.mark.parametrize(
    ("policy", "kind"),
    quick(
        [
            (policy, kind)
            for policy in ("mixed_float16", "mixed_bfloat16")
            for kind in ("gradient", "optimizer", "first_order")
        ],
        [("mixed_float16", kind) for kind in ("gradient", "optimizer", "first_order")],
        nightly=[("mixed_bfloat16", kind) for kind in ("optimizer", "first_order")],
    ),
    indirect=["policy"],
)
def test_mixed_precision_measures_what_float32_measures(policy, kind):
    x, _ = data(64, dtype="float32")
    y = {"p": x[:, :1], "q": x[:, 1:2] - x[:, :1]}
    zs = []
    weights = None
    for name in (policy, "float32"):
        keras.config.set_dtype_policy(name)
        model = two_outputs()
        if weights is None:
            weights = model.get_weights()
        model.set_weights(weights)
        rate = {} if kind == "optimizer" else {"lookahead_rate": 0.3}
        tag = TAGModel(model, every=1, lookahead=kind, **rate)
        tag.compile(keras.optimizers.SGD(0.3), loss="mse")
        tag.fit(x, y, batch_size=64, verbose=0)
        zs.append(tag.affinity().mean)
    assert relative(*zs) < 0.05


@pytest.mark.parametrize("policy", ["mixed_float16"], indirect=True)
def test_small_gradients_do_not_vanish_in_float16(policy):
    """Without loss scaling a gradient of 1e-9 is 0 in float16; the optimizer's scale saves it."""
    x, _ = data(64, dtype="float32")
    y = {"p": x[:, :1], "q": x[:, 1:2]}
    tiny = {k: lambda t, p: 1e-6 * keras.ops.mean((t - p) ** 2, -1) for k in y}
    tag = TAGModel(two_outputs(), lookahead_rate=1e5)
    tag.compile(keras.optimizers.SGD(0.1), loss=tiny)
    assert type(tag.optimizer).__name__ == "LossScaleOptimizer"
    z = tag.measure_affinity(x, y)
    assert (np.diag(z) > 1e-3).all()


@pytest.mark.slow
def test_xla_trains_and_measures_the_same():
    """In a process of its own, where no other test has switched op determinism on."""
    code = """
        import keras, numpy as np
        from tag_models import LOSS, data, mlp
        from keras_tag import TAGModel
        x, y = data(64, dtype="float32")
        runs = []
        for jit in (False, True):
            keras.utils.set_random_seed(0)
            model = mlp(norm=True)
            tag = TAGModel(model, every=2)
            tag.compile("sgd", loss=LOSS, jit_compile=jit)
            assert tag.jit_compile is jit
            tag.fit(x, y, batch_size=16, epochs=2, shuffle=False, verbose=0)
            runs.append((tag.affinity(), model.get_weights()))
        (a, wa), (b, wb) = runs
        np.testing.assert_array_equal(a.count, b.count)
        np.testing.assert_allclose(a.mean, b.mean, rtol=1e-3, atol=1e-6)
        for u, v in zip(wa, wb):
            np.testing.assert_allclose(u, v, rtol=1e-4, atol=1e-5)
    """
    run_alone(code)


def test_gradients_may_be_accumulated():
    x, y = data(32, dtype="float32")
    ends = []
    for wrap in (lambda model: model, lambda model: TAGModel(model, every=2)):
        keras.utils.set_random_seed(0)
        model = mlp()
        outer = wrap(model)
        optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)
        outer.compile(optimizer, loss=LOSS)
        outer.fit(x, y, batch_size=4, shuffle=False, verbose=0)
        ends.append(model.get_weights())
    assert outer.probes == 4
    for ours, theirs in zip(*ends, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
def test_several_steps_per_execution_probe_whole_executions():
    x, y = data(16 * 8, dtype="float32")
    runs = []
    for wrap in (lambda m: m, lambda m: TAGModel(m, every=4)):
        keras.utils.set_random_seed(0)
        model = mlp(norm=True)
        outer = wrap(model)
        outer.compile("adam", loss=LOSS, steps_per_execution=2)
        outer.fit(x, y, batch_size=16, shuffle=False, verbose=0)
        runs.append(model.get_weights())
    # Executions of steps 0-1, 2-3, 4-5, 6-7: the second and the third are probed, two steps each.
    assert outer.affinity().count.min() == outer.affinity().count.max() == 4
    for a, b in zip(*runs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


def test_probing_goes_on_after_an_execution_that_the_end_of_the_data_cuts_short():
    """Ten steps an epoch in executions of 4, 4 and 2, of which a probed one may be cut short."""
    x, y = data(20, dtype="float32")
    tag = TAGModel(mlp(), every=8)
    tag.compile("sgd", loss=LOSS, steps_per_execution=4)
    counts = []
    for _ in range(4):
        tag.fit(x, y, batch_size=2, shuffle=False, verbose=0)
        counts.append(tag.probes)
        assert int(tag.optimizer.iterations) == 10 * len(counts)
    # Executions begin at steps 0, 4, 8; 10, 14, 18; 20, 24, 28; 30, 34, 38. Steps 8, 16, 24, 32 and
    # 40 would be in those of 8, 14, 24, 30 and 38; the first probe is made at 4 in place of 0.
    assert counts == [4 + 2, 10, 14, 14 + 4 + 2]


def test_every_must_be_a_multiple_of_the_steps_per_execution():
    tag = TAGModel(mlp(), every=3)
    tag.compile("sgd", loss=LOSS, steps_per_execution=2)
    with pytest.raises(ValueError, match="multiple of `steps_per_execution`"):
        tag.fit(*data(32, dtype="float32"), verbose=0)


@pytest.mark.slow
@pytest.mark.parametrize("loss_weights", [None, {"a": 0.5, "b": 2.0, "c": 3.0}])
def test_reused_gradients_train_the_same_up_to_rounding(loss_weights, float64):
    x, y = data()
    y["a"][::5] = np.nan
    runs = []
    for reuse in (False, True):
        keras.utils.set_random_seed(0)
        model = mlp(norm=True, dropout=0.2, regularizer=keras.regularizers.L2(0.01))
        tag = TAGModel(model, every=1, reuse_gradients=reuse)
        tag.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss=LOSS, loss_weights=loss_weights)
        history = tag.fit(x, y, batch_size=16, epochs=2, shuffle=False, verbose=0).history
        runs.append((model.get_weights(), history, tag.affinity().mean))
    for a, b in zip(runs[0][0], runs[1][0], strict=True):
        assert relative(b, a) < 1e-6
    for key, values in runs[0][1].items():
        np.testing.assert_allclose(values, runs[1][1][key], rtol=1e-6)
    assert relative(runs[1][2], runs[0][2]) < 1e-6


def test_train_on_batch_counts_steps():
    x, y = data(16, dtype="float32")
    tag = TAGModel(mlp(), every=2)
    tag.compile("sgd", loss=LOSS)
    for _ in range(5):
        tag.train_on_batch(x, y)
    assert tag.affinity().count.min() == 3


def test_validation_between_epochs_does_not_reset_the_affinity():
    x, y = data(32, dtype="float32")
    tag = TAGModel(mlp(), every=1)
    tag.compile("sgd", loss=LOSS)
    tag.fit(x, y, batch_size=16, epochs=3, validation_data=(x, y), verbose=0)
    assert tag.affinity().count.min() == 6
    tag.reset_affinity()
    with pytest.raises(ValueError, match="at least one probe"):
        tag.affinity()
    tag.fit(x, y, batch_size=16, verbose=0)
    assert tag.affinity().count.min() == 2


def test_compiling_anew_keeps_the_affinity_and_follows_the_new_optimizer(float64):
    x, y = data(32)
    tag = TAGModel(mlp(), every=1, lookahead="optimizer")
    tag.compile(keras.optimizers.SGD(0.1), loss=LOSS)
    slow = tag.measure_affinity(x, y)
    tag.compile(keras.optimizers.SGD(0.2), loss=LOSS)
    assert relative(tag.measure_affinity(x, y), slow) > 0.1
    tag.fit(x, y, batch_size=16, verbose=0)
    tag.compile(keras.optimizers.SGD(0.1), loss=LOSS)
    with pytest.warns(UserWarning, match="learning_rate"):
        tag.fit(x, y, batch_size=16, verbose=0)
    assert tag.affinity().count.min() == 2
    assert tag.affinity(parts="all").count.min() == 4


def test_the_learning_rate_is_the_current_one(float64):
    x, y = data(32)
    tag = TAGModel(mlp())
    tag.compile(keras.optimizers.SGD(0.1), loss=LOSS)
    fixed = TAGModel(tag.model, lookahead_rate=0.025)
    fixed.compile(keras.optimizers.SGD(7.0), loss=LOSS)
    tag.optimizer.learning_rate = 0.025
    assert relative(tag.measure_affinity(x, y), fixed.measure_affinity(x, y)) < 1e-7


def test_the_wrapped_model_is_trained_not_a_copy():
    x, y = data(32, dtype="float32")
    model = mlp()
    tag = TAGModel(model)
    tag.compile("sgd", loss=LOSS)
    before = [w.copy() for w in model.get_weights()]
    tag.fit(x, y, verbose=0)
    assert tag.model is model
    assert any((a != b).any() for a, b in zip(before, model.get_weights(), strict=True))
    with pytest.raises(AssertionError):
        assert_same(before, model.get_weights())


def test_summary_is_the_wrapped_models(capsys):
    model = mlp()
    lines, mine = [], []
    model.summary(print_fn=lines.append)
    TAGModel(model).summary(print_fn=mine.append)
    assert mine == lines
