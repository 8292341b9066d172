"""`groups_to_train`, and what it believes: held against a regression over all its variables."""

from itertools import combinations

import numpy as np
import pytest

from keras_tag import Affinity, GroupScores, groups_to_train, select_groups
from keras_tag.selection.few_trainings.gain_model import GainModel, Prior

PRIOR = Prior(0.4, -0.9, 0.5, 0.4, 0.6, 0.3, 0.05, 0.1)
# Friends a and b, friends c and d.
AFFINITY = Affinity.from_array(
    [[1.0, 0.6, 0.0, 0.1], [0.5, 2.0, 0.1, 0.0], [0.0, 0.1, 0.5, 0.3], [0.1, 0.0, 0.2, 1.0]],
    ["a", "b", "c", "d"],
    rows="source",
)
ALL = AFFINITY.tasks


def subsets(tasks):
    return [g for size in range(1, len(tasks) + 1) for g in combinations(tasks, size)]


def explored(affinity, train, budget, **arguments):
    """The loop that users write; the groups in the order in which they were asked for."""
    measured = {affinity.tasks: train(affinity.tasks)}
    while groups := groups_to_train(affinity, measured, budget, **arguments):
        for group in groups:
            assert group not in measured
            measured[group] = train(group)
    return measured


def company_costs(cost, tasks=ALL, affinity=AFFINITY, luck=0.0):
    """A world as the model has it: a stranger costs `cost`, a unit of affinity saves 1."""
    shares = affinity.mean / np.diag(affinity.mean)
    index = {task: k for k, task in enumerate(tasks)}

    def train(group):
        rng = np.random.default_rng([index[task] for task in group])
        losses = {}
        for task in group:
            others = [index[other] for other in group if other != task]
            total = sum(cost - shares[other, index[task]] for other in others)
            losses[task] = float(np.exp(total / len(group) + luck * rng.normal()))
        return losses

    return train


@pytest.fixture(scope="module")
def few():
    """Some trained groups of four tasks, one task of one group unmeasured."""
    groups = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 1, 0], [0, 1, 1, 1]], bool)
    gains = np.random.default_rng(0).normal(size=groups.shape) * 0.3
    gains[~groups] = np.nan
    gains[3, 2] = np.nan
    return groups, gains


def regression(shares, prior, groups, gains):
    """Mean and covariance of a, b, every a_j, every e[i, j] and every network's luck, by normal
    equations over these variables; and the row of the variables for any group and task.
    """
    n, networks = len(shares), len(groups)
    scales = [prior.stranger_spread, prior.friend_spread]
    scales += [prior.task_spread] * n + [prior.pair_spread] * n * n
    scales += [prior.network_noise] * networks
    start = np.zeros(len(scales))
    start[:2] = prior.stranger, prior.friend

    def effect(source, target):
        row = np.zeros(len(scales))
        if source != target:
            row[[0, 2 + target, 2 + n + n * source + target]] = 1
            row[1] = shares[source, target]
        return row

    def gain(group, task):
        here = np.mean([effect(i, task) for i in np.flatnonzero(group)], 0)
        return here - np.mean([effect(i, task) for i in range(n)], 0)

    rows, seen = [], []
    for number, (group, values) in enumerate(zip(groups, gains, strict=True)):
        for task in np.flatnonzero(np.isfinite(values)):
            row = gain(group, task)
            row[2 + n + n * n + number] = 1
            rows.append(row)
            seen.append(values[task])
    rows, seen = np.array(rows), np.array(seen)
    precision = rows.T @ rows / prior.noise**2 + np.diag(1 / np.square(scales))
    covariance = np.linalg.inv(precision)
    mean = start + covariance @ rows.T @ (seen - rows @ start) / prior.noise**2
    return mean, covariance, gain, effect


def test_predictions_are_those_of_a_regression_over_every_variable(few):
    shares = AFFINITY.mean / np.diag(AFFINITY.mean)
    model = GainModel(shares, PRIOR, *few)
    every = np.array([[task in group for task in ALL] for group in subsets(ALL)])
    mean, spread = model.predict(every)
    np.testing.assert_array_equal(np.isfinite(mean), every)
    centre, covariance, gain, _ = regression(shares, PRIOR, *few)
    luck = PRIOR.noise**2 + PRIOR.network_noise**2
    for number, group in enumerate(every):
        for task in np.flatnonzero(group):
            row = gain(group, task)
            assert mean[number, task] == pytest.approx(row @ centre, abs=1e-9)
            expected = np.sqrt(row @ covariance @ row + luck)
            assert spread[number, task] == pytest.approx(expected, abs=1e-9)


def test_pairs_are_those_of_a_regression_over_every_variable(few):
    shares = AFFINITY.mean / np.diag(AFFINITY.mean)
    mean, spread = GainModel(shares, PRIOR, *few).pairs()
    centre, covariance, _, effect = regression(shares, PRIOR, *few)
    for source, target in np.ndindex(4, 4):
        row = effect(source, target)
        assert mean[source, target] == pytest.approx(row @ centre, abs=1e-9)
        expected = np.sqrt(row @ covariance @ row)
        assert spread[source, target] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("cost", [-0.4, 0.0, 0.8])
@pytest.mark.parametrize("budget", [1, 2, 3])
def test_the_groups_found_are_as_good_as_the_best_of_all(cost, budget):
    """Whether company helps or costs, which the affinity does not say."""
    train = company_costs(cost)
    measured = explored(AFFINITY, train, budget)
    every = {group: train(group) for group in subsets(ALL)}
    found = select_groups(GroupScores(measured, sense="min"), budget).objective
    best = select_groups(GroupScores(every, sense="min"), budget).objective
    assert found <= best * 1.01


def test_where_company_helps_the_untrained_score_is_beaten():
    train = company_costs(-0.4)
    plain = select_groups(AFFINITY, 4)
    assert {len(group) for group in plain.groups} == {1}
    found = select_groups(GroupScores(explored(AFFINITY, train, 4), sense="min"), 4)
    assert found.objective < sum(train((task,))[task] for task in ALL)


@pytest.mark.parametrize("most", [0, 1, 5])
def test_no_more_groups_are_trained_than_allowed(most):
    measured = explored(AFFINITY, company_costs(0.3, luck=0.3), 2, trainings=most)
    assert len(measured) <= 1 + most


def test_a_limit_only_cuts_the_search_short():
    train = company_costs(0.3, luck=0.3)
    short, long = (explored(AFFINITY, train, 2, trainings=most) for most in (4, 8))
    assert list(short) == list(long)[: len(short)]


def test_the_order_of_the_tasks_changes_nothing():
    train = company_costs(0.3)
    turned = AFFINITY.subset(ALL[::-1])
    found = explored(AFFINITY, train, 2)
    again = explored(turned, lambda group: train(tuple(sorted(group))), 2)
    assert {frozenset(group) for group in found} == {frozenset(group) for group in again}


def test_constraints_hold_for_every_group_asked_for():
    measured = explored(
        AFFINITY, company_costs(0.5), 2, min_size=2, cannot_link=[("a", "d")], trainings=6
    )
    asked = [set(group) for group in measured if group != ALL]
    assert asked
    assert all(len(group) >= 2 and not {"a", "d"} <= group for group in asked)


@pytest.mark.slow
def test_beyond_fifteen_tasks_groups_are_asked_for_too():
    tasks = [f"{family}{k}" for family in "ab" for k in range(8)]
    akin = np.array([[one[0] == other[0] for other in tasks] for one in tasks])
    affinity = Affinity.from_array(np.where(akin, 0.5, -0.05) + np.eye(16), tasks, rows="source")
    train = company_costs(0.3, affinity.tasks, affinity)
    measured = explored(affinity, train, 2)
    found = select_groups(GroupScores(measured, sense="min"), 2).objective
    families = [tuple(task for task in tasks if task[0] == family) for family in "ab"]
    planted = sum(sum(train(group).values()) for group in families)
    assert found <= planted * 1.01


@pytest.mark.parametrize(
    ("measured", "message"),
    [
        ({("a", "b"): {"a": 1.0, "b": 1.0}}, "the joint run"),
        ({ALL: dict.fromkeys(ALL, 1.0), ("a",): {}}, "positive validation loss"),
        ({ALL: dict.fromkeys(ALL, 0.0)}, "positive validation loss"),
        ({(*ALL, "e"): dict.fromkeys((*ALL, "e"), 1.0)}, "the affinity's tasks"),
        (GroupScores({ALL: dict.fromkeys(ALL, 1.0)}), "sense='min'"),
    ],
)
def test_what_can_not_be_learnt_from_is_refused(measured, message):
    with pytest.raises(ValueError, match=message):
        groups_to_train(AFFINITY, measured, 2)
