"""`fit_groups`: the networks one after another, resumable."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from grouped_networks import SubclassedNetwork, dict_network

from keras_tag import GroupedModel, Grouping
from keras_tag.callbacks import NetworkEarlyStopping

MSE = dict.fromkeys("abc", "mse")
FIT = {"batch_size": 16, "epochs": 2, "shuffle": False, "verbose": 0}


class Count(keras.callbacks.Callback):
    """How often training was begun."""

    begun = 0

    def on_train_begin(self, logs=None):
        self.begun += 1


def compiled(grouping, build_model, start=None):
    model = GroupedModel(grouping, build_model)
    model.compile(
        keras.optimizers.Adam(0.01, global_clipnorm=0.1),
        loss=MSE,
        loss_weights={"a": 1.0, "b": 2.0, "c": 3.0},
        metrics={"a": ["mae"], "c": ["mae"]},
        run_eagerly=True,  # Tracing takes longer than these few steps.
    )
    for variable, value in zip(model.variables, start or (), strict=start is not None):
        variable.assign(value)
    return model


class Counting(keras.losses.Loss):
    def __init__(self):
        super().__init__()
        self.calls = keras.Variable(0.0, trainable=False)

    def call(self, y_true, y_pred):
        self.calls.assign_add(1.0)
        return keras.ops.mean(keras.ops.square(y_true - y_pred), -1)


def test_networks_run_as_the_model_is_set_to_after_compile(tmp_path, batch, monkeypatch):
    model = GroupedModel(Grouping.from_groups([("a",), ("b", "c")]), dict_network)
    model.compile("sgd", loss=MSE)
    model.run_eagerly, eager, step = True, [], GroupedModel.train_step

    def noted(own, data):
        eager.append(tf.executing_eagerly())
        return step(own, data)

    monkeypatch.setattr(GroupedModel, "train_step", noted)
    model.fit_groups(tmp_path, *batch, verbose=0)
    assert eager
    assert all(eager)


def test_no_two_networks_change_one_loss(tmp_path, batch):
    grouping = Grouping.from_groups([("a", "b"), ("c",)])
    for shared in (True, False):
        one, other = Counting(), Counting()
        model = GroupedModel(grouping, dict_network)
        loss = {"a": one, "b": one, "c": one if shared else other}
        model.compile("sgd", loss=loss)
        if shared:
            with pytest.raises(ValueError, match="keep nothing from one batch to the next"):
                model.fit_groups(tmp_path / "shared", *batch, **FIT)
            assert float(one.calls) == 0.0
            # The other network is trained in another process.
            model.fit_groups(tmp_path / "shared", *batch, networks=[0], **FIT)
        else:
            model.fit_groups(tmp_path / "own", *batch, **FIT)
            assert float(one.calls) == 2 * float(other.calls) > 0


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_equals_the_joint_fit(tmp_path, grouping, batch):
    x, y = batch

    def build(tasks):
        return dict_network(tasks, dropout=0.2, batch_norm=True)

    together = compiled(grouping, build)
    apart = compiled(grouping, build, [variable.numpy() for variable in together.variables])
    history = together.fit(x, y, validation_data=batch, **FIT).history
    histories = apart.fit_groups(tmp_path / "run", x, y, validation_data=batch, **FIT)
    for ours, theirs in zip(together.variables, apart.variables, strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=1e-9, atol=1e-9)
    for ours, theirs in zip(together.optimizer.variables, apart.optimizer.variables, strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=1e-9, atol=1e-9)
    # A network's history is of the tasks that it serves.
    assert set(histories[0]) >= {"loss", "a_loss", "b_loss", "a_mae", "val_b_loss"}
    assert "a_loss" not in histories[1]
    np.testing.assert_allclose(histories[1]["val_c_loss"], history["val_c_loss"], rtol=1e-6)
    total = np.add(histories[0]["val_loss"], histories[1]["val_loss"])
    np.testing.assert_allclose(total, history["val_loss"], rtol=1e-6)


def test_finished_networks_are_read_back(tmp_path, grouping, batch):
    # Of a subclassed model: it has no weights to read into before it has seen data.
    build_model = SubclassedNetwork
    first = compiled(grouping, build_model)
    histories = first.fit_groups(tmp_path, *batch, **FIT)
    again = compiled(grouping, build_model)
    count = Count()
    assert again.fit_groups(tmp_path, *batch, callbacks=[count], **FIT) == histories
    assert count.begun == 0
    for ours, theirs in zip(first.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(theirs, ours)
    for ours, theirs in zip(first.optimizer.variables, again.optimizer.variables, strict=True):
        np.testing.assert_array_equal(theirs, ours)


def test_callbacks_may_be_made_for_each_network(tmp_path, grouping, batch):
    model = compiled(grouping, dict_network)
    counts = [Count(), Count()]
    histories = model.fit_groups(
        tmp_path,
        *batch,
        validation_data=batch,
        callbacks=lambda index: [counts[index], NetworkEarlyStopping(patience=3)],
        **FIT,
    )
    assert [count.begun for count in counts] == [1, 1]
    assert len(histories) == 2


def test_refuses_the_folder_of_another_grouping(tmp_path, grouping, batch):
    grouping.save(tmp_path / "grouping.json")
    other = compiled(Grouping.from_groups([("a", "b", "c")]), dict_network)
    with pytest.raises(ValueError, match=r"of the same grouping"):
        other.fit_groups(tmp_path, *batch, **FIT)


KILLED = """
import os, signal, sys
import keras, numpy as np
sys.path.insert(0, sys.argv[2])
from grouped_networks import dict_network
from test_fit_groups import FIT, compiled
from keras_tag import Grouping

class Kill(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        os.kill(os.getpid(), signal.SIGKILL)

keras.utils.set_random_seed(5)
model = compiled(Grouping.from_groups([("a", "b"), ("c", "a")]), dict_network)
x = np.ones((24, 5))
y = {task: np.ones((24, 1)) for task in "abc"}
model.fit_groups(sys.argv[1], x, y, callbacks=lambda index: [Kill()] * index, **FIT)
"""


@pytest.mark.slow
def test_after_kill_9_finished_networks_are_not_trained_again(tmp_path, grouping):
    here = str(Path(__file__).parent)
    run = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), here], check=False)
    assert run.returncode == -signal.SIGKILL
    assert (tmp_path / "network_0" / "trained.weights.h5").exists()
    assert not (tmp_path / "network_1" / "trained.weights.h5").exists()
    finished = json.loads((tmp_path / "network_0" / "history.json").read_text())
    model = compiled(grouping, dict_network)
    x, y = np.ones((24, 5)), {task: np.ones((24, 1)) for task in "abc"}
    counts = [Count(), Count()]
    histories = model.fit_groups(tmp_path, x, y, callbacks=lambda i: [counts[i]], **FIT)
    assert [count.begun for count in counts] == [0, 1]
    assert histories[0] == finished
    # Network 0 is the one that the killed process had trained.
    loss = model.evaluate(x, y, verbose=0, return_dict=True)["a_loss"]
    assert loss < finished["a_loss"][0]
