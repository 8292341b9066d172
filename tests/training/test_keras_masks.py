"""A loss is the mean over positions that are labelled and that Keras's masks leave in."""

import keras
import numpy as np
import pytest
from fresh_process import run_alone
from quick import quick
from tag_models import relative

from keras_tag import GroupedModel, Grouping, TAGModel, build_from
from keras_tag.training.keras_masks import mask_of

L = keras.layers
BATCH, LENGTH = 12, 7


def tokens(seed=0):
    """`[BATCH, LENGTH]` token numbers, 0 where a text is over."""
    rng = np.random.default_rng(seed)
    x = np.zeros((BATCH, LENGTH), "int32")
    for row, length in zip(x, rng.integers(2, LENGTH + 1, BATCH), strict=True):
        row[:length] = rng.integers(1, 20, length)
    return x


def tagger(classes=1):
    """A value (or a class) per token from each of two heads."""
    inputs = keras.Input((LENGTH,), dtype="int32")
    h = L.Embedding(20, 4, mask_zero=True)(inputs)
    h = L.Dense(5, "tanh")(h)
    kind = {"activation": "softmax"} if classes > 1 else {}
    return keras.Model(inputs, {t: L.Dense(classes, name=t, **kind)(h) for t in "ab"})


def labels(x, classes=1, seed=1):
    """Labels everywhere, also on padding, and which of them are there."""
    rng = np.random.default_rng(seed)
    there = {t: rng.random(x.shape) < 0.7 for t in "ab"}
    if classes > 1:
        return {t: rng.integers(0, classes, x.shape) for t in "ab"}, there
    return {t: rng.normal(size=(*x.shape, 1)) for t in "ab"}, there


def blanked(y, there, blank):
    return {
        t: np.where(there[t].reshape(v.shape), v, np.asarray(blank, v.dtype)) for t, v in y.items()
    }


def values_of(prediction, y):
    """The unreduced loss of every position, in NumPy."""
    if prediction.shape[-1] == 1:
        return ((prediction - y) ** 2)[..., 0]
    return -np.log(np.take_along_axis(prediction, y[..., None], -1))[..., 0]


def grouped(model, missing=None):
    build = build_from(model, start="all", verbose=False)
    return GroupedModel(Grouping.from_groups([("a", "b")]), build, missing=missing)


def test_the_mask_of_an_output_is_where_keras_keeps_it():
    """If this fails, Keras keeps masks elsewhere: mend `keras_masks`, and look for a public way."""
    x = tokens()
    output = tagger()(x)["a"]
    np.testing.assert_array_equal(mask_of(output), x != 0)
    assert mask_of(L.Dense(1)(np.ones((2, 3)))) is None

    class Half(keras.losses.Loss):
        def call(self, y_true, y_pred):
            output = keras.ops.ones((2, 2))
            output._keras_mask = keras.ops.array([[True, False]] * 2)
            return output

    assert float(Half(reduction="sum")(np.ones((2, 2)), np.ones((2, 2)))) == 2


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("weighting", [None, "examples", "tokens"])
@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("kind", ["sum", "sum_over_batch_size", "mean", "mean_with_sample_weight"])
def test_a_loss_is_over_labelled_unmasked_positions(kind, classes, weighting):
    x = tokens()
    y, there = labels(x, classes)
    missing = -1 if classes > 1 else None
    holed = blanked(y, there, np.nan if classes == 1 else -1)
    rng = np.random.default_rng(2)
    weight = {None: np.ones((BATCH, 1)), "examples": rng.random((BATCH, 1))}.get(
        weighting, rng.random(x.shape)
    )
    given = None if weighting is None else dict.fromkeys("ab", weight)
    if weighting == "examples":
        given = dict.fromkeys("ab", weight[:, 0])
    make = keras.losses.MeanSquaredError
    if classes > 1:
        make = keras.losses.SparseCategoricalCrossentropy
    model = tagger(classes)
    predictions = {task: output.numpy() for task, output in model(x).items()}
    tag = TAGModel(model, missing=missing)
    for wrapped in (tag, grouped(model, missing)):
        # Eagerly: to trace takes longer, and other tests do.
        wrapped.compile("sgd", loss={t: make(reduction=kind) for t in "ab"}, run_eagerly=True)
        logs = wrapped.evaluate(
            x, holed, sample_weight=given, batch_size=BATCH, verbose=0, return_dict=True
        )
        for task in "ab":
            counted = there[task] & (x != 0)
            values = (values_of(predictions[task], y[task]) * weight)[counted]
            divisor = {"sum": 1.0, "mean_with_sample_weight": (counted * weight).sum()}
            expected = values.sum() / divisor.get(kind, counted.sum())
            assert logs[f"{task}_loss"] == pytest.approx(expected, rel=1e-6), type(wrapped)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("wrap", [TAGModel, grouped])
def test_training_is_that_of_plain_keras_with_the_labelled_weighted(wrap):
    """The oracle: Keras's own mean over weights, which are 1 for labelled and 0 for missing."""
    x = tokens()
    y, there = labels(x)
    keras.utils.set_random_seed(1)
    plain = tagger()
    plain.compile(
        keras.optimizers.SGD(0.5),
        loss={t: keras.losses.MeanSquaredError(reduction="mean_with_sample_weight") for t in "ab"},
    )
    keras.utils.set_random_seed(1)
    wrapped = wrap(tagger())
    wrapped.compile(keras.optimizers.SGD(0.5), loss={"a": "mse", "b": "mse"})
    fit = {"batch_size": 5, "epochs": 2, "shuffle": False, "verbose": 0}
    plain.fit(x, y, sample_weight={t: m.astype(float) for t, m in there.items()}, **fit)
    wrapped.fit(x, blanked(y, there, np.nan), **fit)
    wrapped = wrapped.model if wrap is TAGModel else wrapped.networks[0]
    for ours, right in zip(wrapped.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(ours, right, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(("classes", "weighting"), [(1, "tokens"), (1, None), (3, None)])
def test_without_missing_labels_fit_is_bit_for_bit_kerass(classes, weighting):
    x = tokens()
    y, _ = labels(x, classes)
    weight = None
    if weighting:
        weight = dict.fromkeys("ab", np.random.default_rng(2).random(x.shape).astype("float32"))
    loss = {"a": "mse", "b": "mae"} if classes == 1 else dict.fromkeys("ab", "crossentropy")
    runs = []
    for wrap in (lambda model: model, lambda model: TAGModel(model, every=2)):
        keras.utils.set_random_seed(1)
        model = tagger(classes)
        wrapped = wrap(model)
        metric = "mae" if classes == 1 else "acc"
        # SGD, because a trace of Adam takes longer than all else here.
        wrapped.compile("sgd", loss=loss, weighted_metrics={"a": [metric]})
        history = wrapped.fit(
            x, y, sample_weight=weight, batch_size=4, epochs=2, shuffle=False, verbose=0
        )
        runs.append((history.history, model.get_weights()))
    assert runs[0][0] == runs[1][0]
    for ours, right in zip(runs[1][1], runs[0][1], strict=True):
        np.testing.assert_array_equal(ours, right)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    "kind", quick(["gradient", "optimizer", "first_order", "cosine"], ["gradient"])
)
def test_affinity_is_that_of_the_positions_that_count(kind):
    """Labels that are missing on masked positions only change nothing."""
    x = tokens()
    y, _ = labels(x)
    tag = TAGModel(tagger(), lookahead=kind)
    tag.compile("sgd", loss={"a": "mse", "b": "mae"})
    holed = blanked(y, dict.fromkeys("ab", x != 0), np.nan)
    whole = tag.measure_affinity(x, y)
    assert np.isfinite(whole).all()
    assert relative(tag.measure_affinity(x, holed), whole) < 1e-9


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("ignored", [0, 2])
def test_a_class_that_a_loss_ignores_is_not_counted_either(ignored):
    """`ignore_class` is a Keras mask on the values; missing labels come on top."""
    x = tokens()
    y, there = labels(x, 3)
    model = tagger(3)
    predictions = model.predict(x, verbose=0)
    tag = TAGModel(model, missing=-1)
    make = keras.losses.SparseCategoricalCrossentropy
    tag.compile("sgd", loss={t: make(ignore_class=ignored) for t in "ab"})
    logs = tag.evaluate(x, blanked(y, there, -1), batch_size=BATCH, verbose=0, return_dict=True)
    for task in "ab":
        counted = there[task] & (x != 0) & (y[task] != ignored)
        expected = values_of(predictions[task], y[task])[counted].mean()
        assert logs[f"{task}_loss"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_masking_layers_and_one_hot_labels_are_masked_alike():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(BATCH, LENGTH, 3))
    x[tokens() == 0] = 0.0
    inputs = keras.Input((LENGTH, 3))
    h = L.SimpleRNN(4, return_sequences=True)(L.Masking()(inputs))
    model = keras.Model(
        inputs,
        [L.Dense(3, "softmax", name="kind")(h), L.TimeDistributed(L.Dense(2), name="place")(h)],
    )
    kind = np.eye(3)[rng.integers(0, 3, (BATCH, LENGTH))]
    place = rng.normal(size=(BATCH, LENGTH, 2))
    there = rng.random((2, BATCH, LENGTH)) < 0.6
    # One of two coordinates is enough to make a label missing.
    holed = [np.where(there[0][..., None], kind, np.nan), place.copy()]
    holed[1][~there[1], 1] = np.nan
    tag = TAGModel(model)
    tag.compile("sgd", loss=["categorical_crossentropy", "mae"], run_eagerly=True)
    logs = tag.evaluate(x, holed, batch_size=BATCH, verbose=0, return_dict=True)
    p = model.predict(x, verbose=0)
    real = tokens() != 0
    cross = -np.log((p[0] * kind).sum(-1))[there[0] & real].mean()
    error = np.abs(p[1] - place).mean(-1)[there[1] & real].mean()
    assert logs["kind_loss"] == pytest.approx(cross, rel=1e-5)
    assert logs["place_loss"] == pytest.approx(error, rel=1e-6)


@pytest.mark.slow
def test_two_replicas_share_masked_batches_by_what_counts():
    run_alone(
        """
    import keras, numpy as np, tensorflow as tf
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    import sys; sys.path.insert(0, PATH)
    import contextlib
    from test_keras_masks import blanked, labels, tagger, tokens
    from keras_tag import TAGModel
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    for classes, reduction in ((1, "mean"), (3, "mean_with_sample_weight"), (3, "sum")):
        x = tokens()[:11]
        y, there = labels(x, classes)
        holed = blanked(y, there, np.nan if classes == 1 else -1)
        for given in (y, holed):
            found = []
            for scope in (contextlib.nullcontext(), strategy.scope()):
                keras.utils.set_random_seed(1)
                with scope:
                    tag = TAGModel(tagger(classes), missing=-1 if classes > 1 else None)
                    make = keras.losses.MeanSquaredError
                    if classes > 1:
                        make = keras.losses.SparseCategoricalCrossentropy
                    tag.compile("sgd", loss={t: make(reduction=reduction) for t in "ab"})
                found.append(tag.measure_affinity(x, given))
            assert np.isfinite(found[0]).all()
            np.testing.assert_allclose(found[1], found[0], rtol=1e-9)
    """.replace("PATH", repr(__file__.rsplit("/", 1)[0]))
    )
