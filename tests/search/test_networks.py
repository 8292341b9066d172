"""The compiled networks of a search, and what its folder keeps of their settings."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import toys

import keras_tag
from keras_tag.search.data import Position, Source
from keras_tag.search.networks import Networks

LISTS = {
    "loss": ["mse", "mae", "log_cosh", "huber"],
    "loss_weights": [1.0, 2.0, 3.0, 4.0],
    "metrics": [["mae"], ["mse"], ["mae"], ["mse"]],
}


@pytest.mark.parametrize("by_name", [True, False])
def test_lists_are_paired_with_outputs_as_keras_pairs_them(by_name):
    model = toys.network(dropout=0.0)
    if not by_name:
        model = keras.Model(model.inputs, [model.output[task] for task in toys.TASKS])
    model.compile("adam", **LISTS)
    x, y = toys.data(32)
    labels = y if by_name else [y[task] for task in toys.TASKS]
    expected = model.evaluate(x, labels, verbose=0, return_dict=True)
    group = ("objects", "normals")
    networks = Networks(model, None, group, "initial", None)
    networks.inputs = Source(x, y).inputs()
    reached = networks.recipe(group).model().evaluate(x, y, verbose=0, return_dict=True)
    own = {name: value for name, value in expected.items() if name.startswith(group)}
    assert {name: reached[name] for name in own} == pytest.approx(own, rel=1e-5)


def test_a_list_of_inputs_stays_one():
    x, y = toys.data(64)
    source = Source([x[:, :3], x[:, 3:]], y, batch_size=64)
    first, second = source.first_batch()[0]
    np.testing.assert_array_equal(first, x[:, :3])
    np.testing.assert_array_equal(second, x[:, 3:])


class Batches(keras.utils.PyDataset):
    """Two batches of different sizes."""

    x, y = toys.data(24)

    def __len__(self):
        return 2

    def __getitem__(self, index):
        rows = slice(16) if index == 0 else slice(16, None)
        return self.x[rows], {task: labels[rows] for task, labels in self.y.items()}


def test_affinities_are_measured_on_batches_of_a_pydataset_too():
    given = Batches()
    position = Position(Source(given).batches(0).data)
    position.set_model(SimpleNamespace(probes=1))
    position.on_train_begin()
    for k, (x, y) in zip((1, 0, 1), position.data.take(3), strict=True):
        np.testing.assert_array_equal(x, given[k][0])
        np.testing.assert_array_equal(y["edges"], given[k][1]["edges"])
    assert len(list(Source(given, steps=1).batches(0).data)) == 1


class Sequences(Batches):
    """Batches of sequences of another length each."""

    def __getitem__(self, index):
        x, y = super().__getitem__(index)
        return np.stack([x] * (index + 1), axis=1), y


def test_affinities_are_measured_on_batches_of_several_lengths():
    given = Sequences()
    data = Position(given).data.take(2)
    assert data.element_spec[0].shape.as_list() == [None, None, given.x.shape[1]]
    for k, (x, _) in zip((0, 1), data, strict=True):
        np.testing.assert_array_equal(x, given[k][0])


@pytest.mark.slow
def test_other_losses_and_other_last_labels_are_another_search():
    given = Networks(toys.compiled(), None, toys.TASKS, "initial", None).describe()
    model = toys.compiled(loss={**dict.fromkeys(toys.TASKS, "mse"), "edges": "mae"})
    assert Networks(model, None, toys.TASKS, "initial", None).describe() != given
    labels = np.zeros(5000, "float32")
    before = Source(labels, labels).describe()
    changed = labels.copy()
    changed[-1] = 1.0
    assert Source(labels, changed).describe() != before


@pytest.mark.parametrize("many", [True, False])
def test_backups_of_the_user_are_refused(tmp_path, many):
    own = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    x, y = toys.data(32)
    search = keras_tag.GroupSearch(toys.compiled(), 2, directory=tmp_path)
    with pytest.raises(ValueError, match="the search keeps its own"):
        search.search(x, y, validation_split=0.5, callbacks=[own] if many else own, verbose=0)
    assert not (tmp_path / "group_search").exists()


@pytest.mark.parametrize(("own", "given"), [(None, -9), (-9, None), (-9, -9), (-9, np.nan)])
def test_every_network_has_the_same_sentinel(tmp_path, own, given):
    tag = keras_tag.TAGModel(toys.network(), missing=own)
    tag.compile("sgd", loss=dict.fromkeys(toys.TASKS, "mse"))
    search = keras_tag.GroupSearch(tag, 2, missing=given, directory=tmp_path)
    networks = search._networks
    networks.inputs = Source(*toys.data(8)).inputs()
    models = [*networks.joint(None), networks.recipe(("depth", "edges")).model()]
    assert [model.missing for model in models] == [-9, -9, -9]


@pytest.mark.parametrize("many", [False, True])
def test_the_joint_run_shares_the_layers_that_were_given(many):
    model = toys.network()
    trunk = model.get_layer("trunk")
    tag = keras_tag.TAGModel(model, shared=[trunk] if many else trunk)
    tag.compile("sgd", loss=dict.fromkeys(toys.TASKS, "mse"))
    networks = Networks(tag, None, toys.TASKS, "initial", None)
    networks.inputs = Source(*toys.data(8)).inputs()
    joint, _ = networks.joint(None)
    assert joint.shared == ["trunk"]
