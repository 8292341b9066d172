"""The next groups: a pure function of what was trained."""

from dataclasses import replace

import numpy as np
import pytest
from made_up import AFFINITY, REACHED, TASKS, A, B, C, D, outcomes, total

from keras_tag import Affinity, Objective, groups_to_train
from keras_tag.search.ledger import Outcome
from keras_tag.search.objectives import objectives_by_task
from keras_tag.search.proposals import Limits, Problem, expected_losses, usable_affinity
from keras_tag.selection.few_trainings.gain_model import Prior

PROBLEM = Problem(TASKS, 2, objectives_by_task(None, TASKS))
MANY = Limits(6)
JOINT = outcomes()[:1]


def test_the_first_proposals_are_those_of_groups_to_train():
    asked = PROBLEM.next_groups(AFFINITY, JOINT, MANY)
    assert asked == groups_to_train(AFFINITY, {TASKS: REACHED[TASKS]}, 2, trainings=6)
    assert asked == PROBLEM.next_groups(AFFINITY, JOINT, MANY)


def test_what_was_trained_is_not_asked_for_again():
    trained = outcomes()
    for _ in range(5):
        asked = PROBLEM.next_groups(AFFINITY, trained, Limits(10))
        assert not {frozenset(g) for g in asked} & {frozenset(o.group) for o in trained}
        if not asked:
            break
        group = asked[0]
        trained.append(
            Outcome(len(trained), "searched", group, "done", objective=dict.fromkeys(group, 0.5))
        )


def test_a_failed_group_is_not_asked_for_again():
    first = PROBLEM.next_groups(AFFINITY, JOINT, MANY)[0]
    failed = Outcome(1, "searched", first, "failed", error="NaN")
    assert first not in PROBLEM.next_groups(AFFINITY, [*JOINT, failed], MANY)


def test_a_running_group_is_believed_at_its_expectation():
    first, *others = PROBLEM.next_groups(AFFINITY, JOINT, MANY)
    believed = expected_losses(usable_affinity(AFFINITY), {TASKS: REACHED[TASKS]}, first, Prior())
    done = Outcome(1, "searched", first, "done", objective=believed, cost=1.0)
    while_it_runs = PROBLEM.next_groups(AFFINITY, JOINT, MANY, running=[first])
    assert while_it_runs == PROBLEM.next_groups(AFFINITY, [*JOINT, done], MANY)
    assert first not in while_it_runs
    assert others


def test_lone_tasks_come_first_where_they_are_asked_for():
    problem = replace(PROBLEM, singles=True)
    assert problem.next_groups(AFFINITY, JOINT, MANY) == tuple((task,) for task in TASKS)
    lone = [Outcome(k, "single", (t,), "done", objective={t: 0.5}) for k, t in enumerate(TASKS, 1)]
    asked = problem.next_groups(AFFINITY, [*JOINT, *lone], MANY)
    assert asked
    assert all(len(group) > 1 for group in asked)


@pytest.mark.parametrize(
    ("limits", "allowed"),
    [
        (Limits(5), 2),
        (Limits(3), 0),
        (Limits(9, max_cost=5.0), 1),
        (Limits(9, max_cost=4.9), 0),
        (Limits(9, timeout=46.0), 0),
        (Limits(9, timeout=46.1), 6),
        (Limits(9, max_cost=6.0, timeout=46.1), 2),
        (Limits(4, max_cost=6.0, timeout=46.1), 1),
        (Limits(9, max_cost=6.0, timeout=46.0), 0),
    ],
)
def test_limits_hold_in_every_currency(limits, allowed):
    trained = outcomes()
    assert limits.allow(trained) == allowed
    assert len(PROBLEM.next_groups(AFFINITY, trained, limits)) <= allowed


def test_the_choice_is_the_least_sum_by_hand():
    grouping = PROBLEM.choose(outcomes())
    assert {frozenset(g) for g in grouping.groups} == {frozenset((A, B)), frozenset((C, D))}
    assert grouping.objective == pytest.approx(total(grouping.groups))


def test_more_of_an_accuracy_is_as_good_as_less_of_its_error():
    errors = outcomes()
    shares = [replace(o, objective={t: 1 - v for t, v in o.objective.items()}) for o in errors]
    largest = Problem(TASKS, 2, {t: Objective(f"val_{t}_x", "max") for t in TASKS})
    assert largest.choose(shares).groups == PROBLEM.choose(errors).groups
    for count in range(1, 5):
        ours = largest.next_groups(AFFINITY, shares[:count], MANY)
        assert ours == PROBLEM.next_groups(AFFINITY, errors[:count], MANY)


def test_a_task_whose_own_update_does_not_help_it_is_searched_by_the_prior():
    matrix = AFFINITY.mean.copy()
    matrix[2, 2], matrix[0, 3] = -0.1, np.nan
    shares = usable_affinity(Affinity.from_array(matrix, TASKS, rows="source")).mean
    np.testing.assert_array_equal(np.diag(shares), 1.0)
    np.testing.assert_allclose(shares[:2, :2], (matrix / np.diag(matrix))[:2, :2])
    unknown = shares[[0, 1, 3], 2]
    assert len(set(unknown)) == 1
    assert shares[0, 3] == unknown[0]
    broken = Affinity.from_array(np.full((4, 4), np.nan), TASKS, rows="source")
    assert PROBLEM.next_groups(broken, JOINT, MANY)


def test_a_network_that_a_larger_one_beats_everywhere_can_be_dropped():
    trained = outcomes({**REACHED, (A, B, C): {A: 0.39, B: 0.49, C: 0.45}})
    beaten = [outcome.group for outcome in trained if PROBLEM.beaten(outcome, trained)]
    assert beaten == [(A, B), (A,)]
    apart = replace(PROBLEM, constraints={"overlap": False})
    assert not any(apart.beaten(outcome, trained) for outcome in trained)
    for constraint in ({"max_size": 2}, {"cannot_link": [(B, C)]}):
        # The larger one can't be served.
        bound = replace(PROBLEM, constraints=constraint)
        assert not bound.beaten(trained[[o.group for o in trained].index((A, B))], trained)


def test_constraints_hold_for_what_is_asked_and_chosen():
    problem = replace(PROBLEM, constraints={"cannot_link": [(A, B)], "max_size": 3})
    trained = list(JOINT)
    while asked := problem.next_groups(AFFINITY, trained, MANY):
        for group in asked:
            assert len(group) <= 3
            assert not {A, B} <= set(group)
            losses = dict.fromkeys(group, 0.1 * len(group))
            trained.append(Outcome(len(trained), "searched", group, "done", objective=losses))
    assert all(len(group) <= 3 for group in problem.choose(trained).groups)
