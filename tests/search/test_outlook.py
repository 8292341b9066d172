"""The gain that there is to find, in worlds where it is known."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from made_up import AFFINITY, TASKS

from keras_tag.affinity import Affinity
from keras_tag.search.ledger import Outcome
from keras_tag.search.objectives import objectives_by_task
from keras_tag.search.outlook import outlook
from keras_tag.search.proposals import Problem
from keras_tag.selection.few_trainings.gain_model import Prior

PROBLEM = Problem(TASKS, 2, objectives_by_task(None, TASKS))
JOINT = Outcome(0, "joint", TASKS, "done", objective=dict.fromkeys(TASKS, 0.5), cost=1.0)


def after(count, effect, noise=0.02, seed=0):
    """The outlook after some trainings where company costs every task the same."""
    rng = np.random.default_rng(seed)
    groups = [group for size in (2, 3) for group in combinations(TASKS, size)][:count]
    outcomes = [JOINT]
    for number, group in enumerate(groups, 1):
        company = effect * (1 / len(TASKS) - 1 / len(group))
        losses = {t: float(0.5 * np.exp(company + noise * rng.normal())) for t in group}
        outcomes.append(Outcome(number, "searched", group, "done", objective=losses, cost=1.0))
    return outlook(PROBLEM, AFFINITY, outcomes)


def test_before_any_training_little_is_known():
    first = after(0, 0.0)
    assert first.low < 0.05
    assert first.high > 0.3
    assert not first.little
    assert "before any group is trained" in str(first)


def test_trainings_that_show_nothing_say_that_more_are_hardly_worth_it():
    found = [after(4, 0.0, seed=seed) for seed in range(5)]
    assert sum(one.little for one in found) >= 4
    assert "hardly worth it" in str(next(one for one in found if one.little))


def test_trainings_that_show_what_company_costs_say_how_much_there_is_to_find():
    # Two networks of equal size: company falls from three quarters to a half, or to nothing.
    found = after(10, 1.2)
    assert found.low > 0.03
    assert found.low < 1 - np.exp(-1.2 * (1 / 2 - 1 / 4)) < found.high
    assert not found.little


def test_the_order_of_the_tasks_does_not_matter():
    tasks = TASKS[::-1]
    order = [TASKS.index(task) for task in tasks]
    turned = Affinity.from_array(AFFINITY.mean[np.ix_(order, order)], tasks, rows="source")
    problem = replace(PROBLEM, tasks=tasks)
    joint = replace(JOINT, group=tasks)
    assert outlook(problem, turned, [joint]) == outlook(PROBLEM, AFFINITY, [JOINT])


def test_a_prior_without_spread_leaves_its_own_optimum(monkeypatch):
    """Nothing is unknown then, and brute force over pairs of groups finds the gain."""
    certain = Prior(0.6, -0.5, *[0.0] * 4, 0.01, 0.01)
    monkeypatch.setattr("keras_tag.search.outlook._SIZES", np.array([1.0]))
    found = outlook(replace(PROBLEM, prior=certain), AFFINITY, [JOINT])
    effect = 0.6 - 0.5 * AFFINITY.mean / np.diag(AFFINITY.mean)
    np.fill_diagonal(effect, 0.0)
    groups = [g for size in range(1, 5) for g in combinations(range(4), size)]
    best = min(
        (
            [min(effect[list(g), t].mean() for g in pair if t in g) for t in range(4)]
            for pair in combinations(groups, 2)
            if set(pair[0]) | set(pair[1]) == set(range(4))
        ),
        key=sum,
    )
    # The tasks have equal losses, and the gain is the share of their sum.
    gain = 1 - np.exp(np.array(best) - effect.mean(0)).mean()
    assert found.low == pytest.approx(gain, rel=1e-9)
    assert found.high == pytest.approx(found.low, rel=1e-9)


def test_the_weight_of_a_task_counts():
    one = replace(PROBLEM, constraints={"weights": {TASKS[0]: 1e-6, TASKS[1]: 1e-6}})
    assert outlook(one, AFFINITY, [JOINT]) != outlook(PROBLEM, AFFINITY, [JOINT])


def test_constraints_leave_less_to_find():
    bound = replace(PROBLEM, constraints={"must_link": [TASKS[:2], TASKS[1:3], TASKS[2:]]})
    assert outlook(bound, AFFINITY, [JOINT]).high == pytest.approx(0.0, abs=1e-9)


def test_with_too_many_tasks_nothing_is_said():
    tasks = tuple(f"t{k:02d}" for k in range(16))
    problem = Problem(tasks, 3, objectives_by_task(None, tasks))
    affinity = Affinity.from_array(np.eye(16) + 0.1, tasks, rows="source")
    joint = replace(JOINT, group=tasks, objective=dict.fromkeys(tasks, 0.5))
    assert outlook(problem, affinity, [joint]) is None


def test_no_gain_is_larger_than_what_the_tasks_that_gain_can_lose():
    """One of two tasks gains all it has; a mean over logarithms would call that nearly the sum."""
    tasks = TASKS[:2]
    problem = Problem(tasks, 2, objectives_by_task(None, tasks))
    joint = replace(JOINT, group=tasks, objective={tasks[0]: 1.0, tasks[1]: 1.0})
    lone = [
        Outcome(n, "searched", (t,), "done", objective={t: value}, cost=1.0)
        for n, (t, value) in enumerate(zip(tasks, (1e-6, 1.0), strict=True), 1)
    ]
    affinity = Affinity.from_array(np.array([[1.0, 0.1], [0.1, 1.0]]), tasks, rows="source")
    assert outlook(problem, affinity, [joint, *lone]).expected < 0.6


def test_an_objective_of_any_sign_may_gain_more_than_what_it_was():
    """A log likelihood, say: from -1 to -4 is a gain of three units."""
    tasks = TASKS[:2]
    problem = Problem(tasks, 2, objectives_by_task(None, tasks))
    joint = replace(JOINT, group=tasks, objective=dict.fromkeys(tasks, -1.0))
    lone = [
        Outcome(number, "searched", (task,), "done", objective={task: -4.0}, cost=1.0)
        for number, task in enumerate(tasks, 1)
    ]
    affinity = Affinity.from_array(np.array([[1.0, 0.1], [0.1, 1.0]]), tasks, rows="source")
    assert 2.0 < outlook(problem, affinity, [joint, *lone]).expected < 4.0
