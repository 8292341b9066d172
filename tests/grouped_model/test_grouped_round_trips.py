"""A model that was saved and loaded is the same model."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from grouped_networks import BUILDERS

from keras_tag import GroupedModel

MSE = dict.fromkeys("abc", "mse")


@pytest.fixture(scope="module")
def fitted_models():
    """One of every kind; tests compare with what it is by then, and may train it further."""
    return {}


@pytest.fixture
def fitted(fitted_models, grouping, batch):
    def fit(name):
        if name not in fitted_models:
            fitted_models[name] = _fitted(grouping, BUILDERS[name], batch)
        return fitted_models[name]

    return fit


def _fitted(grouping, builder, batch):
    model = GroupedModel(grouping, builder)
    model.compile(
        keras.optimizers.Adam(0.01, global_clipnorm=0.5),
        loss=MSE,
        loss_weights={"a": 1.0, "b": 2.0, "c": 3.0},
        metrics={"a": ["mae"]},
        run_eagerly=True,  # Tracing takes longer than these few steps.
    )
    model.fit(*batch, batch_size=16, shuffle=False, verbose=0)
    return model


@pytest.mark.parametrize("name", ["dict", "subclassed"])
def test_keras_file_holds_networks_losses_and_optimizers(tmp_path, fitted, grouping, name, batch):
    x, y = batch
    model = fitted(name)
    model.save(tmp_path / "served.keras")
    loaded = keras.models.load_model(tmp_path / "served.keras")
    assert loaded.grouping == grouping
    outputs = loaded.predict(x, verbose=0)
    for task, output in model.predict(x, verbose=0).items():
        np.testing.assert_array_equal(outputs[task], output)
    assert loaded.evaluate(x, y, verbose=0, return_dict=True) == model.evaluate(
        x, y, verbose=0, return_dict=True
    )
    # Every network's slots came back: training goes on in the same steps.
    for twin in (model, loaded):
        twin.fit(*batch, batch_size=16, shuffle=False, verbose=0)
    for ours, theirs in zip(model.variables, loaded.variables, strict=True):
        np.testing.assert_array_equal(theirs, ours, err_msg=ours.path)


@pytest.mark.parametrize("name", ["list", "subclassed"])
def test_weights_file(tmp_path, fitted, grouping, name, batch):
    x, _ = batch
    model = fitted(name)
    model.save_weights(tmp_path / "served.weights.h5")
    other = GroupedModel(grouping, BUILDERS[name])
    other(x)
    other.load_weights(tmp_path / "served.weights.h5")
    outputs = other(x)
    for task, output in model(x).items():
        np.testing.assert_array_equal(outputs[task], output)


@pytest.mark.parametrize("name", BUILDERS)
def test_uncompiled_model_is_saved_too(tmp_path, grouping, name, batch):
    model = GroupedModel(grouping, BUILDERS[name], name="two_networks")
    outputs = model(batch[0])
    model.save(tmp_path / "served.keras")
    loaded = keras.models.load_model(tmp_path / "served.keras")
    assert loaded.name == "two_networks"
    np.testing.assert_array_equal(loaded(batch[0])["c"], outputs["c"])


@pytest.mark.parametrize("name", ["dict", "subclassed"])
def test_saved_model_serves_the_tasks_and_no_helper(tmp_path, fitted, name, batch):
    x = batch[0].astype("float32")
    model = fitted(name)
    model.export(tmp_path / "exported", verbose=False)
    served = tf.saved_model.load(tmp_path / "exported")
    signature = served.signatures["serving_default"]
    assert set(signature.structured_outputs) == {"a", "b", "c"}
    outputs = served.serve(x)
    # A graph may fuse what eager execution rounds in between: compare with a graph.
    for task, output in tf.function(model)(x).items():
        np.testing.assert_array_equal(outputs[task], output)
    if name == "dict":
        # Two trunks, and of the four heads the three that serve: kernels and biases.
        assert len(signature.variables) == 2 * (2 + 3)


def test_export_keeps_names_and_types_of_the_inputs(tmp_path, grouping):
    def build_model(tasks):
        tokens = keras.Input((4,), dtype="int32", name="tokens")
        scale = keras.Input((1,), name="scale")
        mean = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(9, 3)(tokens))
        heads = {task: keras.layers.Dense(1)(mean * scale) for task in tasks}
        return keras.Model({"tokens": tokens, "scale": scale}, heads)

    model = GroupedModel(grouping, build_model)
    model.export(tmp_path / "exported", verbose=False)
    served = tf.saved_model.load(tmp_path / "exported")
    specs = served.signatures["serving_default"].structured_input_signature[1]
    assert specs["tokens"].dtype == tf.int32
    assert specs["scale"].dtype == tf.float32
    x = {"tokens": np.arange(8, dtype="int32").reshape(2, 4), "scale": np.ones((2, 1), "float32")}
    np.testing.assert_array_equal(served.serve(x)["b"], model(x)["b"])
