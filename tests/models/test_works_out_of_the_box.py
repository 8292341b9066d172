"""The whole path, on models as people have them: fit, affinity, groups, networks, save, load."""

import re
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest
from example_models import MODELS, frozen_backbone, labels
from quick import quick

import keras_tag

PAGE = Path(__file__).parents[2] / "docs" / "works_out_of_the_box.md"
QUICK = {"Tabular data with adapted preprocessing"}
# To trace these takes a minute, and twenty times as long as to run them.
LARGE = ("MobileNetV3Small", "EfficientNetB0")


def by_name(model, outputs):
    if isinstance(outputs, dict):
        return outputs
    return dict(zip(model.output_names, outputs, strict=True))


def assert_same(outputs, right):
    for task, output in outputs.items():
        np.testing.assert_allclose(output, right[task], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "eagerly"),
    [
        *quick([(name, name in LARGE) for name in MODELS], [(name, False) for name in QUICK]),
        *(pytest.param(name, False, marks=pytest.mark.nightly) for name in LARGE),
    ],
)
def test_the_whole_path(tmp_path, name, eagerly):
    """As a user goes it: with Adam, and settings of the package that are the default."""
    keras.utils.set_random_seed(0)
    model, x, y, loss = MODELS[name]()
    trained = len(model.trainable_weights)
    tag = keras_tag.TAGModel(model, every=1)
    tag.compile("adam", loss=loss, run_eagerly=eagerly)
    tag.fit(x, y, batch_size=8, verbose=0)
    assert np.isfinite(tag.affinity().mean).all()
    with warnings.catch_warnings():
        # Two probes are few, as it says.
        warnings.simplefilter("ignore")
        grouping = keras_tag.select_groups(tag.affinity(), budget=2)
    assert set(grouping.tasks) == set(tag.tasks)

    # With all weights copied, the networks are the joint model. Called, which traces nothing.
    same = keras_tag.GroupedModel(grouping, keras_tag.build_from(tag, start="all", verbose=False))
    tensors = keras.tree.map_structure(keras.ops.convert_to_tensor, x)
    assert_same(same(tensors, training=False), by_name(model, model(tensors, training=False)))

    served = keras_tag.GroupedModel(grouping, keras_tag.build_from(tag, verbose=False))
    for group, network in zip(grouping.groups, served.networks, strict=True):
        if len(group) == len(tag.tasks):
            assert len(network.trainable_weights) == trained
    served.compile("adam", loss=loss, run_eagerly=eagerly)
    history = served.fit(x, y, batch_size=8, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    served.save(tmp_path / "served.keras")
    loaded = keras.models.load_model(tmp_path / "served.keras")
    assert_same(loaded.predict(x, verbose=0), served(tensors, training=False))
    for one, other in zip(served.networks, loaded.networks, strict=True):
        assert len(one.trainable_weights) == len(other.trainable_weights)


def test_a_frozen_backbone_is_fine_tuned_in_the_networks():
    model, x, y, loss = frozen_backbone()
    grouping = keras_tag.Grouping.from_groups([("a", "b"), ("c",)])
    served = keras_tag.GroupedModel(grouping, keras_tag.build_from(model, verbose=False))
    start = model.get_layer("backbone").get_weights()
    served.compile(keras.optimizers.SGD(1e-2), loss=loss)
    served.fit(x, y, verbose=0)
    for network in served.networks:
        for ours, theirs in zip(network.get_layer("backbone").get_weights(), start, strict=True):
            np.testing.assert_array_equal(ours, theirs)
        network.get_layer("backbone").trainable = True
    served.compile(keras.optimizers.SGD(1e-3), loss=loss)
    served.fit(x, y, verbose=0)
    for network in served.networks:
        kernel = network.get_layer("backbone").get_weights()[0]
        assert np.abs(kernel - start[0]).max() > 0


@pytest.mark.nightly
def test_other_ways_to_probe_a_network_with_batch_statistics():
    """One step an epoch, so that every probe is an epoch of its own in the record."""
    x = np.random.default_rng(0).uniform(-1, 1, size=(8, 32, 32, 3)).astype("float32")
    y = labels(a=1, b=1, c=1)
    y = {task: y[task][:8] for task in y}

    def run(**settings):
        keras.utils.set_random_seed(0)
        backbone = keras.applications.MobileNet(
            weights=None, include_top=False, input_shape=(32, 32, 3), pooling="avg", alpha=0.25
        )
        outputs = {task: keras.layers.Dense(1, name=task)(backbone.output) for task in y}
        model = keras.Model(backbone.input, outputs)
        tag = keras_tag.TAGModel(model, every=1, **settings) if settings else model
        tag.compile("adam", loss="mse")
        tag.fit(x, y, batch_size=8, epochs=3, shuffle=False, verbose=0)
        state = [variable.numpy() for variable in model.variables]
        if not settings:
            return state, None
        history = tag.affinity().history
        return state, history.total / np.where(history.count, history.count, np.nan)

    plain, _ = run()
    state, every_row = run(sources_per_probe=3)
    in_turn, rows = run(sources_per_probe=1)
    on_the_batch, same = run(probe_data=(x, y))
    reusing, reused = run(reuse_gradients=True)
    for ours in (state, in_turn, on_the_batch):
        assert all(np.array_equal(a, b) for a, b in zip(ours, plain, strict=True))
    for a, b in zip(reusing, plain, strict=True):
        # Adam makes a step of its own length of a gradient that is nothing but rounding.
        apart = np.linalg.norm(a.astype("float64") - b)
        assert apart <= 1e-3 * np.linalg.norm(b.astype("float64")) + 1e-4
    measured = ~np.isnan(rows)
    assert measured.any(axis=2).sum(axis=1).tolist() == [1, 1, 1]
    np.testing.assert_allclose(rows[measured], every_row[measured], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(same, every_row, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(reused, every_row, rtol=1e-2, atol=1e-3)


def test_the_page_lists_what_is_tested():
    rows = re.findall(r"^\| (?!Model|---)([^|]+?) \|", PAGE.read_text("utf-8"), flags=re.MULTILINE)
    assert rows == list(MODELS)
