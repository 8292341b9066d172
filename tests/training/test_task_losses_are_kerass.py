"""Weighted task losses plus extra losses are what Keras computes, for every way to compile."""

import keras
import numpy as np
import pytest
from tag_models import L, data, mlp

from keras_tag import TAGModel
from keras_tag.training.task_losses import TaskLosses


def my_loss(y_true, y_pred):
    return keras.ops.mean(keras.ops.abs(y_true - y_pred) ** 1.5, axis=-1)


class MyLoss(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return keras.ops.mean((y_true - y_pred) ** 4, axis=-1)


WAYS = {
    "strings": {"a": "mse", "b": "binary_crossentropy", "c": "huber"},
    "class names": {"a": "MeanSquaredError", "b": "BinaryCrossentropy", "c": "Huber"},
    "instances": {
        "a": keras.losses.LogCosh(),
        "b": keras.losses.BinaryFocalCrossentropy(label_smoothing=0.1),
        "c": MyLoss(),
    },
    "functions": {"a": my_loss, "b": keras.losses.binary_crossentropy, "c": my_loss},
    "crossentropy": {"a": "mse", "b": "crossentropy", "c": "mae"},
    "reductions": {
        "a": keras.losses.MeanSquaredError(reduction="sum"),
        "b": keras.losses.BinaryCrossentropy(reduction="mean_with_sample_weight"),
        "c": keras.losses.MeanAbsoluteError(reduction="mean"),
    },
    "one for all": "mse",
    "list": ["mse", "binary_crossentropy", "mae"],
    "lambda": {"a": lambda t, p: keras.ops.mean(abs(t - p), -1), "b": "mse", "c": "mse"},
}
WEIGHTS = {"a": 0.5, "b": 2.0, "c": 3.0}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("weighting", [None, "by task", "one for all"])
def test_task_losses_add_up_to_kerass_joint_loss(way, weighting, float64):
    x, y = data()
    rng = np.random.default_rng(1)
    weight = None
    if weighting == "by task":
        weight = {k: rng.random(len(x)) for k in y}
    elif weighting == "one for all":
        weight = rng.random(len(x))
    model = mlp(regularizer=keras.regularizers.L2(0.1))
    loss_weights = list(WEIGHTS.values()) if way == "list" else WEIGHTS
    if way == "one for all":
        loss_weights = None
    model.compile("sgd", loss=WAYS[way], loss_weights=loss_weights)
    y_pred = model(x)
    losses = TaskLosses(WAYS[way], y_pred, model.output_names)
    labels = losses.labels(y, y_pred, weight)
    each = dict(zip(losses.tasks, map(float, losses(labels, y_pred)), strict=True))
    tensors = {k: keras.ops.convert_to_tensor(v) for k, v in y.items()}
    joint = float(model.compute_loss(x, tensors, y_pred, weight))
    factor = {k: 1.0 for k in y} if loss_weights is None else WEIGHTS
    expected = sum(factor[k] * each[k] for k in each) + sum(map(float, model.losses))
    assert joint == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("given", [2.0, [2.0], {"a": 2.0}])
def test_the_one_weight_of_one_loss_is_that_of_every_output(given, float64):
    x, y = data()
    model = mlp()
    model.compile("sgd", loss="mse", loss_weights=given)
    y_pred = model(x)
    losses = TaskLosses("mse", y_pred, model.output_names)
    each = losses(losses.labels(y, y_pred), y_pred)
    weights = losses.loss_weights(given, y_pred)
    tensors = {k: keras.ops.convert_to_tensor(v) for k, v in y.items()}
    joint = float(model.compute_loss(x, tensors, y_pred))
    assert weights == [2.0] * 3
    assert sum(w * float(e) for w, e in zip(weights, each, strict=True)) == pytest.approx(joint)


def test_an_output_without_a_loss_is_no_task():
    inputs = keras.Input((6,))
    h = L.Dense(5)(inputs)
    model = keras.Model(inputs, {k: L.Dense(1, name=k)(h) for k in ("a", "b", "features")})
    tag = TAGModel(model, every=1)
    tag.compile("sgd", loss={"a": "mse", "b": "mse"})
    x = np.ones((4, 6))
    y = {"a": np.ones((4, 1)), "b": np.zeros((4, 1))}
    tag.fit(x, y, verbose=0)
    assert tag.tasks == ("a", "b")
    assert set(tag.predict(x, verbose=0)) == {"a", "b", "features"}


def test_labels_of_one_dimension_pair_with_outputs_of_one_unit(float64):
    x, y = data()
    flat = {**y, "b": y["b"][:, 0], "c": y["c"][:, 0]}
    tag = TAGModel(mlp())
    tag.compile("sgd", loss={"a": "mse", "b": "binary_crossentropy", "c": my_loss})
    np.testing.assert_allclose(tag.measure_affinity(x, flat), tag.measure_affinity(x, y))


def test_a_loss_that_keeps_every_number_is_masked_number_by_number(float64):
    x, y = data()
    y["a"][::3, 0] = np.nan
    tag = TAGModel(mlp())
    tag.compile("sgd", loss={"a": lambda t, p: abs(t - p), "b": "mse", "c": "mse"})
    error = abs(tag.model(x)["a"].numpy() - y["a"])
    logs = tag.evaluate(x, y, batch_size=64, verbose=0, return_dict=True)
    assert logs["a_loss"] == pytest.approx(np.nanmean(error), rel=1e-6)


@pytest.mark.parametrize("eagerly", [True, False])
def test_single_labels_may_be_missing_where_they_have_the_outputs_axes(eagerly):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 5, 3)), {k: rng.normal(size=(8, 5, 1)) for k in "ab"}
    y["a"][::2, 1] = np.nan
    inputs = keras.Input((5, 3))
    model = keras.Model(inputs, {k: L.Dense(1, name=k)(inputs) for k in "ab"})

    def loss(y):
        # Keras's compiled functions are for labels of one shape.
        tag = TAGModel(model)
        tag.compile("sgd", loss="mse", run_eagerly=eagerly)
        return tag.evaluate(x, y, verbose=0, return_dict=True)["a_loss"]

    right = np.nanmean((model(x)["a"].numpy() - y["a"]) ** 2)
    assert loss(y) == pytest.approx(right, rel=1e-5)
    flat = {k: v[..., 0] for k, v in y.items()}
    with pytest.raises(Exception, match="with as many axes as its output"):
        loss(flat)
    flat["a"][::2] = np.nan
    right = np.nanmean((model(x)["a"].numpy()[..., 0] - flat["a"]) ** 2)
    assert loss(flat) == pytest.approx(right, rel=1e-5)
