"""`keras_tag.stability`: against the exact solver, and against what is known of the affinities."""

import numpy as np
import pytest
from uncertain_affinity import affinity_of, random_affinity

from keras_tag import select_groups
from keras_tag.affinity import Affinity
from keras_tag.baselines import random_groups
from keras_tag.resampling import stability
from keras_tag.selection.grouping import Grouping

TWO_PAIRS = np.kron(np.eye(2), np.full((2, 2), 0.8)) + 0.2 * np.eye(4)


def score_of(grouping, matrix, tasks):
    """The members score, straight from its formula."""
    place = {task: i for i, task in enumerate(tasks)}
    total = 0.0
    for task, network in grouping.serves.items():
        j, group = place[task], [place[t] for t in grouping.groups[network]]
        total += np.mean([matrix[i, j] / matrix[j, j] for i in group]) if len(group) > 1 else 1.0
    return total


CHOICES = [
    {},
    {"score": "partners"},
    {"score": "partners", "alone": 0.01},
    {"overlap": False},
    {"max_size": 3},
    {"min_size": 2, "weights": {"t00": 3.0, "t02": 0.25}},
    {"must_link": [("t00", "t03")], "cannot_link": [("t01", "t02")]},
    {"alone": "self"},
    {"alone": "forbid"},
]


@pytest.mark.parametrize("choice", CHOICES, ids=str)
@pytest.mark.parametrize("budget", [2, 3])
def test_every_draw_is_chosen_for_as_select_groups_does(choice, budget):
    affinity = random_affinity(6, seed=budget)
    found = stability(affinity, budget, replicates=12, seed=3, **choice)
    draws = affinity.mean + affinity.errors.draw(12, np.random.default_rng(3))
    for draw, regret in zip(draws, found.regret, strict=True):
        drawn = Affinity.from_array(draw, affinity.tasks, rows="source")
        best = select_groups(drawn, budget, **choice).objective
        if not choice:
            mine = score_of(found.grouping, draw, affinity.tasks)
            assert regret == pytest.approx(best - mine, abs=1e-9)
        assert any(_same(select_groups(drawn, budget, **choice), g) for g, _ in found.best)


def _same(one, other):
    def key(grouping):
        return sorted(
            (tuple(sorted(group)), tuple(sorted(grouping.served(i))))
            for i, group in enumerate(grouping.groups)
        )

    return key(one) == key(other)


@pytest.mark.parametrize("costs", [{1: 0.5, 2: 1.0, 3: 1.4, 4: 1.6}, [1, 2, 2, 3, 3, 4]])
def test_costs_are_kept_to(costs):
    affinity = random_affinity(6, seed=1)
    found = stability(affinity, 4, costs=costs, replicates=8)
    draws = affinity.mean + affinity.errors.draw(8, np.random.default_rng(0))
    for draw in draws:
        drawn = Affinity.from_array(draw, affinity.tasks, rows="source")
        best = select_groups(drawn, 4, costs=costs)
        assert any(_same(best, grouping) for grouping, _ in found.best)


@pytest.mark.slow
def test_more_than_fifteen_tasks_go_through_the_solver():
    n = 16
    mean = np.kron(np.eye(4), np.full((4, 4), 0.6)) + 0.4 * np.eye(n)
    found = stability(affinity_of(mean, 0.01), 4, replicates=2)
    assert found.frequency == 1.0
    assert found.expected_regret == 0.0


def test_what_is_clear_is_said_to_be():
    found = stability(affinity_of(TWO_PAIRS, 0.001), 2)
    assert found.frequency == 1.0
    assert found.confidence(0.0) == 1.0
    assert found.expected_regret == 0.0
    assert found.runner_up is None
    np.testing.assert_array_equal(found.together, np.kron(np.eye(2), np.ones((2, 2))))


def test_two_equal_choices_share_the_draws():
    # Task c helps and is helped by a and by b alike; they don't help each other.
    mean = np.eye(3)
    mean[0, 2] = mean[2, 0] = mean[1, 2] = mean[2, 1] = 0.5
    found = stability(affinity_of(mean, 0.05, ["a", "b", "c"]), 2, replicates=400, overlap=False)
    frame = found.to_frame()
    assert 0.35 < frame.loc["a", "c"] < 0.65
    assert frame.loc["a", "c"] + frame.loc["b", "c"] == pytest.approx(1.0)
    assert 0.35 < found.frequency < 0.65
    assert not _same(found.runner_up, found.grouping)
    assert found.expected_regret > 0
    assert sum(share for _, share in found.best) == pytest.approx(1.0)


def test_less_certain_affinities_make_less_certain_choices():
    mean = random_affinity(6, seed=0).mean
    found = [stability(affinity_of(mean, error), 3) for error in (0.005, 0.05, 0.3)]
    assert found[0].expected_regret < found[1].expected_regret < found[2].expected_regret
    assert found[0].confidence() >= found[1].confidence() >= found[2].confidence()
    assert found[0].confidence() > found[2].confidence()


def test_the_gain_is_over_random_groups_of_the_same_number():
    affinity = random_affinity(6, seed=0)
    found = stability(affinity, 3, replicates=1)
    draws = [random_groups(affinity.tasks, len(found.grouping.groups), s) for s in range(2000)]
    random = np.mean([score_of(g, affinity.mean, affinity.tasks) for g in draws])
    best = score_of(found.grouping, affinity.mean, affinity.tasks)
    assert found.gain == pytest.approx(best - random, rel=0.15)


def test_regret_of_another_grouping_is_by_the_means():
    affinity = random_affinity(5, seed=0)
    found = stability(affinity, 2, replicates=1)
    other = Grouping.from_groups([affinity.tasks])
    expected = found.grouping.objective - score_of(other, affinity.mean, affinity.tasks)
    assert found.regret_of(other) == pytest.approx(expected)
    assert found.regret_of(found.grouping) == 0.0


def test_the_order_of_the_tasks_plays_no_part():
    affinity = random_affinity(6, seed=4)
    shuffled = affinity.subset([affinity.tasks[i] for i in (3, 0, 5, 1, 4, 2)])
    one, other = stability(affinity, 3), stability(shuffled, 3)
    np.testing.assert_allclose(one.regret, other.regret, atol=1e-12)
    frame = other.to_frame().loc[list(affinity.tasks), list(affinity.tasks)]
    np.testing.assert_allclose(one.together, frame.to_numpy())
    assert shuffled.tasks == other.tasks


def test_the_seed_decides_the_draws():
    affinity = random_affinity(5, seed=0)
    one, again, other = (stability(affinity, 2, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.regret, again.regret)
    assert (one.regret != other.regret).any()


def test_diagonals_that_may_be_negative_count_against():
    mean = TWO_PAIRS.copy()
    mean[0, 0] = 0.05
    error = np.full((4, 4), 0.001)
    error[0, 0] = 0.05
    found = stability(affinity_of(mean, error), 2)
    assert 0.05 < found.undecided < 0.4
    assert found.confidence() <= 1 - found.undecided
    assert np.isfinite(found.expected_regret)
    assert "undecided" in str(found)


def test_it_prints_what_a_person_wants_to_know():
    text = str(stability(random_affinity(5, seed=0, error=0.3), 2))
    for words in ("2 networks for 5 tasks", "200 draws", "very best", "runner-up", "expected"):
        assert words in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"replicates": 0}, "`replicates` to be an integer >= 1. Received: 0"),
        ({"score": lambda group, task: 1.0}, "a function"),
        ({"budget": 0}, "budget=0"),
        ({"risk": -1}, "risk=-1"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        stability(random_affinity(4, seed=0), **{"budget": 2, **arguments})


def test_a_table_has_no_errors_to_draw_from():
    table = Affinity.from_array(TWO_PAIRS, list("abcd"), rows="source")
    with pytest.raises(ValueError, match=r"errors.*`stability`.*all pairs.*combine"):
        stability(table, 2)
