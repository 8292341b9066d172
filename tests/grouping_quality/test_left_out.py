"""The replayed searches are those of the package, and their tables are on the page."""

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from benchmarks.group_search import outcome, replay
from benchmarks.grouping_quality.evaluate import load_set_tables
from benchmarks.grouping_quality.fit_prior import family_of
from benchmarks.grouping_quality.left_out import FILE, shares_of
from benchmarks.grouping_quality.left_out_report import tables
from benchmarks.grouping_quality.methods import Case, by_trainings, rows_of
from benchmarks.grouping_quality.replayed_search import Variant, best_groups, choose, had, search
from keras_tag.search.objectives import objectives_by_task
from keras_tag.search.proposals import Limits, Problem
from keras_tag.selection.few_trainings.gain_model import Prior

pytestmark = pytest.mark.slow
PAGE = Path(__file__).parents[2] / "docs" / "grouping_quality.md"
SMALL = ("overlaid2-odd-loop-prime", 24)


def test_the_solver_finds_what_trying_all_pairs_and_triples_finds():
    draw = np.random.default_rng(0)
    for _ in range(20):
        losses = np.full((15, 4), np.inf)
        for row in range(15):
            members = np.flatnonzero((row + 1) >> np.arange(4) & 1)
            if draw.random() < 0.8 or row == 14:
                losses[row, members] = draw.random(len(members))
        for budget in (2, 3):
            least = min(
                losses[list(rows)].min(0).sum()
                for count in range(1, budget + 1)
                for rows in combinations(range(15), count)
            )
            found = best_groups(losses, budget)
            assert len(found) <= budget
            assert losses[found].min(0).sum() == pytest.approx(least)


@pytest.mark.parametrize("per_network", [2, 4])
def test_the_replayed_search_trains_what_groups_to_train_asks_for(per_network):
    table, affinities = load_set_tables(*SMALL)
    case = Case(table, affinities, 0)
    shares = shares_of(affinities.means["validation-10"][0], table.tasks)
    losses = table.validation[0]
    chosen = by_trainings("validation-10", per_network)(case, (2, 3))
    for budget in (2, 3):
        rows, believed = search(losses, shares, Prior(), budget, per_network * budget, Variant())
        assert len(rows) - 1 == chosen.trained[budget]
        serving, _ = choose(losses, shares, believed, rows, budget, Variant())
        theirs = losses[rows_of(table, chosen.groupings[budget].groups)]
        assert losses[serving, range(len(serving))].sum() == pytest.approx(had(theirs).min(0).sum())


@pytest.mark.parametrize("ask", ["round", "one"])
def test_the_replayed_group_search_trains_what_the_package_proposes(ask):
    table, affinities = load_set_tables(*SMALL)
    case = Case(table, affinities, 1)
    problem = Problem(table.tasks, 2, objectives_by_task(None, table.tasks), prior=case.prior)
    affinity = case.affinity("validation-50")
    rows = [len(table.groups) - 1]
    outcomes = [outcome(case, 0, rows[0])]
    while asked := problem.next_groups(affinity, outcomes, Limits(6)):
        for group in asked[: 1 if ask == "one" else None]:
            rows += rows_of(table, [group])
            outcomes.append(outcome(case, len(outcomes), rows[-1]))
    assert replay(case, 2, "validation-50", 3, ask) == rows


def test_sets_of_the_same_data_are_one_family():
    assert family_of("overlaid3-odd-loop-prime") == family_of("plain-digits") == "digits"
    assert family_of("sider") == "sider"
    assert family_of("mnist-image") == family_of("mnist-overlaid") == "mnist"
    assert family_of("wq") == "wq"


def test_the_page_shows_the_tables_of_the_committed_replays():
    text = PAGE.read_text("utf-8")
    for name, table in tables(json.loads(FILE.read_text("utf-8"))).items():
        assert table in text, name
