"""Metadata of groupings: it goes into the file, and changes no result."""

from dataclasses import replace

import numpy as np

from keras_tag import Affinity, Grouping, budget_curve, select_groups
from keras_tag.provenance import versions

MATRIX = [[1.0, 0.8, 0.0], [0.6, 1.0, 0.1], [0.0, 0.0, 1.0]]


def measured(seed):
    affinity = Affinity.from_array(np.array(MATRIX), ["a", "b", "c"], rows="source")
    return replace(affinity, metadata={"seed": seed})


def test_it_says_versions_arguments_and_affinities(tmp_path):
    grouping = select_groups(measured(7), 2, max_size=2, must_link=[("a", "b")])
    grouping.save(tmp_path / "grouping.json")
    metadata = Grouping.load(tmp_path / "grouping.json").metadata
    assert metadata == grouping.metadata
    assert metadata["versions"] == versions()
    assert {"keras_tag", "keras", "tensorflow", "numpy"} <= versions().keys()
    assert metadata["affinity"] == {"seed": 7}
    settings = metadata["settings"]
    assert (settings["budget"], settings["max_size"], settings["score"]) == (2, 2, "members")
    assert settings["must_link"] == [["a", "b"]]


def test_the_groupings_of_a_curve_have_that_of_select_groups():
    asked = {"max_size": 2, "time_limit": 60.0}
    for budget, grouping in budget_curve(measured(7), [2, 3], **asked).items():
        alone = select_groups(measured(7), budget, **asked)
        assert grouping == alone
        assert grouping.metadata == alone.metadata


def test_what_json_has_no_word_for_is_told():
    def mine(group, task):
        return float(len(group))

    settings = select_groups(measured(7), 2, score=mine, alone=1.0).metadata["settings"]
    assert settings["score"].endswith("mine")
    settings = select_groups(measured(7), 3, costs={("a",): 1, ("b",): 1, ("c",): 1}).metadata
    assert "('a',): 1" in settings["settings"]["costs"]


def test_groupings_are_compared_without_it():
    assert select_groups(measured(1), 2) == select_groups(measured(2), 2)


def test_a_file_without_it_is_read():
    saved = select_groups(measured(1), 2).to_dict()
    del saved["metadata"]
    assert Grouping.from_dict(saved).metadata == {}
