"""Killed at random moments of training, saving and resuming, a run ends as one that was not.

The moments are drawn with a seed, but what a process is doing then is chance: that is the point.
"""

import json

import h5py
import numpy as np
import pytest
import runs
from killing import kill_until_done, live
from training import EPOCHS

from keras_tag import Affinity

TRAINING = [runs.HERE / "training.py"]


def saved(file):
    """All arrays of a file of weights, by name."""
    arrays = {}

    def note(name, node):
        if isinstance(node, h5py.Dataset):
            arrays[name] = node[()]

    with h5py.File(file) as opened:
        opened.visititems(note)
    return arrays


def assert_same_files(ours, theirs):
    ours, theirs = saved(ours), saved(theirs)
    assert ours.keys() == theirs.keys()
    assert ours
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name], err_msg=name)


def affinities(folder):
    affinity = Affinity.load(folder / "affinity.npz")
    history = affinity.history
    return affinity.mean, affinity.count, history.epoch, history.total, history.probes


class Unbroken:
    """A run that nobody kills: what a run is after every step, and all its backups."""

    def __init__(self, folder):
        self.folder = folder
        life = live([*TRAINING, folder], folder)
        events = list(map(json.loads, life.lines))
        self.weights = {step: name for what, step, name in events if what != "begin"}
        assert sorted(self.weights) == list(range(EPOCHS * runs.STEPS + 1))
        assert Affinity.load(folder / "affinity.npz").count.min() == runs.probes_of(
            EPOCHS * runs.STEPS
        )

    def assert_right_so_far(self, folder, life):
        """What a killed run has done and saved is what this one had at that step."""
        for what, step, name in map(json.loads, life.lines):
            assert what == "begin" or name == self.weights[step], (what, step)
        for backup in (folder / "backup").glob("epoch_*"):
            theirs = self.folder / "backup" / backup.name
            assert_same_files(*(path / "latest.weights.h5" for path in (backup, theirs)))
            state = "training_metadata.json"
            assert json.loads((backup / state).read_text()) == json.loads(
                (theirs / state).read_text()
            )


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    return Unbroken(tmp_path_factory.mktemp("unbroken"))


def kill_training(folder, unbroken, seed, kills):
    """Kill one run so often at most, look at it after every kill and at its end."""

    def look(life):
        unbroken.assert_right_so_far(folder, life)

    # Most lives reach the next backup; some end before.
    longest = 2 * (runs.STEPS + 1)
    killed = kill_until_done([*TRAINING, folder], folder, seed, kills, longest, after_life=look)
    for ours, theirs in zip(affinities(folder), affinities(unbroken.folder), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    return killed


@pytest.mark.slow
def test_a_few_kills(tmp_path, unbroken):
    # Two, unless this process was kept waiting so long that the run ended before a kill.
    assert kill_training(tmp_path, unbroken, seed=0, kills=2) >= 1


@pytest.mark.nightly
@pytest.mark.parametrize("seed", [1, 2])
def test_many_kills_of_a_training(tmp_path, unbroken, seed, record_property):
    killed = kill_training(tmp_path, unbroken, seed, kills=30)
    record_property("kills of fit, save or resume", killed)
    assert killed >= 25


@pytest.mark.nightly
def test_kills_of_fit_groups(tmp_path, record_property):
    command = [runs.HERE / "grouped.py"]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()
    assert live([*command, whole], whole).code == 0

    def look(life):
        """Finished networks are those of the run that nobody killed."""
        for file in (broken / "groups").glob("network_*/trained.weights.h5"):
            assert_same_files(file, whole / file.relative_to(broken))

    longest = runs.STEPS + 4
    killed = kill_until_done([*command, broken], broken, 3, 6, longest, after_life=look)
    ours, theirs = (np.load(folder / "end.npz") for folder in (broken, whole))
    assert ours.files == theirs.files
    for name in ours.files:
        np.testing.assert_array_equal(ours[name], theirs[name])
    record_property("kills of fit_groups", killed)
    assert killed >= 3
