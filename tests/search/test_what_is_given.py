"""The arguments of a search mean the same in every network, in every process, and to the end."""

import pickle

import keras
import numpy as np
import pytest
import tensorflow as tf
from toys import compiled, data

import keras_tag
from keras_tag.search import arguments
from keras_tag.search.callbacks import NameLoneTask
from keras_tag.search.data import Source
from keras_tag.search.ledger import Ledger
from keras_tag.search.runner import Runner

X, Y = data(64)


def test_weights_beside_a_dataset_are_refused(tmp_path):
    search = keras_tag.GroupSearch(compiled(), 2, directory=tmp_path)
    batches = tf.data.Dataset.from_tensor_slices((X, Y)).batch(8)
    with pytest.raises(ValueError, match=r"\['sample_weight'\] beside x"):
        search.search(batches, sample_weight=np.ones(64), validation_data=(X, Y))


def test_averaged_weights_are_refused(tmp_path):
    averages = keras.optimizers.SGD(use_ema=True)
    with pytest.raises(ValueError, match="use_ema=False"):
        keras_tag.GroupSearch(compiled(optimizer=averages), 2, directory=tmp_path)


def shuffled():
    numbers = tf.data.Dataset.range(16).shuffle(16)
    return numbers.map(lambda i: (i, {"a": i})).batch(4)


def test_a_dataset_comes_in_the_same_order_in_a_worker():
    source = Source(shuffled)
    source.batches(0)
    orders = []
    for own in (source, pickle.loads(pickle.dumps(source))):
        keras.utils.set_random_seed(1)
        read = own.batches(1).data
        orders.append([np.concatenate([x for x, _ in read]).tolist() for _ in range(2)])
    assert orders[0] == orders[1]


def test_callbacks_find_a_lone_tasks_metrics_under_its_name():
    logs = {"loss": 1.0, "val_loss": 2.0, "depth_loss": 1.0, "mae": 3.0, "val_mae": 4.0}
    logs["val_depth_error"] = 5.0  # A metric that is named so.
    NameLoneTask("depth").on_epoch_end(0, logs)
    assert logs.pop("depth_mae") == 3.0
    assert logs.pop("val_depth_mae") == 4.0
    assert logs.pop("val_depth_depth_error") == 5.0
    assert len(logs) == 6


def test_numbers_of_numpy_and_nan_are_the_same_search_again(tmp_path, monkeypatch):
    monkeypatch.setattr(Runner, "run", lambda *_: None)
    for whole in (np.int64, int):
        search = keras_tag.GroupSearch(
            compiled(),
            whole(2),
            trainings=whole(4),
            max_retries=whole(1),
            seed=whole(3),
            missing=np.float32("nan") if whole is int else float("nan"),
            max_cost=np.float32(8),
            weights={"depth": np.float32(2)},
            directory=tmp_path,
        )
        fit = {"epochs": whole(2), "validation_freq": whole(2), "validation_split": 0.5}
        search.search(X, Y, **fit, validation_steps=whole(2), verbose=0)
    assert search.tasks == keras_tag.GroupSearch(compiled(), np.int64(2)).tasks
    with pytest.raises(ValueError, match="`seed` to be an integer of at least 0"):
        keras_tag.GroupSearch(compiled(), 2, seed="a")


def test_other_data_behind_a_function_are_warned_of(tmp_path, monkeypatch):
    monkeypatch.setattr(Runner, "run", lambda *_: None)

    def search(x, shift):
        def valid():
            return x, {task: labels + shift for task, labels in Y.items()}

        def train():
            return tf.data.Dataset.from_tensor_slices((x, Y)).shuffle(64).batch(8)

        own = keras_tag.GroupSearch(compiled(), 2, directory=tmp_path)
        own.search(train, validation_data=valid, verbose=0)

    search(X, 0)
    search(X, 0)
    for _ in range(2):  # What the search began with stays what counts.
        with pytest.warns(UserWarning, match=r"others than.*\['validation_data'\]"):
            search(X, 1)
    with pytest.warns(UserWarning, match=r"\['x', 'valid.*can't be compared"):
        search(X + 1, 0)


def test_arrays_of_text_are_told_apart():
    labels = np.zeros(3, "float32")
    first, second = (Source(np.array(list(text), object), labels) for text in ("abc", "abd"))
    assert first.describe() == Source(np.array(list("abc"), object), labels).describe()
    assert first.describe() != second.describe()


def test_arrays_of_different_lengths_are_refused(tmp_path):
    search = keras_tag.GroupSearch(compiled(), 2, directory=tmp_path)
    with pytest.raises(ValueError, match=r"equally many examples.*\['63', '64'\]"):
        search.search(X[:63], Y, validation_split=0.5)
    with pytest.raises(ValueError, match="equally many examples"):
        search.search(X, Y, sample_weight=np.ones(9), validation_split=0.5)


def test_a_search_that_runs_is_not_removed(tmp_path):
    ledger = Ledger(tmp_path / "faces")
    ledger.make_folder()
    (ledger.folder / "search.json").write_text("{}", "utf-8")
    with ledger.claimed(), pytest.raises(ValueError, match="no other process"):
        Ledger(ledger.folder).remove()
    assert ledger.exists
    ledger.remove()
    assert not ledger.exists


def test_a_sentinel_that_float16_rounds_stays_missing(tmp_path, monkeypatch):
    seen, names = [], ("train", "valid")
    sources = arguments.sources
    monkeypatch.setattr(arguments, "sources", lambda *args: seen.append(sources(*args)) or seen[-1])
    monkeypatch.setattr(Runner, "run", lambda *_: None)
    y = {task: labels.astype("float16") for task, labels in Y.items()}
    for labels in y.values():
        labels[::3] = 9999  # In float16 that is 10000.
    for k, given in enumerate(
        (
            {"x": X, "y": y, "validation_split": 0.5},
            {"x": X, "y": y, "validation_data": (X, y)},
            {"x": lambda: (X, y), "validation_data": lambda: (X, y)},
        )
    ):
        search = keras_tag.GroupSearch(
            compiled(), 2, missing=9999, directory=tmp_path, project_name=str(k)
        )
        search.search(**given, batch_size=64, shuffle=False)
        for name, source in zip(names, seen[-1], strict=True):
            labels = pickle.loads(pickle.dumps(source)) if k < 2 else source
            found = np.asarray(labels.first_batch()[1]["depth"])
            assert np.isnan(found).sum() == np.sum(y["depth"][-len(found) :] == 10000), (k, name)
