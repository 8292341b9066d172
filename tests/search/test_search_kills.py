"""Killed at random moments and started again, a search ends as one that was not."""

import itertools
import json
from pathlib import Path

import pandas as pd
import pytest
from killing import kill_until_done, live
from toys import assert_same_weights

from keras_tag import Affinity
from keras_tag.search.ledger import Ledger
from keras_tag.search.results import Results

pytestmark = pytest.mark.slow

LINES = 4 * 5 * 8  # Trainings, epochs, lines an epoch: about all that a search says.


def command(folder):
    return [Path(__file__).with_name("searching.py"), folder]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    assert live(command(folder), folder).code == 0
    return folder / "search"


def assert_same_end(ours, theirs):
    assert_same_weights(ours, theirs)
    ours, theirs = (Results.read(Ledger(folder)) for folder in (ours, theirs))
    timeless = [results.to_frame().drop(columns="seconds") for results in (ours, theirs)]
    pd.testing.assert_frame_equal(*timeless)
    assert ours.grouping().groups == theirs.grouping().groups
    assert ours.grouping().serves == theirs.grouping().serves
    assert str(ours.verdict()) == str(theirs.verdict())
    for own, other in zip(*(r.affinity.mean.ravel() for r in (ours, theirs)), strict=True):
        assert own == other
    assert isinstance(ours.affinity, Affinity)


def kill(folder, unbroken, seed, kills, longest):
    firsts = []

    def look(life):
        begun = [json.loads(line) for line in life.lines]
        firsts.extend(event[1] for event in begun if event[0] == "begins")

    killed = kill_until_done(command(folder), folder, seed, kills, longest, after_life=look)
    # Some life took up a training after its first epoch.
    went_on = [b for a, b in itertools.pairwise(firsts) if b not in (0, a + 1)]
    assert went_on or kills < 10, firsts
    assert_same_end(folder / "search", unbroken)
    assert not list(folder.glob("search/training_*/backup"))
    return killed


def test_a_few_kills(tmp_path, unbroken):
    assert kill(tmp_path, unbroken, seed=0, kills=4, longest=LINES // 3) >= 2


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(1, 5))
def test_many_kills_of_a_search(tmp_path, unbroken, seed, record_property):
    killed = kill(tmp_path, unbroken, seed, kills=10, longest=LINES // 8)
    record_property("kills of a search", killed)
    assert killed >= 7
