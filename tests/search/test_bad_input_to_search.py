"""Refusal of what can't be searched: before anything is trained, each with its own message."""

import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
from toys import TASKS, compiled, data, network

import keras_tag
from keras_tag.search.ledger import as_read

X, Y = data(64)
ENDLESS = tf.data.Dataset.from_tensors((X, Y)).repeat()


WEIGHTS = dict.fromkeys(TASKS, 1.0)


class Subclassed(keras.Model):
    def call(self, x):
        return {task: x for task in TASKS}


def uncompiled_subclassed():
    model = Subclassed()
    model.compile("adam", loss=dict.fromkeys(TASKS, "mse"))
    return model


def strange_name():
    inputs = keras.Input((8,))
    outputs = {name: keras.layers.Dense(1)(inputs) for name in ("left eye", "nose")}
    model = keras.Model(inputs, outputs)
    model.compile("adam", "mse")
    return model


def of_no_module(y, y_pred):
    return y


of_no_module.__name__ = "local"


def tagged(**settings):
    model = keras_tag.TAGModel(network(), **settings)
    model.compile("adam", loss=dict.fromkeys(TASKS, "mse"))
    return model


def undecayed():
    optimizer = keras.optimizers.AdamW()
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return optimizer


def one_task():
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(1, name="depth")])
    model.compile("adam", "mse")
    return model


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"model": network()}, ValueError, "not compiled"),
        ({"model": None}, ValueError, "`build` and `tasks`"),
        ({"model": lambda tasks: None}, TypeError, "given as `build`"),
        (
            {"model": uncompiled_subclassed()},
            ValueError,
            r"Give `build`: a function build\(tasks\)",
        ),
        ({"model": None, "build": 3}, TypeError, "`build` to be a function"),
        ({"model": None, "build": lambda tasks: None}, ValueError, "Expected `tasks`"),
        ({"model": one_task()}, ValueError, "at least two tasks"),
        ({"model": strange_name()}, ValueError, r"Received: \['left eye'\]"),
        (
            {"model": compiled(metrics={"depth": [of_no_module]})},
            ValueError,
            r"`metrics` that can be made again.*register_keras_serializable",
        ),
        ({"model": compiled(optimizer=undecayed())}, ValueError, "exclude_from_weight_decay"),
        (
            {"model": compiled(loss_weights={**WEIGHTS, "depth": keras.Variable(2.0)})},
            ValueError,
            r"`loss_weights` that are numbers.*\['depth'\]",
        ),
        ({"model": tagged(missing=-1), "missing": -9}, ValueError, "missing=-9 and a TAGModel"),
        ({"tasks": ["depth"]}, ValueError, "at least two tasks"),
        ({"tasks": ["depth", "hair"]}, ValueError, "distinct `tasks`"),
        ({"budget": 0}, ValueError, "`budget` to be an integer of at least 1"),
        ({"budget": 1.5}, ValueError, "`budget` to be an integer"),
        ({"trainings": 0}, ValueError, "`trainings` to be an integer of at least 1"),
        ({"max_cost": 1.5}, ValueError, "`max_cost` to allow the joint run"),
        ({"max_cost": 4.0, "baselines": "single"}, ValueError, "at least 6"),
        ({"timeout": 0}, ValueError, "`timeout`"),
        ({"max_retries": -1}, ValueError, "`max_retries`"),
        ({"baselines": "joint"}, ValueError, "`baselines`"),
        ({"start": "warm"}, ValueError, "`start`"),
        ({"build": lambda tasks: None, "start": "all"}, ValueError, "inside of `build`"),
        ({"keep": "none"}, ValueError, "`keep`"),
        ({"on_timeout": "kill"}, ValueError, "`on_timeout`"),
        ({"objective": {"depth": "val_depth_auc"}}, ValueError, "never guessed"),
        ({"max_sizes": 3}, TypeError, "Did you mean 'max_size'"),
    ],
)
def test_the_constructor_names_what_it_can_not_use(arguments, error, message, tmp_path):
    given = {"model": compiled(), "budget": 2, "directory": tmp_path, **arguments}
    with pytest.raises(error, match=message):
        keras_tag.GroupSearch(**given)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "Expected validation data"),
        ({"validation_split": None}, "Expected validation data"),
        ({"validation_split": 1.5}, "`validation_split` above 0"),
        ({"validation_split": 0.5, "validation_freq": 2}, "at least one validation"),
        ({"validation_split": 0.5, "epochs": 0}, "at least one validation"),
        ({"x": None}, "Expected training data"),
        ({"x": iter([X])}, "generator"),
        ({"validation_data": (v for v in [X])}, "generator"),
        ({"y": None, "validation_split": 0.5}, "Expected labels"),
        ({"validation_data": ENDLESS}, "Expected `validation_steps`"),
        ({"x": ENDLESS, "y": None, "validation_data": [X, Y]}, "Expected `steps_per_epoch`"),
    ],
)
def test_search_names_what_it_can_not_use(arguments, message, tmp_path):
    search = keras_tag.GroupSearch(compiled(), 2, directory=tmp_path)
    with pytest.raises(ValueError, match=message):
        search.search(**{"x": X, "y": Y, "verbose": 0, **arguments})
    assert not list(tmp_path.iterdir())


def test_an_objective_that_the_logs_do_not_have_is_found_out_before_training(tmp_path):
    search = keras_tag.GroupSearch(
        compiled(), 2, objective={"depth": "val_depth_mae"}, directory=tmp_path
    )
    with pytest.raises(ValueError, match=r"val_depth_loss.*Received: \['val_depth_mae'\]"):
        search.search(X, Y, validation_split=0.5, verbose=0)
    assert not list(tmp_path.glob("*/training_*"))


def test_callbacks_that_can_not_be_copied_are_named(tmp_path):
    class Locked(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.lock = threading.Lock()

    own = Locked()
    search = keras_tag.GroupSearch(compiled(), 2, directory=tmp_path)
    with pytest.raises(ValueError, match="lambda group"):
        search.search(X, Y, validation_split=0.5, callbacks=[own], verbose=0)


def test_a_folder_that_can_not_be_made_is_said(tmp_path):
    (tmp_path / "file").write_text("in the way")
    search = keras_tag.GroupSearch(compiled(), 2, directory=tmp_path / "file")
    with pytest.raises(OSError, match="can't be written"):
        search.search(X, Y, validation_split=0.5, verbose=0)


def test_what_was_not_searched_has_no_results(tmp_path):
    search = keras_tag.GroupSearch(compiled(), 2, directory=tmp_path)
    for ask in (search.best_model, search.results_summary, search.affinity, search.to_frame):
        with pytest.raises(ValueError, match="GroupSearch"):
            ask()


def test_the_search_space_can_be_read_before(tmp_path, capsys):
    keras_tag.GroupSearch(compiled(), 2, directory=tmp_path).search_space_summary()
    text = capsys.readouterr().out
    assert "Candidate groups: 15" in text
    assert "at most 7 joint runs" in text


def test_a_setting_that_no_file_can_hold_is_named():
    assert as_read({"epochs": np.int64(3), "weights": np.ones(2)}) == {
        "epochs": 3,
        "weights": [1.0, 1.0],
    }
    with pytest.raises(TypeError, match=r"settings of a search.*Received: <object object"):
        as_read({"epochs": object()})


def test_seeds_follow_from_the_group_and_not_from_its_order():
    from keras_tag.search.training import seed_of

    assert seed_of(0, ("a", "b"), 0) == seed_of(0, ("b", "a"), 0)
    different = {seed_of(s, g, n) for s in (0, 1) for g in (("a",), ("a", "b")) for n in (0, 1)}
    assert len(different) == 8
    assert all(0 <= seed < 2**31 for seed in different)
    assert np.int32(max(different)) >= 0
