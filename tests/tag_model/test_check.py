"""`TAGModel.check`: it changes nothing, sees what is there, and names what will not hold."""

import contextlib
import json
import random
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from fresh_process import run_alone
from quick import quick
from tag_models import KINDS, LOSS, L, Subclassed, assert_same, data, dict_outputs, mlp, snapshot

import keras_tag
from keras_tag import TAGModel

X, Y = data(40, dtype="float32")


def compiled(model=None, optimizer="adam", loss=LOSS, compile=None, **kwargs):
    tag = TAGModel(mlp() if model is None else model, **kwargs)
    tag.compile(optimizer, loss=loss, **(compile or {}))
    return tag


# Nothing changes.


def test_everything_is_as_it_was():
    tag = compiled(dict_outputs(), every=1, compile={"run_eagerly": True})
    tag.train_on_batch(X[:8], {name: label[:8] for name, label in Y.items()})
    tag.run_eagerly = False
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    record, before = tag.affinity().mean, snapshot(tag, tag.optimizer)
    tag.check(X, Y)
    assert_same(before, snapshot(tag, tag.optimizer))
    assert random.getstate() == python
    np.testing.assert_array_equal(np.random.get_state()[1], numpy[1])  # noqa: NPY002
    np.testing.assert_array_equal(tag.affinity().mean, record)


@pytest.mark.parametrize("kind", quick(["dict", "subclassed"], [], nightly=["subclassed"]))
def test_training_goes_on_bit_for_bit(kind):
    def trained(checks):
        keras.utils.clear_session()  # TensorFlow's rounding goes by the names of models.
        keras.utils.set_random_seed(0)
        tag = compiled(KINDS[kind](), every=2)
        if kind == "subclassed":
            tag(X[:2])  # Built before, so that its weights are drawn at the same time.
        if checks:
            tag.check(X, Y)
        history = tag.fit(X, Y, batch_size=8, verbose=0).history
        # A model made afterwards has the weights that it would have had.
        return history, tag, keras.Sequential([keras.Input((2,)), L.Dense(2)])

    (one, checked, after), (other, unchecked, without) = trained(True), trained(False)
    assert one == other
    assert_same(snapshot(checked, checked.optimizer), snapshot(unchecked, unchecked.optimizer))
    np.testing.assert_array_equal(checked.affinity().mean, unchecked.affinity().mean)
    assert_same(snapshot(after), snapshot(without))


def test_a_variable_that_is_no_weight_is_refused_before_it_is_written():
    class Counting(L.Layer):
        def __init__(self):
            super().__init__()
            self.calls = tf.Variable(3.0, name="calls")

        def call(self, inputs):
            self.calls.assign_add(1.0)
            return inputs

    counting = Counting()
    inputs = keras.Input((6,))
    h = counting(L.Dense(4, name="trunk")(inputs))
    tag = compiled(keras.Model(inputs, {t: L.Dense(1)(h) for t in "ab"}), loss="mse")
    counting.calls.assign(3.0)
    with pytest.raises(ValueError, match=r"written at .*counting.*add_weight"):
        tag.check(X, {"a": Y["c"], "b": Y["b"]})
    assert counting.calls.numpy() == 3


# What is seen.


def test_labels_are_counted_by_hand():
    rng = np.random.default_rng(0)
    inputs = keras.Input((5,), dtype="int32")
    h = L.LSTM(4, return_sequences=True)(L.Embedding(9, 3, mask_zero=True)(inputs))
    pooled = L.GlobalAveragePooling1D()(h)
    outputs = {
        "token": L.Dense(1, name="token")(h),
        "tone": L.Dense(1, name="tone")(pooled),
        "yes": L.Dense(1, "sigmoid", name="yes")(pooled),
        "none": L.Dense(1, name="none")(pooled),
    }
    x = rng.integers(1, 9, size=(16, 5))
    x[:6, 3:] = 0
    token = rng.normal(size=(16, 5, 1)).astype("float32")
    token[rng.uniform(size=token.shape) < 0.4] = np.nan
    token[2] = np.nan
    y = {
        "token": token,
        "tone": rng.integers(-1, 3, size=(16, 1)).astype("float32"),
        "yes": rng.integers(0, 2, size=16).astype(bool),
        "none": np.full((16, 1), -1, "int64"),
    }
    weight = {name: np.ones(16, "float32") for name in y}
    weight["yes"][3:] = 0
    tag = compiled(
        keras.Model(inputs, outputs),
        loss={"token": "mse", "tone": "mae", "yes": "binary_crossentropy", "none": "mse"},
        compile={"loss_weights": {"token": 2.0, "tone": 1.0, "yes": 1.0, "none": 1.0}},
        missing=-1,
    )
    found = tag.check(x, y, weight, batch_size=16)
    seen = {task.task: task for task in found.tasks}
    assert [seen[t].missing for t in y] == [np.isnan(token).sum(), (y["tone"] == -1).sum(), 0, 16]
    there = ~np.isnan(token[..., 0])
    labelled = [(there & (x > 0)).any(1).sum(), (y["tone"] != -1).sum(), 3, 0]
    assert [seen[t].labelled for t in y] == labelled
    assert [seen[t].masked for t in y] == [12, 0, 0, 0]
    assert [seen[t].label_dtype for t in y] == ["float32", "float32", "bool", "int64"]
    assert seen["token"].label_shape == (16, 5, 1)
    assert seen["token"].loss_weight == 2
    said = " ".join(found.suggestions)
    assert "none: no label in this batch counts" in said
    assert "yes: bool labels can't hold missing=-1" in said
    np.testing.assert_allclose(
        [seen[t].own_step for t in y],
        np.diagonal(tag.measure_affinity(x.astype("int32"), y, weight)),
        rtol=1e-5,
    )
    assert np.isnan(seen["none"].own_step)
    assert not found.promise("training as plain Keras, bit for bit").holds


def test_weights_are_sorted_by_the_tasks_that_share_them():
    inputs = keras.Input((6,))
    trunk = L.Dense(8, name="trunk")(inputs)
    pair = L.Dense(5, name="pair")(trunk)
    outputs = {t: L.Dense(1, name=t)(pair) for t in ("p", "q")}
    outputs["r"] = L.Dense(1, name="r")(trunk)
    outputs["alone"] = L.Dense(1, name="alone")(L.Dense(3)(L.BatchNormalization()(inputs)))
    tag = compiled(keras.Model(inputs, outputs), "sgd", "mse")
    found = tag.check(X, {task: Y["c"] for task in outputs})
    parts = {part.tasks: part for part in found.shared}
    assert {tasks: part.parameters for tasks, part in parts.items()} == {
        ("p", "q", "r"): 7 * 8,
        ("p", "q"): 9 * 5,
    }
    assert parts["p", "q"].weights == ("pair/kernel", "pair/bias")
    assert [task.shared_parameters for task in found.tasks] == [101, 101, 56, 0]
    assert [task.own_parameters for task in found.tasks] == [6, 6, 9, 12 + 7 * 3 + 4]
    assert found.frozen_parameters == 12
    assert any(text.startswith("alone: shares no trainable weight") for text in found.suggestions)
    # Two copies of the shared weights: a gradient and the moved values. SGD has no shadow.
    assert found.probe.copies == 2 * 4 * 101


@pytest.mark.parametrize(
    ("kwargs", "copies"),
    [
        # Adam: weights and two slots of 120 numbers, the counter (int64) and the rate (float32).
        ({"lookahead": "optimizer"}, 2 * 4 * 56 + 4 * 3 * 120 + 12),
        ({"lookahead": "first_order", "lookahead_rate": 0.1}, 3 * 4 * (56 + 48)),
        ({"lookahead": "cosine"}, 3 * 4 * (56 + 48)),
    ],
    ids=str,
)
def test_copies_are_counted_by_hand(kwargs, copies):
    # The trunk has a kernel of 48 and a bias of 8; the model 120 trainable numbers.
    assert compiled(**kwargs).check(X, Y).probe.copies == copies


# What comes: arrays, datasets, all structures.


class Sequence(keras.utils.PyDataset):
    def __len__(self):
        return 5

    def __getitem__(self, index):
        rows = slice(8 * index, 8 * index + 8)
        return X[rows], {name: label[rows] for name, label in Y.items()}


def test_the_first_batch_of_any_data_is_checked():
    tag = compiled()
    dataset = tf.data.Dataset.from_tensor_slices((X, Y)).batch(8)
    for given in dataset, Sequence():
        found = tag.check(given)
        assert (found.batch_size, found.probe.steps_per_epoch) == (8, 5)
        losses = tag.evaluate(X[:8], {n: v[:8] for n, v in Y.items()}, return_dict=True, verbose=0)
        for task in found.tasks:
            assert task.loss_value == pytest.approx(losses[f"{task.task}_loss"], rel=1e-5)
        # The labels are floats, of which some may be NaN in another batch.
        assert found.promise("training as plain Keras, bit for bit").holds is None
    found = tag.check(X, Y, batch_size=10)
    assert (found.batch_size, found.probe.steps_per_epoch) == (10, 4)
    assert found.promise("training as plain Keras, bit for bit").holds is True
    assert tag.check(X[:8], Y and {n: v[:8] for n, v in Y.items()}).probe.steps_per_epoch is None


def test_rows_are_taken_from_all_of_the_data():
    # Sorted by task: each has labels in one half.
    y = {"a": Y["a"].copy(), "b": Y["b"], "c": Y["c"].copy()}
    y["a"][:20], y["c"][20:] = np.nan, np.nan
    found = compiled().check(X, y, batch_size=8)
    assert {task.task: task.labelled for task in found.tasks} == {"a": 4, "b": 8, "c": 4}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((X,), "Expected labels `y`"),
        ((X[0], {n: v[0] for n, v in Y.items()}), "of as many examples.*Received: 6 in x"),
        ((X, {**Y, "a": Y["a"][:5]}), "40 in x, 5 in y"),
        ((X.tolist(), Y), r"Received: one number in x\[0, 0\], 40 in y\['a'\]\. "),
        (({}, {}), "Received: none"),
        ((X, {"a": Y["a"]}), r"no labels for \['c', 'b'\]"),
        ((iter([(X, Y)]),), r"check\(\*batch\)"),
        ((tf.data.Dataset.from_tensor_slices((X, Y)),), "dataset.batch"),
        ((tf.data.Dataset.from_tensor_slices(X).batch(8),), "Expected batches"),
        ((tf.data.Dataset.from_tensor_slices((X, Y)).batch(8).take(0),), "at least one batch"),
        ((tf.data.Dataset.from_tensor_slices((X, Y)).batch(8), Y), r"alone .*Dataset.*\['y'\]"),
    ],
    ids=range(11),
)
def test_what_is_no_batch_is_refused(given, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        compiled().check(*given)


def test_what_fit_refuses_is_refused():
    with pytest.raises(ValueError, match="compile"):
        TAGModel(mlp()).check(X, Y)
    with pytest.raises(ValueError, match="`batch_size`"):
        compiled().check(X, Y, batch_size=0)
    with pytest.raises(ValueError, match="weighted_metrics"):
        compiled(missing=-1, compile={"metrics": ["mae"]}).check(X, Y)
    inputs = keras.Input((6,))
    model = keras.Model(
        inputs, {t: L.Dense(3, "softmax", name=t)(L.Dense(4)(inputs)) for t in "ab"}
    )
    tag = compiled(model, loss="sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match="share trainable variables"):
        tag.check(X, {t: np.zeros(40, "int32") for t in "ab"})
    with pytest.raises(ValueError, match=r"'a': '-1 to 0'.*missing="):
        tag.check(X, {t: -np.eye(40, dtype="int32")[0] for t in "ab"})


# What holds.


class Noisy(L.Layer):
    def call(self, inputs):
        return inputs + tf.random.normal(tf.shape(inputs))


class Python(L.Layer):
    def call(self, inputs):
        one = tf.ensure_shape(tf.py_function(lambda: 1.0, [], "float32"), ())
        return inputs + tf.stop_gradient(one)


class NotMadeAgain(L.Layer):
    def __init__(self, weights):
        super().__init__()
        self.factor = weights

    def call(self, inputs):
        return inputs * self.factor


def between(layer):
    inputs = keras.Input((6,))
    h = layer(L.Dense(4)(inputs))
    return keras.Model(inputs, {"a": L.Dense(2)(h), "b": L.Dense(1)(h), "c": L.Dense(1)(h)})


class NoConfig(keras.losses.Loss):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def call(self, y_true, y_pred):
        return self.function(y_true, y_pred)


TRAINING, REPEATED = "training as plain Keras, bit for bit", "reproducible probes"
CASES = {
    "plain": (lambda: compiled(), {}, "the graph of a step is Keras's own"),
    "lambda": (
        lambda: compiled(between(L.Lambda(lambda t: 2 * t, name="twice"))),
        {"build_from": False, "saving": None},
        "'twice'",
    ),
    "subclassed": (lambda: compiled(Subclassed()), {"build_from": False}, "build_model"),
    "unseeded": (
        lambda: compiled(between(Noisy(name="noisy"))),
        {REPEATED: False, "saving": None},
        "two probes of the batch differ",
    ),
    "no config": (
        lambda: compiled(between(NotMadeAgain(tf.constant(2.0)))),
        {"build_from": False, "saving": False},
        "get_config",
    ),
    "loss without config": (
        lambda: compiled(loss=NoConfig(lambda t, p: keras.ops.mean((t - p) ** 2, -1))),
        {"saving": None},
        "Could not locate class 'NoConfig'",
    ),
    "python": (
        lambda: compiled(between(Python())),
        {"saving": None},
        "Could not locate class 'Python'",
    ),
    "reuse": (lambda: compiled(reuse_gradients=True), {TRAINING: False}, "another order"),
    "executions": (
        lambda: compiled(compile={"steps_per_execution": 2}),
        {TRAINING: None},
        "steps_per_execution",
    ),
    "eager": (
        lambda: compiled(compile={"run_eagerly": True}),
        {},
        "two probes of the batch agreed",
    ),
}


@pytest.mark.parametrize("case", quick(CASES, ["plain", "lambda", "unseeded", "no config"]))
def test_each_promise_is_said_to_hold_where_it_does(case):
    make, broken, said = CASES[case]
    with pytest.warns() if case == "unseeded" else contextlib.nullcontext():
        found = make().check(X, Y, batch_size=40)
    holds = {promise.name: promise.holds for promise in found.promises}
    assert holds == {**dict.fromkeys(holds, True), **broken}
    assert said in " ".join(str(found).split())
    for promise in found.promises:
        assert bool(promise.way_out) == (promise.holds is not True)
        assert not promise.way_out or any(promise.way_out in s for s in found.suggestions)


@pytest.mark.slow
def test_what_xla_leaves_out_is_said():
    """In a process of its own: where op determinism is on Keras leaves XLA out."""
    run_alone(
        """
        import tensorflow as tf
        from test_check import X, Y, compiled
        for metrics in None, ["mae"]:
            tag = compiled(compile={"jit_compile": True, "metrics": metrics and {"a": metrics}})
            assert tag.jit_compile
            found = tag.check(tf.data.Dataset.from_tensor_slices((X, Y)).batch(8))
            said = [text for text in found.suggestions if "XLA drops the check" in text]
            assert len(said) == (metrics is not None)
    """,
        cwd=Path(__file__).parent,
    )


@pytest.mark.slow
def test_a_file_that_keras_cannot_load_whole_is_told_before(tmp_path):
    @keras.saving.register_keras_serializable(package="tests")
    class Holder(L.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.first, self.second = L.Dense(4), L.Dense(4)

        def build(self, shape):
            self.first.build(shape)
            self.second.build((None, 4))

        def call(self, inputs):
            return self.second(self.first(inputs))

    holder = Holder(name="holder")
    tag = compiled(between(holder))
    assert tag.check(X, Y).promise("saving").holds
    holder.first.trainable = False
    tag.compile("adam", loss=LOSS)
    promise = tag.check(X, Y).promise("saving")
    assert promise.holds is None
    assert holder.first.name in promise.why
    assert holder.second.name not in promise.why
    tag.save(tmp_path / "tag.keras")
    loaded = keras.models.load_model(tmp_path / "tag.keras")
    assert len(loaded.trainable_weights) == len(tag.trainable_weights) + 2


# What to do.


def test_a_step_that_is_too_long_is_named_with_one_that_is_not():
    tag = compiled(optimizer=keras.optimizers.SGD(100.0))
    found = tag.check(X, Y, batch_size=40)
    harmed = [task.task for task in found.tasks if task.own_step < 0]
    text = next(text for text in found.suggestions if "lookahead_rate" in text)
    assert harmed
    assert text.startswith(", ".join(harmed))
    assert "SGD's learning rate, 100" in text
    rate = float(text.partition("lookahead_rate=")[2].partition(")")[0])
    shorter = compiled(tag.model, "sgd", lookahead_rate=rate)
    measured = dict(zip(tag.tasks, np.diagonal(shorter.measure_affinity(X, Y)), strict=True))
    assert all(measured[task] > 0 for task in harmed)


def test_the_rate_is_that_of_the_probes_of_training():
    tag = compiled(every=1, compile={"run_eagerly": True})
    rate = tag.check(X[:8], {n: v[:8] for n, v in Y.items()}).probe.rate
    tag.fit(X[:8], {n: v[:8] for n, v in Y.items()}, verbose=0)
    assert tag.affinity().metadata["settings"]["rate"] == pytest.approx(rate, rel=1e-5)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: compiled(optimizer=keras.optimizers.SGD(1e-12)), "larger `lookahead_rate`"),
        (
            lambda: compiled(compile={"loss_weights": {"a": 0.0, "b": 1.0, "c": 1.0}}),
            "a: of loss weight 0",
        ),
        (
            lambda: compiled(compile={"loss_weights": {"a": 1e5, "b": 1.0, "c": 1.0}}),
            "times that of",
        ),
        (lambda: compiled(every=1), "every=8 it is 1.5 times"),
        (
            lambda: compiled(loss={**LOSS, "a": lambda t, p: -keras.ops.mean(p * p, -1)}),
            "a: the loss is 0 or less",
        ),
    ],
    ids=range(5),
)
def test_what_the_batch_shows_has_a_way_out(make, said):
    assert any(said in text for text in make().check(X, Y).suggestions)


def test_labels_that_are_of_no_task_and_no_class_are_named():
    tag = compiled()
    found = tag.check(X, {**Y, "b": 2 * Y["b"] - 1, "dept": Y["a"]})
    assert any("the labels dept are of no task" in text for text in found.suggestions)
    assert any("b: labels of -1 are no classes" in text for text in found.suggestions)


@pytest.mark.slow
def test_many_tasks_are_told_of_sources_per_probe():
    inputs = keras.Input((6,))
    names = [f"t{k}" for k in range(16)]
    base = keras.Model(inputs, L.Dense(16, "sigmoid")(L.Dense(4)(inputs)))
    y = (np.random.default_rng(0).uniform(size=(40, 16)) > 0.5).astype("int32")
    model = keras_tag.split_outputs(base, names)
    found = compiled(model, "sgd", "binary_crossentropy").check(X, y)
    assert any("sources_per_probe=4" in text for text in found.suggestions)
    assert found.probe.every == ((10, 1 + 16.5 / 10), (50, 1 + 16.5 / 50))
    few = compiled(model, "sgd", "binary_crossentropy", sources_per_probe=4).check(X, y)
    assert few.probe.plain_steps == 1 + 4.5
    assert not any("sources_per_probe" in text for text in few.suggestions)
    assert np.isfinite([task.own_step for task in few.tasks]).tolist() == [True] * 4 + [False] * 12


# How it looks.


def test_it_prints_and_is_data():
    found = compiled().check(X, Y, batch_size=np.int64(32))
    assert str(found) == repr(found)
    assert max(map(len, str(found).splitlines())) <= 100
    for task in found.tasks:
        assert task.task in str(found)
        assert task.loss in str(found)
    plain = found.to_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert plain["tasks"][1]["label_shape"] == [32, 2]
    assert plain["probe"]["copies"] == found.probe.copies
    with pytest.raises(ValueError, match="'build_from'"):
        found.promise("cutting")
    with pytest.raises(AttributeError):
        found.tasks = ()


# Real models.


@pytest.mark.slow
def test_a_network_of_keras_applications():
    backbone = keras.applications.MobileNetV3Small(
        weights=None, include_top=False, input_shape=(64, 64, 3), pooling="avg"
    )
    neck = L.Dense(8, "relu")(backbone.output)
    model = keras.Model(backbone.input, {t: L.Dense(1, name=t)(neck) for t in "ab"})
    x = np.random.default_rng(0).uniform(0, 255, size=(8, 64, 64, 3)).astype("float32")
    tag = compiled(model, loss="mse")
    found = tag.check(x, {t: x[:, 0, 0, :1] / 255 for t in "ab"})
    assert all(promise.holds for promise in found.promises), str(found)
    (part,) = found.shared
    assert part.parameters == sum(int(np.prod(v.shape)) for v in model.trainable_variables) - 18
    backbone.trainable = False
    tag.compile("adam", loss="mse")
    (part,) = tag.check(x, {t: x[:, 0, 0, :1] / 255 for t in "ab"}).shared
    assert part.parameters == 577 * 8  # The dense layer's, on 576 features.


@pytest.mark.nightly
def test_two_replicas():
    run_alone(
        """
        import keras, numpy as np, tensorflow as tf
        cpu = tf.config.list_physical_devices("CPU")[0]
        two = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(cpu, two)
        from tag_models import LOSS, assert_same, data, dict_outputs, snapshot
        from keras_tag import TAGModel

        x, y = data(16, dtype="float32")
        with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
            tag = TAGModel(dict_outputs())
            tag.compile("adam", loss=LOSS)
        before = snapshot(tag)
        found = tag.check(x, y)
        assert_same(before, snapshot(tag))
        assert found.promise("training as plain Keras, bit for bit").holds is None
        np.testing.assert_allclose(
            [task.own_step for task in found.tasks],
            np.diagonal(tag.measure_affinity(x, y)),
            rtol=1e-5,
        )
        """
    )
