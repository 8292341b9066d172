"""`GroupedModel.report`."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from grouped_networks import dict_network, list_network

from keras_tag import GroupedModel, Grouping

MSE = dict.fromkeys("abc", "mse")


@pytest.fixture
def model(grouping):
    model = GroupedModel(grouping, dict_network)
    metrics = {"a": ["mae", keras.metrics.RootMeanSquaredError(name="rmse")], "c": ["mae"]}
    model.compile("sgd", loss=MSE, metrics=metrics, run_eagerly=True)
    return model


def outputs_of_any_name(tasks):
    inputs = keras.Input((5,))
    return keras.Model(inputs, {task: keras.layers.Dense(1)(inputs) for task in tasks})


def mse(y, y_pred):
    return np.mean((y - y_pred) ** 2)


def test_compares_each_task_with_joint_and_single_models(model, batch):
    x, y = batch
    joint = list_network("abc")
    single = {task: dict_network((task,)) for task in "abc"}
    frame = model.report(batch, joint=joint, single=single)
    assert list(frame.index) == ["a", "b", "c"]
    assert list(frame["network"]) == [0, 0, 1]
    assert list(frame["trained_with"]) == ["b", "a", "a"]
    joint_outputs = dict(zip(joint.output_names, joint.predict(x, verbose=0), strict=True))
    ours = model.predict(x, verbose=0)
    for task in "abc":
        alone = single[task].predict(x, verbose=0)[task]
        row = frame.loc[task]
        assert row["loss"] == pytest.approx(mse(y[task], ours[task]), rel=1e-5)
        assert row["joint_loss"] == pytest.approx(mse(y[task], joint_outputs[task]), rel=1e-5)
        assert row["single_loss"] == pytest.approx(mse(y[task], alone), rel=1e-5)
    rmse = mse(y["a"], joint_outputs["a"]) ** 0.5
    assert frame.loc["a", "joint_rmse"] == pytest.approx(rmse, rel=1e-5)
    assert np.isnan(frame.loc["b", "mae"])
    # Measuring others leaves this model's own metrics as they were.
    assert model.evaluate(*batch, verbose=0, return_dict=True)["a_rmse"] == pytest.approx(
        frame.loc["a", "rmse"]
    )


def test_reads_a_dataset(model, batch):
    data = tf.data.Dataset.from_tensor_slices(batch).batch(16)
    np.testing.assert_allclose(model.report(data)["loss"], model.report(batch)["loss"], rtol=1e-5)


def test_a_task_whose_name_begins_with_another(batch):
    x, y = batch
    # And one with the sign by which helpers' losses are known.
    tasks = ("eye", "eye_left", "eye/right")
    model = GroupedModel(Grouping.from_groups([tasks]), outputs_of_any_name)
    model.compile("sgd", loss="mse", run_eagerly=True)
    frame = model.report((x, dict(zip(tasks, y.values(), strict=True))))
    assert list(frame.columns) == ["network", "trained_with", "loss"]
    assert frame["loss"].notna().all()


def test_a_lone_task_has_its_metrics_too(batch):
    x, y = batch
    model = GroupedModel(Grouping.from_groups([("a",)]), dict_network)
    model.compile("sgd", loss={"a": "mse"}, metrics={"a": ["mae"]}, run_eagerly=True)
    predicted = model.predict(x, verbose=0)["a"]
    row = model.report((x, {"a": y["a"]})).loc["a"]
    assert row["mae"] == pytest.approx(np.mean(np.abs(y["a"] - predicted)), rel=1e-5)
    assert row["loss"] == pytest.approx(mse(y["a"], predicted), rel=1e-5)


def test_is_about_the_served_tasks(grouping, batch):
    model = GroupedModel(grouping, dict_network, serve=["a", "c"], helper_losses=True)
    model.compile("sgd", loss=MSE, run_eagerly=True)
    single = {task: dict_network((task,)) for task in "ac"}
    frame = model.report(batch, joint=dict_network("abc"), single=single)
    assert list(frame.index) == ["a", "c"]
    assert frame[["loss", "joint_loss", "single_loss"]].notna().all(axis=None)


def test_names_the_task_without_a_single_model(model, batch):
    with pytest.raises(ValueError, match=r"Missing: \['b', 'c'\]"):
        model.report(batch, single={"a": dict_network("a")})
