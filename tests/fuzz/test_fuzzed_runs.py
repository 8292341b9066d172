"""`TAGModel.fit` over batches and compile specs of every form that Keras users give.

The same numbers in another form must give the same run: up to rounding, loss, affinity and weights
of the plain form (a dict of float32 arrays); bit for bit, history and weights of Keras's own `fit`
of the bare model on the very same input. What can't be trained on is refused, by us in words or by
Keras as before.
"""

import os
import tempfile

import keras
import numpy as np
import tensorflow as tf
from fuzzing import ANSWERED, REFUSED, fuzz, refused
from hostile_names import NAMES
from hypothesis import strategies as st

from keras_tag import Affinity, GroupedModel, Grouping, TAGModel, build_from

L = keras.layers
TASKS = ("c", "a", "b")
UNITS = {"a": 2, "b": 1, "c": 1}
FUNCTIONS = {
    "mse": keras.losses.mean_squared_error,
    "mae": keras.losses.mean_absolute_error,
    "bce": keras.losses.binary_crossentropy,
}
OBJECTS = {
    "mse": keras.losses.MeanSquaredError,
    "mae": keras.losses.MeanAbsoluteError,
    "bce": keras.losses.BinaryCrossentropy,
}
DTYPES = ["float32", "float64", "float16", "int32", "int64", "uint8", "bool"]


def small_model():
    inputs = keras.Input((3,))
    h = L.Dense(4, "tanh", name="trunk")(inputs)
    return keras.Model(
        inputs, {t: L.Dense(UNITS[t], "sigmoid", name=f"head_{t}")(h) for t in TASKS}
    )


MODEL = small_model()
START = MODEL.get_weights()


class Rows(keras.utils.PyDataset):
    def __init__(self, batches, workers):
        super().__init__(workers=workers)
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        return self.batches[index]


def cut(tree, rows):
    return keras.tree.map_structure(lambda leaf: leaf[rows], tree)


def feed(form, data, batch_size):
    """Arguments of `fit` for the same batches in another form."""
    size = len(keras.tree.flatten(data)[0])
    batches = [cut(data, slice(k, k + batch_size)) for k in range(0, size, batch_size)]
    if form == "arrays":
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        return {"x": x, "y": y, "sample_weight": weight, "batch_size": batch_size}
    if form == "tensors":
        x, y, weight = keras.utils.unpack_x_y_sample_weight(
            keras.tree.map_structure(tf.constant, data)
        )
        return {"x": x, "y": y, "sample_weight": weight, "batch_size": batch_size}
    if form == "dataset":
        return {"x": tf.data.Dataset.from_tensor_slices(data).batch(batch_size)}
    if form == "unknown shapes":
        ranks = keras.tree.map_structure(
            lambda leaf: tf.TensorSpec([None] * leaf.ndim, leaf.dtype), data
        )
        return {"x": tf.data.Dataset.from_generator(lambda: batches, output_signature=ranks)}
    if form == "generator":
        return {"x": (batch for batch in batches)}
    return {"x": Rows(batches, workers=2 if form == "workers" else 1)}


FORMS = ["arrays", "tensors", "dataset", "unknown shapes", "generator", "PyDataset", "workers"]


def numbers(seed, n, missing):
    """Whole numbers, which are the same in every dtype."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 2, size=(n, 3)).astype("float32")
    y = {t: rng.integers(0, 2, size=(n, UNITS[t])).astype("float32") for t in TASKS}
    for task, rows in missing.items():
        y[task][rng.random(n) < rows] = np.nan
    return x, y


def weighting(kind, seed, n):
    if kind is None:
        return None
    weight = np.random.default_rng(seed + 1).integers(0, 3, size=n).astype("float32")
    if kind == "zero":
        weight[:] = 0
    return weight


def losses(kinds, form):
    """The same losses in another form."""
    by_task = {
        "names": kinds,
        "objects": {t: OBJECTS[k]() for t, k in kinds.items()},
        "functions": {t: FUNCTIONS[k] for t, k in kinds.items()},
        "mixed": {t: (OBJECTS[k]() if t == "a" else k) for t, k in kinds.items()},
        "lambdas": {t: (lambda f: lambda y, p: f(y, p))(FUNCTIONS[k]) for t, k in kinds.items()},
    }
    if form == "list":
        return [kinds[t] for t in sorted(TASKS)]
    if form == "one":
        return kinds["a"]
    return by_task[form]


LOSS_FORMS = ["names", "objects", "functions", "mixed", "lambdas", "list"]
FAULTS = [
    "absent label", "unknown loss", "one task", "short list", "no rows", "nested labels",
    "narrow input", "words", "no loss", "loss of a loss",
]  # fmt: skip


@st.composite
def runs(draw):
    fault = draw(st.none() | st.none() | st.sampled_from(FAULTS))
    missing = draw(st.just({}) | st.dictionaries(st.sampled_from(TASKS), st.sampled_from([0.5, 1])))
    dtypes = DTYPES[:3] if missing else DTYPES
    kinds = draw(st.fixed_dictionaries({t: st.sampled_from([*FUNCTIONS]) for t in TASKS}))
    return {
        "seed": draw(st.integers(0, 10**6)),
        "n": draw(st.sampled_from([1, 2, 5, 7])),
        "batch_size": draw(st.sampled_from([1, 2, 3, 8])),
        "form": draw(st.sampled_from(FORMS)),
        "x_dtype": draw(st.sampled_from(DTYPES[:5])),
        "y_dtypes": {task: draw(st.sampled_from(dtypes)) for task in TASKS},
        "flat": draw(st.booleans()),
        "order": draw(st.permutations(TASKS)),
        "extra": draw(st.sampled_from([None, None, "d"])),
        "weight": draw(st.sampled_from([None, None, "some", "zero"])),
        "missing": missing,
        "kinds": kinds,
        "loss_form": draw(st.sampled_from(LOSS_FORMS)),
        "fault": fault,
        "eager": draw(st.integers(0, 19)) > 0,
    }


def spoil(fault, x, y, loss):
    """The same with one mistake in it."""
    y = dict(y)
    if fault == "absent label":
        del y["b"]
    elif fault == "unknown loss":
        loss = {"a": "mse", "depth": "mse"}
    elif fault == "one task":
        loss = {"a": "mse"}
    elif fault == "short list":
        loss = ["mse", "mae"]
    elif fault == "no rows":
        x, y = x[:0], {task: rows[:0] for task, rows in y.items()}
    elif fault == "nested labels":
        y = {"all": y}
    elif fault == "narrow input":
        x = x[:, :1]
    elif fault == "words":
        y["a"] = np.full(y["a"].shape, "word")
    elif fault == "no loss":
        loss = None
    elif fault == "loss of a loss":
        loss = {"a": "mse", "b": 3.5, "c": "no_such_loss"}
    return x, y, loss


def trained(model, fit, loss, eager):
    """History and weights of one run from the same start."""
    MODEL.set_weights(START)
    model.compile(keras.optimizers.SGD(0.1), loss=loss, run_eagerly=eager)
    history = model.fit(**fit, shuffle=False, epochs=1, verbose=0).history
    return history, MODEL.get_weights()


def assert_same(ours, theirs, rtol=1e-4, atol=1e-6):
    for mine, other in zip(keras.tree.flatten(ours), keras.tree.flatten(theirs), strict=True):
        np.testing.assert_allclose(mine, other, rtol=rtol, atol=atol)


def measured(tag):
    try:
        return tag.affinity().mean
    except ValueError as error:
        refused(error, "at least one probe")
        return np.zeros(0)


@fuzz(200, run=runs(), least=0.05, shrink=False)
def test_every_form_of_a_batch_is_the_same_run_or_refused(run):
    """Losses, dtypes, containers, orders, weights, missing labels, and one mistake in some."""
    plain_x, plain_y = numbers(run["seed"], run["n"], run["missing"])
    weight = weighting(run["weight"], run["seed"], run["n"])
    x = plain_x.astype(run["x_dtype"])
    y = {task: plain_y[task].astype(run["y_dtypes"][task]) for task in run["order"]}
    if run["flat"]:
        y["b"] = y["b"][:, 0]
    if run["extra"]:
        y[run["extra"]] = plain_x
    loss = losses(run["kinds"], run["loss_form"])
    if run["fault"]:
        x, y, loss = spoil(run["fault"], x, y, loss)
        weight = None

    def data():
        parts = (x, y) if weight is None else (x, y, weight)
        return feed(run["form"], parts, run["batch_size"])

    tag = TAGModel(MODEL, every=1)
    try:
        history, weights = trained(tag, data(), loss, run["eager"])
    except Exception as error:
        if not run["fault"]:
            raise
        try:
            trained(keras.Model(MODEL.inputs, MODEL.output), data(), loss, run["eager"])
        except Exception as kerass:
            if type(kerass) is type(error):
                return REFUSED  # As without us.
        return refused(error)
    if run["fault"] == "no rows":
        # Keras takes no step over an empty array, and says nothing.
        assert_same(weights, START, rtol=0, atol=0)
        return ANSWERED
    assert run["fault"] is None, f"trained in spite of {run['fault']}"
    plain = TAGModel(MODEL, every=1)
    spec = {task: run["kinds"][task] for task in TASKS}
    numpy = {"x": plain_x, "y": plain_y, "sample_weight": weight, "batch_size": run["batch_size"]}
    plain_history, plain_weights = trained(plain, numpy, spec, eager=True)
    assert_same(weights, plain_weights)
    # Not the tasks' own losses: Keras logs them wrongly where it can't see the batch's size.
    assert_same(history["loss"], plain_history["loss"])
    assert_same(measured(tag), measured(plain))
    if not run["missing"] and not run["extra"]:
        bare = keras.Model(MODEL.inputs, MODEL.output)
        # Up to rounding: without op determinism plain Keras differs from itself in a last bit, too.
        # With it, `test_fit_is_kerass_own.py` holds every bit.
        kerass = trained(bare, data(), loss, run["eager"])
        assert_same((history, weights), kerass, rtol=1e-6, atol=1e-6)
    return ANSWERED


@fuzz(
    60,
    tasks=st.lists(st.sampled_from(NAMES), min_size=2, max_size=3, unique=True),
    least=0,
    shrink=False,
)
def test_task_names_that_keras_takes_are_kept_through_fit_and_files(tasks):
    """Slashes, dots, empty-looking and reserved names: as Keras's own `fit` takes them."""

    def build():
        inputs = keras.Input((3,))
        h = L.Dense(2, "tanh")(inputs)
        model = keras.Model(inputs, {task: L.Dense(1)(h) for task in tasks})
        model.set_weights([np.full(w.shape, 0.3) for w in model.get_weights()])
        return model

    def fitted(model):
        model.compile(keras.optimizers.SGD(0.1), loss=dict.fromkeys(tasks, "mse"), run_eagerly=True)
        return model.fit(x, y, batch_size=4, shuffle=False, verbose=0).history

    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 3)).astype("float32")
    y = {task: rng.normal(size=(4, 1)).astype("float32") for task in tasks}
    bare, tag = build(), TAGModel(build(), every=1)
    try:
        expected = fitted(bare)
    except Exception as error:
        try:
            fitted(tag)
        except Exception as ours:
            if type(ours) is not type(error):
                refused(ours)
            return REFUSED
        raise AssertionError(f"trained what Keras can't: {error}") from error
    assert fitted(tag) == expected
    assert tag.affinity().tasks == tuple(tasks)
    with tempfile.TemporaryDirectory() as folder:
        tag.save(f"{folder}/model.keras")
        tag.affinity().save(f"{folder}/affinity.npz")
        assert sorted(os.listdir(folder)) == ["affinity.npz", "model.keras"]
        loaded = keras.models.load_model(f"{folder}/model.keras").affinity()
        assert Affinity.load(f"{folder}/affinity.npz").tasks == loaded.tasks == tuple(tasks)
        np.testing.assert_array_equal(loaded.mean, tag.affinity().mean)
    grouped = GroupedModel(Grouping.from_groups([tasks[:1], tasks[1:]]), build_from(bare))
    assert list(grouped.predict(x, verbose=0)) == tasks
    return ANSWERED
