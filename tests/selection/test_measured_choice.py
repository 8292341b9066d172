"""The choice among measured groups of many tasks: by brute force, and as the other proof has it."""

import itertools
import math
from time import monotonic

import numpy as np
import pytest

from keras_tag import GroupScores, select_groups
from keras_tag.selection import select
from keras_tag.selection.arguments.choice import Choice
from keras_tag.selection.problem import build_problem
from keras_tag.selection.solver import listed_groups
from keras_tag.selection.solver.column_generation import solve
from keras_tag.selection.solver.measured_choice import best_measured


def measured(num_tasks, num_groups, rng, steps=None):
    """Losses of random groups; few different ones with `steps`, so that many choices tie."""
    tasks = tuple(f"t{k:02}" for k in range(num_tasks))
    groups = {tasks}
    while len(groups) < num_groups:
        size = rng.integers(1, max(2, num_tasks * 3 // 4))
        groups.add(tuple(sorted(rng.choice(tasks, size, replace=False).tolist())))

    def loss():
        return 1 + (rng.random() if steps is None else rng.integers(steps) / 4)

    return tasks, {group: {task: loss() for task in group} for group in sorted(groups)}


def brute_force(tasks, known, budget):
    losses = np.array([[own.get(task, np.inf) for task in tasks] for own in known.values()])
    some = (s for k in range(budget) for s in itertools.combinations(range(len(known)), k + 1))
    return min(losses[list(rows)].min(0).sum() for rows in some)


@pytest.mark.parametrize(("num_tasks", "num_groups", "budget"), [(24, 2, 4), (40, 13, 4)])
def test_many_tasks_are_served_by_the_best_of_few_groups(num_tasks, num_groups, budget):
    tasks, known = measured(num_tasks, num_groups, np.random.default_rng(0))
    found = select_groups(GroupScores(known, sense="min"), budget)
    assert found.status == "optimal"
    assert len(found.groups) <= budget
    assert found.objective == pytest.approx(brute_force(tasks, known, budget), rel=1e-12)
    assert found.bound == found.objective
    for task, index in found.serves.items():
        assert known[found.groups[index]][task] == pytest.approx(found.task_scores[task])


@pytest.mark.parametrize("seed", range(30))
def test_it_is_the_choice_of_the_proof_by_columns_with_ties_too(seed):
    rng = np.random.default_rng(seed)
    known = measured(5, 8, rng, steps=(None, 2, 4)[seed % 3])[1]
    problem, _ = build_problem(GroupScores(known, sense="min"), Choice())
    budget = int(rng.integers(1, 5))
    ours, theirs = (find(problem.source, budget) for find in (best_measured, solve))
    assert ours.optimal
    assert ours.value == theirs.value == ours.bound
    ours, theirs = ({(c.group, c.served) for c in found.columns} for found in (ours, theirs))
    assert ours == theirs


def first_by_name(tasks, known, budget):
    """The groups that serve the tasks, one after the other, in the choice that is promised."""
    choices = itertools.product(*([g for g, own in known.items() if t in own] for t in tasks))
    return min(
        (
            sum(known[group][task] for task, group in zip(tasks, choice, strict=True)),
            len(set(choice)),
            sum(map(len, set(choice))),
            choice,
        )
        for choice in choices
        if len(set(choice)) <= budget
    )[-1]


@pytest.mark.parametrize("by_cp_sat_alone", [True, False])
@pytest.mark.parametrize("seed", range(12))
def test_the_first_by_name_of_what_ties_is_chosen_in_any_order_by_either_proof(
    seed, by_cp_sat_alone, monkeypatch
):
    rng = np.random.default_rng(seed)
    tasks = ("a", "b", "c", "d", "e")
    some = rng.permutation(list(itertools.combinations(tasks, 3)))[:7].tolist()
    groups = [*map(tuple, some), *((task,) for task in tasks)]
    known = {group: {task: float(rng.integers(2)) for task in group} for group in groups}
    if by_cp_sat_alone:
        monkeypatch.setattr(select, "MOST_TASKS_LISTED", 0)
    for budget in (3, 5):
        best = first_by_name(tasks, known, budget)
        for order in (groups, groups[::-1]):
            measured = GroupScores({group: known[group] for group in order}, sense="min")
            found = select_groups(measured, budget)
            assert tuple(found.groups[found.serves[task]] for task in tasks) == best


def test_of_two_networks_of_the_same_tasks_that_tie_the_cheaper_is_chosen():
    tasks = [f"t{k:02}" for k in range(16)]
    entries = [(tasks, dict.fromkeys(tasks, 1.0), cost) for cost in (0.2, 0.1, 0.3)]
    for order in itertools.permutations(entries):
        assert select_groups(GroupScores(list(order)), budget=1.0).cost == 0.1


@pytest.mark.parametrize("num_tasks", [5, 16])
def test_statistics_have_the_documented_entries_by_either_proof(num_tasks):
    known = measured(num_tasks, 6, np.random.default_rng(0))[1]
    statistics = select_groups(GroupScores(known, sense="min"), 3).statistics
    assert {"rounds", "columns", "seconds"} <= statistics.keys()
    assert statistics["bound_rounding"] == 0


def test_without_time_it_says_that_there_may_be_better_ones():
    known = measured(30, 12, np.random.default_rng(1))[1]
    problem, _ = build_problem(GroupScores(known, sense="min"), Choice())
    late = best_measured(problem.source, 3, monotonic() - 1)
    best = best_measured(problem.source, 3, math.inf)
    assert not late.optimal
    assert late.value <= best.value <= late.bound


@pytest.mark.parametrize("seed", range(6))
def test_a_bound_of_floats_is_not_below_the_optimum_of_fractions(seed):
    known = measured(16, 6, np.random.default_rng(seed))[1]
    problem, _ = build_problem(GroupScores(known, sense="min"), Choice())
    # With a network for every group each task has its best: no bound is closer.
    late, best = (best_measured(problem.source, 6, end) for end in (monotonic() - 1, math.inf))
    assert best.value <= late.bound


def test_costs_of_networks_are_kept():
    rng = np.random.default_rng(2)
    tasks, known = measured(20, 8, rng)
    costs = {group: float(rng.integers(1, 5)) for group in known}
    found = select_groups(GroupScores(known, costs=costs, sense="min"), 6.0)
    losses = [
        sum(min(known[group].get(task, math.inf) for group in some) for task in tasks)
        for k in range(1, 7)
        for some in itertools.combinations(known, k)
        if sum(costs[group] for group in some) <= 6
    ]
    assert found.objective == pytest.approx(min(losses), rel=1e-12)


def many_small_groups():
    rng = np.random.default_rng(0)
    tasks = [f"t{k:02}" for k in range(60)]
    groups = [tuple(rng.choice(tasks, 5, replace=False).tolist()) for _ in range(300)]
    return {group: {task: float(rng.random()) for task in group} for group in groups}


def test_that_a_budget_suffices_is_found_without_the_cheapest_cover():
    known = many_small_groups()
    # To prove that no fewer networks cover these tasks takes minutes.
    found = select_groups(GroupScores(known, sense="min"), 25, time_limit=20)
    assert found.status == "optimal"
    assert len(found.groups) <= 25


def test_a_budget_that_does_not_suffice_is_refused_before_the_cheapest_cover_is_proven(monkeypatch):
    monkeypatch.setattr(listed_groups, "_SECONDS_TO_REFUSE", 0.5)
    known = many_small_groups()
    with pytest.raises(ValueError, match=r"such as the cheapest one found, \d+ networks"):
        select_groups(GroupScores(known, sense="min"), 5)
