import json
from pathlib import Path

import pytest
from recomputed_scores import verify

from keras_tag.selection import GroupScores, select_groups

TABLES = Path(__file__).parents[1] / "reference_tables"


def standley(half_size=False):
    table = json.loads((TABLES / "standley_results.json").read_text("utf-8"))
    entries = [(tuple(name.split()), scores, 1.0) for name, scores in table["groups"].items()]
    if half_size:
        entries += [((t,), {t: loss}, 0.5) for t, loss in table["half_size_single"].items()]
    return GroupScores(entries, sense="min")


@pytest.mark.parametrize(
    ("half_size", "budget", "published"),
    [(False, 1, 0.50761), (True, 1.5, 0.46630), (True, 2.0, 0.45686)],
)
def test_standley_table_gives_the_published_losses(half_size, budget, published):
    scores = standley(half_size)
    grouping = select_groups(scores, budget)
    assert grouping.status == "optimal"
    assert grouping.objective == pytest.approx(published, abs=5e-6)
    assert grouping.bound == grouping.objective
    assert grouping.cost <= budget
    assert verify(grouping, scores) == pytest.approx(published, abs=5e-6)


def test_mapping_with_costs_equals_the_list_of_entries():
    values = {("a",): {"a": 0.3}, ("b",): {"b": 0.2}, ("a", "b"): {"a": 0.5, "b": 0.1}}
    by_mapping = GroupScores(values, sense="min", costs={1: 0.5, 2: 1.0})
    entries = [(group, row, 0.5 * len(group)) for group, row in values.items()]
    assert select_groups(by_mapping, 1.0) == select_groups(GroupScores(entries, sense="min"), 1.0)


def test_groups_may_be_sets():
    values = {("a", "b"): {"a": 0.5, "b": 0.1}, ("a",): {"a": 0.3}, ("b",): {"b": 0.2}}
    as_sets = {frozenset(group): row for group, row in values.items()}
    expected = select_groups(GroupScores(values, sense="min"), 2)
    assert select_groups(GroupScores(as_sets, sense="min"), 2) == expected
    listed = GroupScores([(set(group), row) for group, row in values.items()], sense="min")
    assert listed.entries[0].tasks == ("a", "b")


def test_a_task_without_a_value_is_not_served_by_that_group():
    scores = GroupScores([(("a", "b"), {"a": 5.0}), (("b",), {"b": 1.0})])
    grouping = select_groups(scores, 2)
    assert grouping.groups == (("a", "b"), ("b",))
    assert grouping.serves == {"a": 0, "b": 1}


def test_tasks_that_no_measured_group_covers_are_listed():
    scores = GroupScores([(("a", "b"), {"a": 1.0}), (("c",), {"c": 1.0})])
    with pytest.raises(ValueError, match=r"Nothing can serve \['b'\]"):
        select_groups(scores, 3)


def test_budget_below_the_cheapest_cover_says_what_that_costs():
    scores = GroupScores([(("a",), {"a": 1.0}, 0.5), (("b",), {"b": 1.0}, 0.75)])
    with pytest.raises(ValueError, match=r"1\.25"):
        select_groups(scores, 1.0)


@pytest.mark.parametrize("option", [{"score": "partners"}, {"alone": 1.0}, {"costs": {1: 1.0}}])
def test_options_that_do_not_apply_are_refused(option):
    with pytest.raises(ValueError, match="don't apply to GroupScores"):
        select_groups(standley(), 2, **option)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([], "at least one"),
        ({}, "at least one"),
        ([(("a", "a"), {"a": 1.0})], "Expected every group .* once"),
        ([((), {"a": 1.0})], "Expected every group .* one or more"),
        ([((1,), {1: 1.0})], "Expected every group .* task names"),
        ({("a", "b"): {"a": 1.0}, ("b", "a"): {"a": 1.0}}, "each group once"),
        ([(("a",), {"b": 1.0})], "for the tasks of the group"),
        ([(("a",), {"a": float("nan")})], "finite"),
        ([(("a",), {"a": 1.0}, -1.0)], "not negative"),
        ([(("a",), 1.0)], "Expected an entry"),
        ("ab", "Expected `groups`"),
    ],
)
def test_malformed_tables_are_refused(groups, message):
    with pytest.raises(ValueError, match=message):
        GroupScores(groups)


def test_unknown_sense_is_refused():
    with pytest.raises(ValueError, match="Expected `sense`"):
        GroupScores({("a",): {"a": 1.0}}, sense="less")
