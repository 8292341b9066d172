"""The methods of `search_at_scale` on few tasks, where another way to the same groups exists."""

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from benchmarks.grouping_quality import attention
from benchmarks.grouping_quality.trained_pairs import extrapolate_pairs
from benchmarks.search_at_scale import FILE, best_of, pairwise, random_groups, served, table
from keras_tag import GroupScores, select_groups

PAGE = Path(__file__).parents[2] / "docs" / "grouping_quality.md"
TASKS = ("a", "b", "c", "d", "e")


class Invented:
    """Networks whose losses are drawn, as `search_at_scale.Networks` has them trained."""

    def __init__(self):
        self.data = type("Data", (), {"tasks": TASKS})
        self.trained = set()

    def losses(self, groups, draw=0):
        rows = []
        for group in groups:
            self.trained.add(frozenset(group))
            of_group = np.random.default_rng([TASKS.index(task) for task in sorted(group)])
            inside = [task in group for task in TASKS]
            rows.append(np.where(inside, of_group.uniform(0.5, 1.5, len(TASKS)), np.nan))
        return np.array(rows), np.array(rows)


@pytest.mark.parametrize("budget", [2, 3])
def test_hoa_chooses_what_the_extrapolation_to_all_groups_chooses(budget):
    networks = Invented()
    groups, trained = pairwise(networks, budget)
    assert trained == len(networks.trained) == 15
    scores = {}
    for size in (1, 2):
        for group in combinations(TASKS, size):
            row = networks.losses([group])[0][0]
            scores[group] = {task: row[TASKS.index(task)] for task in group}
    theirs = select_groups(extrapolate_pairs(GroupScores(scores, sense="min")), budget)
    assert set(map(frozenset, groups)) == set(map(frozenset, theirs.groups))


def test_the_networks_that_serve_are_the_best_of_all_choices():
    networks = Invented()
    groups = [TASKS, *random_groups(TASKS, 6, [0])]
    validation, test = networks.losses(groups)
    for budget in (1, 2, 3):
        least = min(
            served(validation, test, rows)
            for rows in combinations(range(len(groups)), budget)
            if np.isfinite(validation[list(rows)]).any(0).all()
        )
        found = best_of(TASKS, validation, budget)
        assert len(found) <= budget
        # Here test losses are the validation losses.
        assert served(validation, test, found) == pytest.approx(least)


def test_the_page_shows_the_committed_results():
    text = PAGE.read_text("utf-8")
    assert table(json.loads(FILE.read_text("utf-8"))) in text
    for name, results in json.loads(attention.FILE.read_text("utf-8"))["cases"].items():
        assert attention.page_table(results, attention.CASES[name].family) in text
