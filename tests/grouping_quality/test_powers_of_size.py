import numpy as np
import pytest

from benchmarks.grouping_quality.powers_of_size import shared_step, shortlist
from keras_tag import Affinity, select_groups

TASKS = ("a", "b", "c", "d", "e")


def affinity_of(matrix):
    return Affinity.from_array(matrix, TASKS[: len(matrix)], rows="source")


@pytest.fixture
def noisy():
    rng = np.random.default_rng(0)
    return affinity_of(rng.normal(size=(5, 5)) * 0.1 + np.diag(rng.uniform(0.5, 2, 5)))


def test_power_one_is_the_members_score(noisy):
    for budget in (1, 2, 3):
        ours = select_groups(noisy, budget, score=shared_step(noisy, 1.0))
        members = select_groups(noisy, budget)
        assert ours.groups == members.groups
        assert ours.objective == pytest.approx(members.objective, rel=1e-12)


def test_it_is_the_progress_along_ones_own_gradient_of_a_step_of_unit_length():
    # The oracle takes the step: orthonormal gradients, the group's sum scaled to length one.
    gradients = np.eye(5)
    score = shared_step(affinity_of(gradients @ gradients.T))
    for group in [("a",), ("a", "b"), ("a", "b", "c", "d")]:
        step = gradients[[TASKS.index(task) for task in group]].sum(0)
        step /= np.linalg.norm(step)
        for task in group:
            assert score(group, task) == pytest.approx(gradients[TASKS.index(task)] @ step)


def test_it_does_not_depend_on_a_tasks_scale_nor_on_the_order(noisy):
    scaled = Affinity.from_array(noisy.mean * [1, 5, 0.1, 2, 3], noisy.tasks, rows="source")
    turned = noisy.subset(TASKS[::-1])
    for group in [("a", "b"), ("b", "c", "e"), TASKS]:
        for task in group:
            expected = shared_step(noisy)(group, task)
            assert shared_step(scaled)(group, task) == pytest.approx(expected, rel=1e-12)
            assert shared_step(turned)(group, task) == pytest.approx(expected, rel=1e-12)


def test_good_company_beats_being_alone_and_strangers_do_not():
    friends = affinity_of([[1, 0.9, 0], [0.9, 1, 0], [0, 0, 1.0]])
    score = shared_step(friends)
    assert score(("a", "b"), "a") > score(("a",), "a") == 1
    assert score(("a", "c"), "a") < 1
    assert select_groups(friends, 3, score=score).groups == (("a", "b"), ("c",))


@pytest.mark.parametrize(
    ("matrix", "power", "message"),
    [
        ([[1, 0], [0, 1.0]], 1.5, "`power` from 0 to 1"),
        ([[1, 0], [0, -1.0]], 0.5, "help the task itself.*{'b': -1.0}"),
        ([[1, np.nan], [0, 1.0]], 0.5, "every pair of tasks to be measured.*'a', 'b'"),
    ],
)
def test_what_it_cannot_score_is_named(matrix, power, message):
    with pytest.raises(ValueError, match=message):
        shared_step(affinity_of(matrix), power)


def test_the_shortlist_holds_every_powers_optimum_and_is_distinct(noisy):
    listed = {frozenset(group) for group in shortlist(noisy, 2)}
    assert len(listed) == len(shortlist(noisy, 2))
    for power in (1.0, 0.5, 0.0):
        for budget in (1, 2, 3):
            best = select_groups(noisy, budget, score=shared_step(noisy, power))
            assert {frozenset(group) for group in best.groups} <= listed


def test_the_shortlist_covers_the_tasks_within_constraints_at_any_budget(noisy):
    for budget in (2, 3, 9):
        listed = shortlist(noisy, budget, max_size=3, min_size=2, cannot_link=[("a", "b")])
        assert set(sum(listed, ())) == set(TASKS)
        assert all(2 <= len(group) <= 3 and not {"a", "b"} <= set(group) for group in listed)


def test_the_shortlist_does_not_depend_on_the_order_of_the_tasks(noisy):
    turned = noisy.subset(TASKS[::-1])
    assert set(map(frozenset, shortlist(turned, 2))) == set(map(frozenset, shortlist(noisy, 2)))
