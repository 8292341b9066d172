import json
from itertools import combinations
from pathlib import Path

import pytest

from benchmarks.grouping_quality.trained_pairs import extrapolate_pairs
from keras_tag import GroupScores, select_groups

STANDLEY = Path(__file__).parents[1] / "reference_tables" / "standley_results.json"


def table(losses, sense="min"):
    return GroupScores(losses, sense=sense)


@pytest.fixture
def standley():
    """All 31 groups of five Taskonomy tasks, as Standley et al. trained them."""
    stored = json.loads(STANDLEY.read_text("utf-8"))["groups"]
    return {tuple(group.split()): losses for group, losses in stored.items()}


def test_a_larger_group_is_the_mean_of_its_pairs(standley):
    predicted = extrapolate_pairs(table(standley))
    assert len(predicted.entries) == 31
    for entry in predicted.entries:
        for task, value in entry.scores.items():
            rest = [other for other in entry.tasks if other != task]
            if not rest:
                expected = standley[(task,)][task]
            else:
                pairs = {frozenset(g): losses for g, losses in standley.items() if len(g) == 2}
                expected = sum(pairs[frozenset((task, other))][task] for other in rest) / len(rest)
            assert value == pytest.approx(expected, rel=1e-12)


def test_what_larger_groups_achieved_is_not_looked_at(standley):
    few = {group: losses for group, losses in standley.items() if len(group) <= 2}
    full = {entry.tasks: entry.scores for entry in extrapolate_pairs(table(few)).entries}
    again = extrapolate_pairs(table(standley)).entries
    assert {entry.tasks: entry.scores for entry in again} == full


def test_the_pairwise_grouping_is_the_optimum_of_the_predictions(standley):
    predicted = extrapolate_pairs(table(standley))
    grouping = select_groups(predicted, 2)
    losses = {frozenset(entry.tasks): entry.scores for entry in predicted.entries}
    everything = set(predicted.tasks)
    best = min(
        sum(min(losses[g][t] for g in pair if t in g) for t in everything)
        for pair in combinations(losses, 2)
        if set.union(*map(set, pair)) == everything
    )
    assert grouping.objective == pytest.approx(best, rel=1e-12)


def test_exhaustive_is_at_least_as_good_on_what_it_chose_by(standley):
    measured = table(standley)
    for budget in (1, 2, 3, 4):
        best = select_groups(measured, budget)
        chosen = select_groups(extrapolate_pairs(measured), budget)
        got = sum(
            min(standley[g][t] for g in standley if t in g and set(g) in map(set, chosen.groups))
            for t in measured.tasks
        )
        assert best.objective <= got + 1e-12


def test_missing_pairs_and_lone_tasks_are_named():
    with pytest.raises(ValueError, match=r"Missing or incomplete: \[\('b',\), \('a', 'c'\)"):
        extrapolate_pairs(
            table({"a": {"a": 1}, "c": {"c": 1}, ("a", "b"): {"a": 1, "b": 1}, ("a", "c"): {"a": 1},
                   ("b", "c"): {"b": 1, "c": 2}})
        )  # fmt: skip


def test_a_group_that_is_listed_twice_is_refused():
    with pytest.raises(ValueError, match="every group once"):
        extrapolate_pairs(GroupScores([("a", {"a": 1.0}), ("a", {"a": 2.0})]))


def test_more_than_fifteen_tasks_are_refused():
    lone = {(f"t{k}",): {f"t{k}": 1.0} for k in range(16)}
    with pytest.raises(ValueError, match="at most 15 tasks"):
        extrapolate_pairs(table(lone))
