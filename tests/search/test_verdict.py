"""The verdict against worlds whose noise and gains are known."""

from itertools import combinations

import numpy as np
import pytest
from made_up import AFFINITY, TASKS

from keras_tag import Affinity
from keras_tag.search.ledger import Outcome
from keras_tag.search.objectives import objectives_by_task
from keras_tag.search.proposals import Problem
from keras_tag.search.verdict import verdict

PROBLEM = Problem(TASKS, 2, objectives_by_task(None, TASKS))


def searched(gain, noise, seed, affinity=AFFINITY):
    """All groups: what company costs every task, and luck, are as said."""
    rng = np.random.default_rng(seed)

    def train(number, group):
        company = gain * (1 / len(TASKS) - 1 / len(group))
        losses = {t: float(np.exp(company + noise * rng.normal())) for t in TASKS if t in group}
        kind = "searched" if number else "joint"
        return Outcome(number, kind, group, "done", objective=losses, cost=1.0)

    outcomes = [train(0, TASKS)]
    for size in (1, 2, 3):
        for group in combinations(TASKS, size):
            outcomes.append(train(len(outcomes), group))
    return verdict(PROBLEM, affinity, outcomes, PROBLEM.choose(outcomes))


def test_the_order_of_the_affinitys_tasks_does_not_matter():
    order = [2, 0, 3, 1]
    turned = Affinity.from_array(
        AFFINITY.mean[np.ix_(order, order)], [TASKS[k] for k in order], rows="source"
    )
    assert searched(0.8, 0.1, 0, turned) == searched(0.8, 0.1, 0)


def test_luck_alone_is_rarely_told_from_luck():
    told = [searched(0.0, 0.1, seed).told_from_luck for seed in range(25)]
    assert np.mean(told) <= 0.05


def test_a_gain_far_above_luck_is_told():
    found = [searched(0.8, 0.03, seed) for seed in range(10)]
    assert all(one.told_from_luck for one in found)
    assert "more than luck" in str(found[0])


def test_the_gain_without_luck_is_smaller_than_what_was_reached_by_luck():
    found = [searched(0.0, 0.2, seed) for seed in range(20)]
    assert np.mean([one.reached for one in found]) > 0.2  # The luckiest of many.
    assert np.mean([one.expected for one in found]) < np.mean([one.reached for one in found]) / 2


def test_the_noise_is_estimated_from_the_search():
    quiet = np.median([searched(0.3, 0.02, seed).noise for seed in range(10)])
    loud = np.median([searched(0.3, 0.3, seed).noise for seed in range(10)])
    assert quiet < 0.08
    assert loud > 0.12


def test_no_gain_is_said_in_words():
    alone = [Outcome(0, "joint", TASKS, "done", objective=dict.fromkeys(TASKS, 0.5), cost=1.0)]
    none = verdict(PROBLEM, AFFINITY, alone, PROBLEM.choose(alone))
    assert none.reached == 0
    assert not none.told_from_luck
    assert "No networks were found that are better" in str(none)


def test_luck_is_said_in_words():
    unclear = next(
        one
        for one in (searched(0.0, 0.1, seed) for seed in range(20))
        if one.reached > 0 and not one.told_from_luck
    )
    assert "not told from luck" in str(unclear)
    assert unclear.low < unclear.expected < unclear.high


def test_a_gain_without_luck_is_no_larger_than_the_loss_that_there_was():
    for seed in range(3):
        found = searched(5.0, 0.05, seed)
        assert found.expected == pytest.approx(found.reached, rel=0.1)
        assert found.expected < found.high < len(TASKS)
