"""A missing label is as if the example were not there, for its task alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from quick import quick
from tag_models import L, mlp, relative

import keras_tag
from keras_tag import TAGModel
from keras_tag.training.missing_labels import absent_labels

LOSS = {"a": "mse", "b": "binary_crossentropy", "c": "mae"}


def data(n=24, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 6))
    y = {
        "a": rng.normal(size=(n, 2)),
        "b": (rng.random((n, 1)) > 0.5).astype(float),
        "c": rng.normal(size=(n, 1)),
    }
    return x, y


def masked_mean_losses(model, x, y):
    """The mean over the labelled examples of each task, in NumPy."""
    out = {k: v.numpy() for k, v in model(x).items()}
    p = np.clip(out["b"], 1e-7, 1 - 1e-7)
    values = {
        "a": ((out["a"] - y["a"]) ** 2).mean(-1),
        "b": -(y["b"] * np.log(p) + (1 - y["b"]) * np.log(1 - p))[:, 0],
        "c": np.abs(out["c"] - y["c"])[:, 0],
    }
    return {k: float(np.nanmean(v)) for k, v in values.items()}


def test_losses_are_means_over_the_labelled_in_fit_and_evaluate(float64):
    x, y = data()
    y["a"][::3] = np.nan
    y["b"][5:9] = np.nan
    model = mlp()
    tag = TAGModel(model)
    tag.compile(keras.optimizers.SGD(0.0), loss=LOSS)
    expected = masked_mean_losses(model, x, y)
    history = tag.fit(x, y, batch_size=24, verbose=0).history
    logs = tag.evaluate(x, y, batch_size=24, verbose=0, return_dict=True)
    for task, value in expected.items():
        assert logs[f"{task}_loss"] == pytest.approx(value, rel=1e-6)
        assert history[f"{task}_loss"][0] == pytest.approx(value, rel=1e-6)
    assert logs["loss"] == pytest.approx(sum(expected.values()), rel=1e-6)


def test_affinity_is_that_of_the_labelled_examples(float64):
    """When all tasks miss the same examples, the probe is that of the batch without them."""
    x, y = data()
    keep = np.arange(len(x)) % 4 != 0
    gaps = {k: np.where(keep[:, None], v, np.nan) for k, v in y.items()}
    tag = TAGModel(mlp())
    tag.compile("sgd", loss=LOSS)
    whole = tag.measure_affinity(x, gaps)
    part = tag.measure_affinity(x[keep], {k: v[keep] for k, v in y.items()})
    assert relative(whole, part) < 1e-6


def test_a_sentinel_marks_missing_integers(float64):
    inputs = keras.Input((6,))
    h = L.Dense(5, "tanh")(inputs)
    model = keras.Model(
        inputs,
        {
            "kind": L.Dense(3, "softmax", name="kind")(h),
            "flag": L.Dense(1, "sigmoid", name="flag")(h),
        },
    )
    x, _ = data()
    rng = np.random.default_rng(1)
    y = {"kind": rng.integers(0, 3, 24), "flag": rng.integers(0, 2, (24, 1))}
    gaps = {k: v.copy() for k, v in y.items()}
    for v in gaps.values():
        v[::3] = -1
    tag = TAGModel(model, missing=-1)
    tag.compile("sgd", loss={"kind": "sparse_categorical_crossentropy", "flag": "crossentropy"})
    keep = np.arange(24) % 3 != 0
    part = tag.measure_affinity(x[keep], {k: v[keep] for k, v in y.items()})
    assert relative(tag.measure_affinity(x, gaps), part) < 1e-6


@pytest.mark.slow
def test_a_mask_may_be_finer_than_an_example(float64):
    """Per pixel: the loss is the mean over all labelled pixels."""
    inputs = keras.Input((4, 4, 1))
    h = L.Conv2D(3, 3, padding="same", activation="tanh")(inputs)
    model = keras.Model(
        inputs, {"depth": L.Conv2D(1, 1, name="depth")(h), "seg": L.Conv2D(3, 1, name="seg")(h)}
    )
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, 4, 4, 1))
    y = {"depth": rng.normal(size=(5, 4, 4, 1)), "seg": rng.integers(0, 3, (5, 4, 4))}
    y["depth"][rng.random(y["depth"].shape) < 0.3] = np.nan
    y["seg"][rng.random(y["seg"].shape) < 0.4] = -1
    tag = TAGModel(model, missing=-1)
    tag.compile(
        keras.optimizers.SGD(0.0),
        loss={"depth": "mae", "seg": keras.losses.SparseCategoricalCrossentropy(from_logits=True)},
    )
    out = {k: v.numpy() for k, v in model(x).items()}
    logits = out["seg"] - out["seg"].max(-1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    labelled = y["seg"] >= 0
    seg = -np.take_along_axis(log_p, np.where(labelled, y["seg"], 0)[..., None], -1)[..., 0]
    logs = tag.evaluate(x, y, verbose=0, return_dict=True)
    assert logs["depth_loss"] == pytest.approx(np.nanmean(abs(out["depth"] - y["depth"])), rel=1e-6)
    assert logs["seg_loss"] == pytest.approx(seg[labelled].mean(), rel=1e-6)


def test_sample_weights_and_missing_labels_multiply(float64):
    x, y = data()
    weight = np.random.default_rng(2).random(24)
    y["c"][::4] = np.nan
    tag = TAGModel(mlp())
    tag.compile(keras.optimizers.SGD(0.0), loss=LOSS)
    logs = tag.evaluate(x, y, sample_weight={k: weight for k in "abc"}, verbose=0, return_dict=True)
    error = np.abs(tag.model(x)["c"].numpy() - y["c"])[:, 0]
    labelled = ~np.isnan(error)
    assert logs["c_loss"] == pytest.approx(
        (weight * error)[labelled].sum() / labelled.sum(), rel=1e-6
    )


@pytest.mark.parametrize(
    "kind", quick(["gradient", "optimizer", "first_order", "cosine"], ["gradient", "cosine"])
)
@pytest.mark.parametrize("why", ["no label", "no weight"])
def test_a_task_without_labels_has_neither_row_nor_column(kind, why, float64):
    """Its step is none; with a momentum the optimizer would move nevertheless."""
    x, y = data(16)
    weight = None
    if why == "no label":
        y["b"][:] = np.nan
    else:
        weight = {k: np.full(16, 0.0 if k == "b" else 2.0) for k in "abc"}
    tag = TAGModel(mlp(), lookahead=kind)
    tag.compile(keras.optimizers.SGD(0.01, momentum=0.9), loss=LOSS)
    z = tag.measure_affinity(x, y, sample_weight=weight)
    b = tag.tasks.index("b")
    assert np.isnan(z[b]).all()
    assert np.isnan(z[:, b]).all()
    assert np.isfinite(np.delete(np.delete(z, b, 0), b, 1)).all()


@pytest.mark.slow
def test_labels_of_the_probe_data_make_the_columns_those_of_the_batch_the_rows(float64):
    x, y = data(16)
    other = {k: v.copy() for k, v in y.items()}
    y["b"][:] = np.nan
    other["a"][:] = np.nan
    tag = TAGModel(mlp(), probe_data=(x, other))
    tag.compile("sgd", loss=LOSS)
    measured = np.isfinite(tag.measure_affinity(x, y))
    row, column = (np.array([task != lacking for task in tag.tasks]) for lacking in "ba")
    np.testing.assert_array_equal(measured, row[:, None] & column[None, :])


def test_a_batch_without_a_label_leaves_the_pair_out_and_others_in():
    x, y = data(32)
    y["b"][16:] = np.nan
    tag = TAGModel(mlp(), every=1)
    tag.compile("sgd", loss=LOSS)
    tag.fit(x, y, batch_size=16, shuffle=False, verbose=0)
    b = tag.tasks.index("b")
    expected = np.full((3, 3), 2)
    expected[:, b] = expected[b] = 1
    np.testing.assert_array_equal(tag.affinity().count, expected)
    assert np.isfinite(tag.affinity().mean).all()


def test_a_task_that_never_has_a_label_is_unmeasured():
    x, y = data()
    y["b"][:] = np.nan
    tag = TAGModel(mlp(), every=1)
    tag.compile("sgd", loss=LOSS)
    tag.fit(x, y, verbose=0)
    affinity = tag.affinity()
    others = {pair for pair in affinity.unmeasured if pair != ("b", "b")}
    assert others == {("a", "b"), ("b", "a"), ("b", "c"), ("c", "b")}
    assert np.isfinite([v.numpy().sum() for v in tag.model.trainable_variables]).all()


@pytest.mark.slow
@pytest.mark.parametrize("sources", [None, 2])
def test_tasks_that_take_turns_batch_by_batch_never_meet(sources):
    x, y = data(24)
    own = np.arange(24) // 8
    for turn, task in enumerate("abc"):
        y[task][own != turn] = np.nan
    tag = TAGModel(mlp(), every=1, sources_per_probe=sources)
    tag.compile("sgd", loss=LOSS)
    tag.fit(x, y, batch_size=8, shuffle=False, epochs=3, verbose=0)
    count = tag.affinity().count
    assert not (count - np.diag(np.diag(count))).any()
    if sources is None:
        assert (np.diag(count) == 3).all()
    with pytest.raises(ValueError, match="measured"):
        keras_tag.select_groups(tag.affinity(), budget=2)


def test_weighted_metrics_see_labelled_examples_only(float64):
    x, y = data()
    y["c"][::2] = np.nan
    tag = TAGModel(mlp())
    tag.compile("sgd", loss=LOSS, weighted_metrics={"c": ["mae"]})
    logs = tag.evaluate(x, y, batch_size=8, verbose=0, return_dict=True)
    assert logs["c_mae"] == pytest.approx(masked_mean_losses(tag.model, x, y)["c"], rel=1e-6)


@pytest.mark.parametrize(
    ("dtype", "missing", "found"),
    [
        ("bool", -1, []),
        ("bool", 2, []),
        ("uint8", -1, []),
        ("uint8", -100, []),
        ("uint8", 255, [3]),
        ("uint8", 256, []),
        ("int8", -100, [1]),
        ("int8", 156, []),
        ("int32", 0.5, []),
        ("int32", float("nan"), []),
        ("int32", float("inf"), []),
        ("int64", 2**53 + 1, [4]),
        ("int64", -(2**63), [5]),
        ("uint64", 2**64 - 1, [6]),
        ("uint16", np.int64(-1), []),
        ("int32", np.float32(-1.0), [2]),
        ("float32", 0.1, [7]),
        ("float16", -1, [2]),
        ("bfloat16", 1e-60, []),
        ("float64", 0, [0, 8]),
        ("float32", float("nan"), []),
    ],
)
def test_a_sentinel_is_compared_as_a_number(dtype, missing, found):
    """Cast to the labels' dtype, -1 would be True, 255 or 65535."""
    values = [0, -100, -1, 255, 2**53 + 1, -(2**63), 2**64 - 1, 0.1, 0]
    if dtype == "bool":
        y = tf.constant([bool(value) for value in values])
    elif dtype in ("bfloat16", "float16", "float32", "float64"):
        y = tf.constant([float(v) for v in values if abs(v) < 300 or dtype != "float16"], dtype)
        if dtype == "float16":
            found = [2]
    else:
        low, high = tf.as_dtype(dtype).min, tf.as_dtype(dtype).max
        # 7 stands where a value does not fit.
        fits = [v if v == int(v) and low <= v <= high else 7 for v in values]
        y = tf.constant(np.array(fits, dtype))
    absent = absent_labels(y, missing)
    where = [] if absent is None else np.flatnonzero(absent.numpy()).tolist()
    assert where == found


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "loss"), [("bool", "binary_crossentropy"), ("uint8", "mse")])
def test_labels_that_cannot_hold_the_sentinel_are_all_there(dtype, loss):
    x, y = data()
    y["b"] = y["b"].astype(dtype)
    logs = []
    for missing in (None, -1):
        keras.utils.set_random_seed(1)
        tag = TAGModel(mlp(), missing=missing)
        tag.compile("sgd", loss={**LOSS, "b": loss})
        logs.append(tag.evaluate(x, y, verbose=0, return_dict=True))
    assert logs[0] == logs[1]


@pytest.mark.parametrize(("dtype", "missing"), [("float16", 9999), ("float16", -1e6)])
@pytest.mark.parametrize("grouped", [False, True])
def test_a_sentinel_that_a_dtype_rounds_is_one_still(dtype, missing, grouped):
    """float16 holds 10000 for 9999, which Keras casts to float32 before the model sees it."""
    x, y = data()
    y = {task: labels.astype(dtype) for task, labels in y.items()}
    with np.errstate(over="ignore"):
        y["a"][::3] = np.asarray(missing, "float64").astype(dtype)
    assert not (y["a"].astype("float32") == missing).any()
    holed = np.abs(y["a"].astype("float32")) > 9
    right = {task: labels.astype("float32") for task, labels in y.items()}
    right["a"][holed] = np.nan
    model = mlp()
    expected = masked_mean_losses(model, x, right)
    model = TAGModel(model, missing=missing)
    if grouped:
        build = keras_tag.build_from(model, start="all", verbose=False)
        one = keras_tag.Grouping.from_groups([("a", "b", "c")])
        model = keras_tag.GroupedModel(one, build, missing=missing)
    model.compile(keras.optimizers.SGD(0.0), loss=LOSS, run_eagerly=True)
    given = {"batch_size": 24, "verbose": 0}
    logs = model.fit(x, y, validation_data=(x, y), **given).history
    for found in (logs["a_loss"][0], logs["val_a_loss"][0]):
        assert found == pytest.approx(expected["a"], rel=1e-3)
    assert model.evaluate(x, y, return_dict=True, **given)["a_loss"] == logs["val_a_loss"][0]
    if not grouped:
        assert model.check(x, y, batch_size=24).tasks[1].missing == 8


@pytest.mark.parametrize("kind", ["ragged", "sparse"])
def test_labels_that_are_not_dense_are_refused(kind):
    x, y = data()
    ragged = tf.RaggedTensor.from_row_lengths(np.ones(24, "float32"), [1] * 24)
    y["c"] = ragged if kind == "ragged" else tf.sparse.from_dense(y["c"])
    tag = TAGModel(mlp())
    tag.compile("sgd", loss=LOSS)
    batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)
    with pytest.raises(ValueError, match="labels that are dense"):
        tag.fit(batches, verbose=0)


def test_metrics_are_refused_where_labels_are_missing():
    x, y = data()
    tag = TAGModel(mlp())
    tag.compile("sgd", loss=LOSS, metrics={"c": ["mae"]})
    tag.fit(x, y, verbose=0)
    y["c"][0] = np.nan
    with pytest.raises(tf.errors.InvalidArgumentError, match="weighted_metrics"):
        tag.fit(x, y, verbose=0)
    sentinel = TAGModel(mlp(), missing=-1)
    sentinel.compile("sgd", loss=LOSS, metrics={"c": ["mae"]})
    with pytest.raises(ValueError, match="weighted_metrics"):
        sentinel.fit(x, y, verbose=0)


def test_a_loss_of_the_whole_batch_is_refused_where_labels_are_missing():
    """It would count the sentinel as a label; with NaN, everything would be NaN."""
    x, y = data()
    for missing, blank in ((None, np.nan), (-1, -1.0)):
        tag = TAGModel(mlp(), missing=missing)
        tag.compile("sgd", loss={**LOSS, "b": keras.losses.Dice()})
        tag.evaluate(x, y, verbose=0)
        holed = {**y, "b": y["b"].copy()}
        holed["b"][3] = blank
        before = tag.model.get_weights()
        with pytest.raises(tf.errors.InvalidArgumentError, match="number per example"):
            tag.fit(x, holed, verbose=0)
        for old, new in zip(before, tag.model.get_weights(), strict=True):
            np.testing.assert_array_equal(old, new)


def test_a_loss_that_is_not_reduced_is_refused_before_a_step():
    x, y = data()
    tag = TAGModel(mlp())
    tag.compile("sgd", loss={**LOSS, "a": keras.losses.MeanSquaredError(reduction=None)})
    with pytest.raises(ValueError, match="reduction='sum'"):
        tag.fit(x, y, verbose=0)
