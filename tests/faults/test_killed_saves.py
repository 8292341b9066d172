"""Killed while it saves, a process leaves the old file or the new one, and it can be read."""

import random

import numpy as np
import pytest
import runs
import saving
from killing import live

from keras_tag import Affinity, Grouping


def same(kind, path, number):
    if kind == "grouping":
        return Grouping.load(path) == saving.grouping(number)
    return np.array_equal(Affinity.load(path).mean, saving.affinity(number).mean)


def kill_saves(kind, folder, seed, kills):
    draw, path = random.Random(seed), folder / "file"
    for _ in range(kills):
        moment = (draw.randint(1, 4), draw.uniform(0, 0.05))
        life = live([runs.HERE / "saving.py", kind, path], folder, [moment])
        last = int(life.lines[-1])
        # Or the next, which was there before its line.
        assert same(kind, path, last) or same(kind, path, last + 1)
        # What was not renamed yet is hidden.
        assert [p.name for p in folder.iterdir() if not p.name.startswith(".")] == ["file"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", saving.KINDS)
def test_a_few_kills_of_saves(kind, tmp_path):
    kill_saves(kind, tmp_path, seed=0, kills=3)


@pytest.mark.nightly
@pytest.mark.parametrize("kind", saving.KINDS)
def test_many_kills_of_saves(kind, tmp_path, record_property):
    kill_saves(kind, tmp_path, seed=1, kills=25)
    record_property(f"kills while saving: {kind}", 25)
