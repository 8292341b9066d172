"""Losses, metrics and optimizers that Keras trains with and can't save."""

import functools

import keras
import numpy as np
import pytest
from grouped_networks import dict_network

from keras_tag import GroupedModel, Grouping, TAGModel, build_from

GROUPS = Grouping.from_groups([("a", "b"), ("c",)])


def weighted(y, prediction, weight):
    return weight * keras.ops.mean(keras.ops.square(y - prediction), -1)


class Absolute:
    def __call__(self, y, prediction):
        return keras.ops.mean(keras.ops.abs(y - prediction), -1)


class Times(keras.metrics.Metric):
    """Has an argument that its configuration does not."""

    def __init__(self, factor):
        super().__init__(name="times")
        self.factor = factor
        self.total = self.add_weight(name="total", initializer="zeros")

    def update_state(self, y, prediction, sample_weight=None):
        self.total.assign_add(self.factor * keras.ops.cast(keras.ops.mean(prediction), "float32"))

    def result(self):
        return self.total


class Scaled(keras.optimizers.SGD):
    def __init__(self, factor=1.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def update_step(self, gradient, variable, learning_rate):
        super().update_step(self.factor * gradient, variable, learning_rate)


class Required(Scaled):
    def __init__(self, factor):
        super().__init__(factor)


@pytest.mark.parametrize("loss", [functools.partial(weighted, weight=2.0), Absolute()])
def test_losses_without_config_train_as_in_keras(batch, loss):
    x, y = batch
    joint = dict_network("abc")
    served = GroupedModel(
        Grouping.from_groups([("a", "b", "c")]), build_from(joint, start="all", verbose=False)
    )
    copy = build_from(joint, start="all", verbose=False)("abc")
    histories = []
    for model in (joint, TAGModel(copy, every=1), served):
        model.compile("sgd", loss={"a": loss, "b": "mse", "c": loss})
        histories.append(model.fit(x, y, shuffle=False, epochs=2, verbose=0).history["loss"])
    np.testing.assert_allclose(histories[1], histories[0], rtol=1e-5)
    np.testing.assert_allclose(histories[2], histories[0], rtol=1e-5)


def test_metrics_without_config_train_alone_and_report(tmp_path, batch):
    served = GroupedModel(GROUPS, dict_network)
    served.compile("sgd", loss="mse", metrics={"a": [Times(2.0)], "c": [Times(3.0)]})
    histories = served.fit_groups(tmp_path, *batch, verbose=0)
    assert "times" in histories[1] or "c_times" in histories[1]
    joint = dict_network("abc")
    report = served.report(batch, joint=joint)
    for prefix, model in (("", served), ("joint_", joint)):
        predicted = model.predict(batch[0], verbose=0)["c"]
        # Of two batches, and of no other model's.
        expected = 3 * (np.mean(predicted[:32]) + np.mean(predicted[32:]))
        assert report.loc["c", f"{prefix}times"] == pytest.approx(expected, rel=1e-4)


def excluding(**names):
    optimizer = keras.optimizers.AdamW()
    optimizer.exclude_from_weight_decay(**names)
    return optimizer


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (lambda: Scaled(3.0), r"Scaled with other values of \['factor'\]"),
        (lambda: Required(3.0), "Required"),
        (lambda: excluding(var_names=["bias"]), r"\['exclude_from_weight_decay'\]"),
    ],
)
def test_an_optimizer_that_cannot_be_copied_is_refused_where_a_copy_is_needed(
    batch, optimizer, message
):
    x, y = batch
    served = GroupedModel(GROUPS, dict_network)
    with pytest.raises(ValueError, match=message):
        served.compile(optimizer(), loss="mse")
    alone = GroupedModel(Grouping.from_groups([("a", "b", "c")]), dict_network)
    alone.compile(optimizer(), loss="mse")
    alone.fit(x, y, verbose=0)
    own = GroupedModel(GROUPS, dict_network, optimizers=[optimizer(), optimizer()])
    own.compile(loss="mse")
    own.fit(x, y, verbose=0)
