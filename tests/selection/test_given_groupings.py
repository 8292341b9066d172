"""`Grouping`: groups made by hand, and what is read from files."""

import math

import numpy as np
import pytest

from keras_tag import Affinity, Grouping, select_groups


def chosen():
    z = [[1, 0.8, 0], [0.6, 1, 0.1], [0, 0, 1]]
    return select_groups(Affinity.from_array(z, ["a", "b", "c"], rows="source"), 2)


def test_groups_may_be_sets():
    assert Grouping.from_groups([{"b", "c", "a"}, frozenset("d")]).groups == (
        ("a", "b", "c"),
        ("d",),
    )


@pytest.mark.parametrize("groups", [["ab"], [("a", "a")], [("a",), ()], [(1, 2)], [("a",), 3]])
def test_a_group_that_is_none_is_refused_as_a_group(groups):
    with pytest.raises(ValueError, match=r"Expected every group to be .* task names, each once"):
        Grouping.from_groups(groups)


@pytest.mark.parametrize("name", ["task_scores", "objective", "bound", "status", "score"])
def test_what_a_file_lacks_or_misspells_is_named(name):
    saved = chosen().to_dict()
    value = saved.pop(name)
    for other in (saved, {**saved, f"{name}s": value}):
        with pytest.raises(ValueError, match=rf"in which \['{name}'\] are missing"):
            Grouping.from_dict(other)


@pytest.mark.parametrize("changed", [{}, {"groups": "other"}, {"status": "close"}])
def test_a_newer_format_asks_for_an_update(changed):
    with pytest.raises(ValueError, match="Update keras_tag"):
        Grouping.from_dict({**chosen().to_dict(), **changed, "format_version": 99})


@pytest.mark.parametrize("name", ["objective", "bound"])
def test_no_choice_is_optimal_without_a_number(name):
    with pytest.raises(ValueError, match=rf"in which \['{name}'\] are missing"):
        Grouping.from_dict({**chosen().to_dict(), name: None})


def test_a_number_that_is_nan_is_read_as_it_was_saved(tmp_path):
    grouping = Grouping(
        (("a",),), {"a": 0}, statistics={"x": math.nan, "y": 2}, metadata={"z": [np.nan, 1.0]}
    )
    grouping.save(tmp_path / "groups.json")
    assert "NaN" not in (tmp_path / "groups.json").read_text("utf-8")
    again = Grouping.load(tmp_path / "groups.json")
    assert math.isnan(again.statistics["x"])
    assert again.statistics["y"] == 2
    assert again.metadata == {"z": [None, 1.0]}
