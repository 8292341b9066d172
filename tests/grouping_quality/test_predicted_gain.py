"""`predicted_gain` against the model of trained groups, and against trying all groupings."""

from itertools import combinations

import numpy as np
import pytest

from benchmarks.grouping_quality.predicted_gain import predicted_gain
from keras_tag import Affinity, select_groups
from keras_tag.selection import Prior
from keras_tag.selection.few_trainings.gain_model import GainModel

TASKS = ("d", "b", "a", "c")
LOSSES = np.array([0.3, 2.0, 0.7, 1.1])
MATRIX = np.random.default_rng(0).normal(size=(4, 4)) * 0.4 + np.eye(4) * 2
AFFINITY = Affinity.from_array(MATRIX, TASKS, rows="source")
PRIOR = Prior(0.3, -0.8)
GROUPS = [g for size in range(1, 5) for g in combinations(sorted(TASKS), size)]


def test_it_is_what_the_model_expects_once_only_the_joint_run_is_trained():
    shares = MATRIX / np.diag(MATRIX)
    model = GainModel(shares, PRIOR, np.ones((1, 4), bool), np.zeros((1, 4)))
    score = predicted_gain(AFFINITY, LOSSES, PRIOR)
    for group in GROUPS:
        inside = np.array([task in group for task in TASKS])
        expected = LOSSES * (1 - np.exp(model.predict(inside[None])[0][0]))
        for k, task in enumerate(TASKS):
            if task in group:
                assert score(group, task) == pytest.approx(expected[k])
    everything = tuple(sorted(TASKS))
    np.testing.assert_allclose([score(everything, task) for task in TASKS], 0, atol=1e-12)


@pytest.mark.parametrize("budget", [1, 2, 3])
def test_the_groups_are_the_best_of_all(budget):
    score = predicted_gain(AFFINITY, LOSSES)
    best = max(
        sum(max((score(g, t) for g in groups if t in g), default=-np.inf) for t in TASKS)
        for groups in combinations(GROUPS, budget)
    )
    assert select_groups(AFFINITY, budget, score=score).objective == pytest.approx(best)


def test_a_task_with_a_larger_loss_decides_more():
    table = [[1.0, 0.9, 0.9], [0.9, 1.0, -0.9], [0.9, -0.9, 1.0]]
    affinity = Affinity.from_array(table, ["both", "one", "other"], rows="source")
    for large, partner in ((1, "one"), (2, "other")):
        losses = np.full(3, 0.1)
        losses[large] = 10.0
        score = predicted_gain(affinity, losses)
        groups = select_groups(affinity, 2, score=score, overlap=False, max_size=2).groups
        assert any(set(group) == {"both", partner} for group in groups)
