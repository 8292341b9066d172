"""The search for many tasks agrees with the table of all groups, and says what it did not prove."""

import itertools
import math
import time

import numpy as np
import pytest
from recomputed_scores import verify

from keras_tag.affinity import Affinity
from keras_tag.selection import problem as selection_problem
from keras_tag.selection import select_groups
from keras_tag.selection.arguments.constraints import Constraints
from keras_tag.selection.many_tasks.searched_groups import ServedSets
from keras_tag.selection.scores.closed_form import ExactScore
from keras_tag.selection.solver.first_solution import feasible_cover


def instance(rng, n, family):
    if family == "clustered":
        label = rng.integers(0, max(2, n // 5), size=n)
        z = 0.2 * rng.normal(size=(n, n)) + (label[:, None] == label[None, :])
    elif family == "real-like":
        scale, row = np.exp(rng.normal(size=n)), np.exp(0.5 * rng.normal(size=n))
        low_rank = rng.normal(size=(n, 4)) @ rng.normal(size=(4, n)) / 4
        noise = 0.2 * rng.normal(size=(n, n))
        z = 0.1 * scale * (row[:, None] * (0.3 + low_rank) + noise)
    elif family == "tied":
        z = rng.integers(-1, 2, size=(n, n)) * 0.5
    else:
        z = rng.uniform(-1, 1, size=(n, n))
    z[np.diag_indices(n)] = np.abs(z).max(axis=0) + 0.1
    return Affinity.from_array(z, [f"t{i:02d}" for i in range(n)], rows="source")


def draw_call(rng, n):
    call = {
        "budget": int(rng.integers(1, 5)),
        "score": str(rng.choice(["members", "partners"])),
        "overlap": bool(rng.random() < 0.7),
        "min_size": int(rng.choice([1, 1, 1, 2])),
        "max_size": None if rng.random() < 0.6 else int(rng.integers(3, n + 1)),
        "alone": rng.choice([None, 0.2]),
    }
    if rng.random() < 0.4:
        pairs = [tuple(rng.choice(n, 2, replace=False).tolist()) for _ in range(2)]
        call["must_link"] = [(f"t{a:02d}", f"t{b:02d}") for a, b in pairs[:1]]
        call["cannot_link"] = [(f"t{a:02d}", f"t{b:02d}") for a, b in pairs[1:]]
    if rng.random() < 0.3:
        call["costs"] = {k: round(float(rng.uniform(0.5, 2.0)), 1) for k in range(1, n + 1)}
        call["budget"] = round(float(rng.uniform(2.0, 6.0)), 1)
    if rng.random() < 0.3:
        call["weights"] = {f"t{i:02d}": float(rng.integers(1, 4)) for i in range(n)}
    return call


def answer(affinity, call):
    try:
        grouping = select_groups(affinity, **call)
    except ValueError:
        return None
    assert grouping.status == "optimal"
    size = sum(map(len, grouping.groups))
    return grouping.objective, len(grouping.groups), size


@pytest.mark.parametrize(
    "seed",
    [pytest.param(k, marks=pytest.mark.slow if k < 2 else pytest.mark.nightly) for k in range(4)],
)
def test_search_agrees_with_the_table_of_all_groups(seed, monkeypatch):
    rng = np.random.default_rng([seed, 5])
    families = itertools.cycle(["clustered", "real-like", "tied", "uniform"])
    for _, family in zip(range(30), families, strict=False):
        n = int(rng.integers(3, 10))
        affinity, call = instance(rng, n, family), draw_call(rng, n)
        listed = answer(affinity, call)
        with monkeypatch.context() as patch:
            patch.setattr(selection_problem, "MOST_TASKS_LISTED", 0)
            searched = answer(affinity, call)
        assert searched == listed, (family, n, call)


@pytest.mark.slow
def test_helpers_that_only_rounding_tells_apart_are_taken_by_name_with_links_too(monkeypatch):
    # For b and f, c gives 0.1 + 0.3 and d 0.3 + 0.1, which floats add up otherwise.
    table = np.array(
        [
            [1.0, 0.2, 0.2, 0.3, 0.1, 0.3],
            [0.2, 1.0, 0.1, 0.1, 0.3, 0.2],
            [0.2, 0.1, 1.0, 0.2, 0.3, 0.3],
            [0.2, 0.3, 0.2, 1.0, 0.3, 0.1],
            [0.3, 0.2, 0.2, 0.3, 1.0, 0.2],
            [0.2, 0.1, 0.2, 0.2, 0.2, 1.0],
        ]
    )
    affinity = Affinity.from_array(table, list("abcdef"), rows="source")
    options = {"min_size": 4, "max_size": 4, "cannot_link": [("b", "e")]}
    monkeypatch.setattr(selection_problem, "MOST_TASKS_LISTED", 0)
    found = select_groups(affinity, 2, **options)
    assert found.groups == (("a", "c", "d", "e"), ("a", "b", "c", "f"))


@pytest.mark.slow
def test_twenty_tasks_are_proven_and_do_not_depend_on_their_order():
    rng = np.random.default_rng(8)
    affinity = instance(rng, 20, "clustered")
    grouping = select_groups(affinity, 4)
    assert grouping.status == "optimal"
    assert grouping.bound == grouping.objective
    assert verify(grouping, affinity) == grouping.objective
    shuffled = affinity.subset(rng.permutation(affinity.tasks).tolist())
    assert select_groups(shuffled, 4) == grouping


@pytest.mark.slow
@pytest.mark.parametrize("score", ["members", "partners"])
@pytest.mark.parametrize("kind", ["constant", "identity"])
def test_ties_beyond_counting_are_solved_with_fewest_networks(score, kind):
    n = 24
    z = np.full((n, n), 0.5) if kind == "constant" else np.eye(n)
    affinity = Affinity.from_array(z, [f"t{i:02d}" for i in range(n)], rows="source")
    grouping = select_groups(affinity, 3, score=score)
    assert grouping.status == "optimal"
    # Constant: everyone is as good as any other. Identity: under "members" every network keeps one
    # task's worth of progress, so three are better; under "partners" everything is 0.
    one_is_enough = kind == "constant" or score == "partners"
    assert len(grouping.groups) == (1 if one_is_enough else 3)
    assert sum(map(len, grouping.groups)) == n


@pytest.mark.slow
def test_time_limit_gives_the_best_found_and_an_honest_bound():
    affinity = instance(np.random.default_rng(3), 40, "uniform")
    start = time.monotonic()
    grouping = select_groups(affinity, 3, time_limit=4.0)
    # Compiling can't be interrupted.
    assert time.monotonic() - start < 60.0
    assert grouping.status == "feasible"
    assert grouping.bound > grouping.objective
    assert grouping.gap == grouping.bound - grouping.objective
    assert verify(grouping, affinity) == grouping.objective
    # One network for everything is in reach of any search.
    assert grouping.objective >= select_groups(affinity, 1, time_limit=2.0).objective


def test_costs_of_many_digits_do_not_make_groups_impossible():
    # Among six tasks two groups of three will do; two of the tasks must not meet.
    prices = [309522, 1302113, 690811, 168164, 502741, 1392715]
    constraints = Constraints.check(tuple("abcdef"), False, 1, None, [], [("c", "f")])
    costs = dict(enumerate(prices, 1))
    cover = feasible_cover(constraints, costs, 2_870_000, [False] * 6, math.inf)
    assert sum(served for served, _ in cover) == 0b111111
    assert all(constraints.allows(group) and served == group for served, group in cover)
    assert sum(costs[group.bit_count()] for _, group in cover) <= 2_870_000


def test_functions_and_costs_by_group_need_a_table_of_all_groups():
    affinity = instance(np.random.default_rng(0), 16, "uniform")
    with pytest.raises(ValueError, match=r"score function.*16 tasks"):
        select_groups(affinity, 2, score=lambda group, task: 1.0)
    with pytest.raises(ValueError, match=r"Costs by group.*16 tasks"):
        select_groups(affinity, 2, costs=lambda group: 1.0)
    with pytest.raises(ValueError, match=r"Expected a budget of at least.*8\.0"):
        select_groups(affinity, 2, costs={2: 1.0}, score="partners")


@pytest.mark.slow
@pytest.mark.parametrize(("family", "score"), [("clustered", "partners"), ("real-like", "members")])
def test_forty_tasks_are_proven(family, score):
    affinity = instance(np.random.default_rng(1), 40, family)
    assert select_groups(affinity, 10, score=score).status == "optimal"


def planted(num_tasks, budget, score):
    """Groups that stand out from noise; and what they are worth, from the scores' definitions."""
    rng = np.random.default_rng(num_tasks)
    label = rng.permutation(np.arange(num_tasks) % budget)
    z = 0.5 * (label[:, None] == label[None, :]) + 0.2 * rng.normal(size=(num_tasks, num_tasks))
    z[np.diag_indices(num_tasks)] = 1.0
    worth = 0.0
    for group in (np.flatnonzero(label == k) for k in range(budget)):
        inside = z[np.ix_(group, group)].sum()
        alone = len(group) if score == "partners" else 0
        worth += (inside - alone) / (len(group) - (score == "partners"))
    return z, worth


@pytest.mark.slow
@pytest.mark.parametrize("score", ["members", "partners"])
def test_planted_groups_of_two_hundred_tasks_are_found_before_any_proof(score):
    for num_tasks, budget in [(60, 6), (100, 10), (200, 20)]:
        z, worth = planted(num_tasks, budget, score)
        lone = [None if score == "partners" else 1.0] * num_tasks
        names = tuple(f"t{i:03d}" for i in range(num_tasks))
        ones = [1.0] * num_tasks
        constraints = Constraints.check(names, True, 1, None, [], [])
        costs = dict.fromkeys(range(1, num_tasks + 1), 1)
        scores = ExactScore.build(names, z, score, lone, ones)
        source = ServedSets(scores, constraints, costs)
        partition, served = [], 0
        # The first columns are those of the best partition.
        for column in source.seeds(budget)[:budget]:
            assert not served & column.served
            served |= column.served
            partition.append(column.value * 2.0**scores.exponent)
        assert served == (1 << num_tasks) - 1
        assert sum(partition) >= worth - 1e-9
        assert source.most_value() * 2.0**scores.exponent >= sum(partition)


@pytest.mark.slow
def test_a_time_limit_leaves_planted_groups_and_an_honest_bound():
    z, worth = planted(60, 6, "members")
    affinity = Affinity.from_array(z, [f"t{i:03d}" for i in range(60)], rows="source")
    grouping = select_groups(affinity, 6, time_limit=3.0)
    assert grouping.bound >= grouping.objective >= worth - 1e-9
    # No task gets more than the mean of the largest affinities towards it.
    most = np.sort(z, axis=0)[::-1].cumsum(axis=0) / np.arange(1, 61)[:, None]
    assert grouping.bound <= most.max(axis=0).sum() + 1e-6
