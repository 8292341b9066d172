"""Whole searches on models that people have; what is served is what was trained."""

import warnings

import keras
import numpy as np
import pytest
import toys

import keras_tag
from keras_tag.command import main as cli
from keras_tag.datasets.digits import compose_digits
from keras_tag.demo import DemoSettings, run_demo
from keras_tag.demo.network import build_network

pytestmark = pytest.mark.slow


def assert_serves_the_chosen_networks(search, x, network):
    """What is served is what the files of the chosen trainings predict."""
    served, grouping = search.best_model().predict(x, verbose=0), search.best_grouping()
    for index, group in enumerate(grouping.groups):
        outcome = next(o for o in search.results.done if set(o.group) == set(group))
        part = network(outcome.group)
        part(x)
        part.load_weights(
            search.results_folder / f"training_{outcome.number:04d}" / "best.weights.h5"
        )
        own = part.predict(x, verbose=0)
        for task in grouping.served(index):
            alone = own[task] if isinstance(own, dict) else own
            np.testing.assert_array_equal(served[task], alone)


def images(examples, seed):
    digits = compose_digits(2, ("loop", "odd"), seed, train_size=examples)["train"]
    return digits.images[..., None], digits.labels


@pytest.mark.filterwarnings("ignore:The updates of")  # One probe, and noise.
def test_a_small_cnn_on_images_with_early_stopping_and_an_auc(tmp_path):
    x, y = images(160, 0)
    keras.utils.set_random_seed(0)
    inputs = keras.Input(x.shape[1:])
    h = keras.layers.Conv2D(4, 3, activation="relu")(inputs)
    h = keras.layers.BatchNormalization()(h)
    h = keras.layers.Dropout(0.2)(keras.layers.GlobalAveragePooling2D()(h))
    model = keras.Model(
        inputs, {t: keras.layers.Dense(1, activation="sigmoid", name=t)(h) for t in y}
    )
    model.compile(
        keras.optimizers.Adam(0.01),
        loss=dict.fromkeys(y, "binary_crossentropy"),
        metrics={t: [keras.metrics.AUC(name="auc")] for t in y},
    )
    search = keras_tag.GroupSearch(
        model,
        2,
        trainings=2,
        objective={t: keras_tag.Objective(f"val_{t}_auc", "max") for t in y},
        directory=tmp_path,
    )
    stop = keras.callbacks.EarlyStopping(patience=1)
    search.search(x, y, validation_split=0.4, epochs=3, callbacks=[stop], verbose=0)
    assert_serves_the_chosen_networks(search, x[:8], keras_tag.build_from(model, verbose=False))
    for row in search.results.tasks():
        assert 0 <= row.reached <= 1
    total = sum(row.reached for row in search.results.tasks())
    assert total >= sum(row.joint for row in search.results.tasks())
    search.report(tmp_path / "report.html")


TINY = "demo --epochs 1 --positions 2 --tasks loop,odd --train-size 130 --trainings 1 --budget 2"


def test_the_overlaid_digits_by_the_command(tmp_path, capsys):
    folder = tmp_path / "demo"
    assert cli.main([*TINY.split(), "--out", str(folder)]) == 0
    settings = DemoSettings(
        budget=2, trainings=1, tasks=("loop", "odd"), positions=2, epochs=1, train_size=130
    )
    search = run_demo(folder, settings)  # There is nothing left to train.
    printed = capsys.readouterr().out
    assert printed.count("training 0 (joint run") == printed.count("training 1 (") == 1
    assert "networks for 4 tasks" in printed
    assert "left_odd" in (folder / "report.html").read_text("utf-8")
    x = compose_digits(2, ("loop", "odd"), 0, train_size=130)["train"].images[:8]
    assert_serves_the_chosen_networks(
        search, x, lambda tasks: build_network(tasks, x.shape[1:], 24, 0)
    )


@keras.saving.register_keras_serializable("tests")
class BuiltByFunction(keras.Model):
    """A trunk and a head per task."""

    def __init__(self, tasks, **kwargs):
        super().__init__(**kwargs)
        self.tasks = tuple(tasks)
        self.trunk = keras.layers.Dense(4, activation="tanh")
        self.heads = [keras.layers.Dense(1) for _ in self.tasks]

    def call(self, x):
        h = self.trunk(x)
        return {task: head(h) for task, head in zip(self.tasks, self.heads, strict=True)}

    def get_config(self):
        return {"tasks": self.tasks}


def build(tasks):
    model = BuiltByFunction(tasks)
    model.compile("adam", loss=dict.fromkeys(tasks, "mse"))
    return model


def test_a_subclassed_model_through_build(tmp_path):
    x, y = toys.data(128)
    search = keras_tag.GroupSearch(
        build=build, tasks=toys.TASKS, budget=2, trainings=2, directory=tmp_path
    )
    search.search(x, y, validation_split=0.25, epochs=2, verbose=0)
    # Another process has not called `search`; and nobody warns of what is not there to be read.
    search = keras_tag.GroupSearch(
        build=build, tasks=toys.TASKS, budget=2, trainings=2, directory=tmp_path
    )
    assert_serves_the_chosen_networks(search, x[:8], BuiltByFunction)
    search.best_model().save(tmp_path / "served.keras")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        loaded = keras.models.load_model(tmp_path / "served.keras")
    own = search.best_model().predict(x[:8], verbose=0)
    for task, output in loaded.predict(x[:8], verbose=0).items():
        np.testing.assert_array_equal(output, own[task])


def test_missing_labels_sample_weights_and_lone_tasks(tmp_path, capsys):
    x, y = toys.data(128)
    rng = np.random.default_rng(0)
    y = {t: np.where(rng.random(v.shape) < 0.3, -9.0, v).astype("float32") for t, v in y.items()}
    weight = {t: rng.random(len(x)).astype("float32") for t in y}
    model = toys.compiled(weighted_metrics={t: ["mae"] for t in toys.TASKS})
    search = keras_tag.GroupSearch(
        model,
        2,
        trainings=1,
        missing=-9,
        baselines="single",
        objective={"depth": "val_depth_mae"},
        directory=tmp_path,
    )
    search.search(
        x[:96],
        {t: v[:96] for t, v in y.items()},
        sample_weight={t: w[:96] for t, w in weight.items()},
        validation_data=(x[96:], {t: v[96:] for t, v in y.items()}),
        validation_batch_size=10,
        epochs=2,
        verbose=2,
    )
    printed = capsys.readouterr().out
    assert printed.count("training") == 6
    assert_serves_the_chosen_networks(search, x[:8], keras_tag.build_from(model, verbose=False))
    frame = search.evaluate((x[96:], {t: v[96:] for t, v in y.items()}))
    assert {"loss", "joint_loss", "single_loss"} <= set(frame)
    # An error and a loss by hand, over all the labelled: what networks are ranked by.
    predicted = search.best_model().predict(x[96:], verbose=0)
    for row in search.results.tasks():
        errors = (predicted[row.task] - y[row.task][96:])[y[row.task][96:] != -9]
        reached = np.abs(errors).mean() if row.task == "depth" else (errors**2).mean()
        assert row.reached == pytest.approx(reached, rel=1e-4)


def test_datasets_and_functions_that_return_them(tmp_path):
    import tensorflow as tf

    x, y = toys.data(96)

    def shuffled():
        return tf.data.Dataset.from_tensor_slices((x, y)).shuffle(96).batch(32)

    valid = tf.data.Dataset.from_tensor_slices((x, y)).batch(32).repeat()
    weights = []
    for name in ("one", "two"):
        search = keras_tag.GroupSearch(
            toys.compiled(), 2, trainings=1, directory=tmp_path, project_name=name
        )
        search.search(shuffled, validation_data=valid, validation_steps=2, epochs=2, verbose=0)
        weights.append(toys.weights_of(tmp_path / name))
    assert weights[0].keys() == weights[1].keys()
    for name, array in weights[0].items():
        np.testing.assert_array_equal(array, weights[1][name])
    # Every epoch of every network was validated on the same two batches.
    for outcome in search.results.done:
        network = keras_tag.build_from(toys.compiled(), verbose=False)(outcome.group)
        network.load_weights(tmp_path / f"two/training_{outcome.number:04d}/best.weights.h5")
        predicted = network.predict(x[:64], verbose=0)
        for task, reached in outcome.objective.items():
            assert reached == pytest.approx(
                np.mean((predicted[task] - y[task][:64]) ** 2), rel=1e-5
            )


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore:The updates of")  # Few probes, and noise.
def test_a_frozen_trunk_of_keras_applications_stays_as_it_was_given(tmp_path):
    keras.utils.set_random_seed(5)
    trunk = keras.applications.MobileNetV3Small(
        input_shape=(32, 32, 3), include_top=False, weights=None, pooling="avg"
    )
    # Not what initialisers make; also the means and variances of batches are of a training.
    rng = np.random.default_rng(0)
    given = [w * (1 + 0.1 * rng.random(w.shape)) for w in trunk.get_weights()]
    given = [(w + 0.01 * (w.ndim == 1)).astype("float32") for w in given]
    trunk.set_weights(given)
    trunk.trainable = False
    inputs = keras.Input((32, 32, 3))
    h = keras.layers.Dense(8, "relu")(trunk(inputs))
    tasks = ("red", "green", "blue")
    model = keras.Model(inputs, {t: keras.layers.Dense(1, name=t)(h) for t in tasks})
    model.compile(keras.optimizers.Adam(0.01), loss=dict.fromkeys(tasks, "mse"))
    x = rng.integers(0, 256, (96, 32, 32, 3)).astype("float32")
    y = {t: x[..., k].mean((1, 2))[:, None] / 128 - 1 for k, t in enumerate(tasks)}
    search = keras_tag.GroupSearch(model, 2, trainings=2, directory=tmp_path)
    search.search(x, y, validation_split=0.25, epochs=2, verbose=0)
    assert_serves_the_chosen_networks(search, x[:8], keras_tag.build_from(model, verbose=False))
    served = search.best_model()
    served.save(tmp_path / "served.keras")
    for own in (served, keras.models.load_model(tmp_path / "served.keras")):
        for network in own.networks:
            kept = network.get_layer(trunk.name)
            assert not kept.trainable_weights
            for ours, theirs in zip(kept.get_weights(), given, strict=True):
                np.testing.assert_array_equal(ours, theirs)
    assert len(search.results.done) == 3


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore:The updates of")
def test_forty_tasks_end_in_a_report_below_two_megabytes(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(128, 8)).astype("float32")
    y = {f"task_{k:02}": np.tanh(x @ rng.normal(size=(8, 1))).astype("float32") for k in range(40)}
    inputs = keras.Input((8,))
    h = keras.layers.Dense(16, "tanh")(inputs)
    model = keras.Model(inputs, {t: keras.layers.Dense(1, name=t)(h) for t in y})
    model.compile("adam", loss=dict.fromkeys(y, "mse"))
    search = keras_tag.GroupSearch(model, 4, trainings=3, directory=tmp_path)
    search.search(x, y, validation_split=0.25, epochs=2, verbose=0)
    assert len(search.results.done) == 4
    assert_serves_the_chosen_networks(search, x[:8], keras_tag.build_from(model, verbose=False))
    search.report(tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size < 2_000_000
