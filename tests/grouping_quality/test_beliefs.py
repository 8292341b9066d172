"""Beliefs with the joint run's luck are those of the linear model; expected losses are means."""

import numpy as np
import pytest

from benchmarks.grouping_quality.beliefs import predict
from benchmarks.grouping_quality.group_table import all_groups
from benchmarks.grouping_quality.untrained import expected_losses, hedged, predicted_losses
from keras_tag.selection.few_trainings.gain_model import Prior

COUNT = 3
PRIOR = Prior(0.3, -0.7, 0.4, 0.5, 0.3, 0.2, 0.05, 0.1)
GROUPS = all_groups(COUNT)
SHARES = np.random.default_rng(1).normal(0.4, 0.3, (COUNT, COUNT))


def effects_of(a, by_task, b, pairs):
    effects = a + by_task[None, :] + b * SHARES + pairs
    np.fill_diagonal(effects, 0)
    return effects


def log_ratio(effects, group, task):
    return effects[group, task].mean() - effects[:, task].mean()


def linear_model(cells):
    """`[num_cells, num_unknowns]`, and the unknowns' means and deviations, written out."""
    pairs = [(i, j) for i in range(COUNT) for j in range(COUNT)]
    networks = sorted({row for row, _ in cells})
    means = [PRIOR.stranger, PRIOR.friend]
    spreads = [PRIOR.stranger_spread, PRIOR.friend_spread]
    spreads += [PRIOR.task_spread] * COUNT + [PRIOR.pair_spread] * len(pairs)
    # Luck: of the joint network, of its tasks, of every network, of every loss.
    spreads += [PRIOR.network_noise] + [PRIOR.noise] * COUNT
    spreads += [PRIOR.network_noise] * len(networks) + [PRIOR.noise] * len(cells)
    means += [0] * (len(spreads) - 2)
    rows = []
    zero = np.zeros((COUNT, COUNT))
    for k, (row, task) in enumerate(cells):
        group, none = GROUPS[row], np.zeros(COUNT)
        unit = [log_ratio(effects_of(1, none, 0, zero), group, task)]
        unit.append(log_ratio(effects_of(0, none, 1, zero), group, task))
        unit += [log_ratio(effects_of(0, e, 0, zero), group, task) for e in np.eye(COUNT)]
        for i, j in pairs:
            only = zero.copy()
            only[i, j] = 1
            unit.append(log_ratio(effects_of(0, none, 0, only), group, task))
        unit += [-1, *(-np.eye(COUNT)[task])]
        unit += [float(row == network) for network in networks]
        unit += [float(k == other) for other in range(len(cells))]
        rows.append(unit)
    return np.array(rows), np.array(means), np.array(spreads)


@pytest.mark.parametrize("trained", [(6,), (6, 2, 0)])
def test_a_belief_is_what_the_linear_model_says(trained):
    draw = np.random.default_rng(0)
    gains = np.where(GROUPS[list(trained)], draw.normal(0, 0.3, (len(trained), COUNT)), np.nan)
    gains[0] = 0
    mean, spread = predict(SHARES, PRIOR, GROUPS[list(trained)], gains, GROUPS, sizes=False)
    seen = [(row, task) for row in trained[1:] for task in np.flatnonzero(GROUPS[row])]
    observed = np.array([gains[trained.index(row), task] for row, task in seen])
    for row in set(range(len(GROUPS))) - set(trained):
        for task in np.flatnonzero(GROUPS[row]):
            matrix, middle, deviations = linear_model([*seen, (row, task)])
            whole = matrix @ np.diag(deviations**2) @ matrix.T
            expected = matrix @ middle
            slope = np.linalg.solve(whole[:-1, :-1], whole[:-1, -1]) if seen else np.zeros(0)
            assert mean[row, task] == pytest.approx(
                expected[-1] + slope @ (observed - expected[:-1])
            )
            left = whole[-1, -1] - slope @ whole[:-1, -1]
            assert spread[row, task] == pytest.approx(np.sqrt(left))


def test_unknown_sizes_follow_what_is_seen():
    """Where networks hardly differ, so will others; where they differ much, others may, too."""
    trained = GROUPS[[6, 2, 4]]
    wanted = GROUPS[[1]]
    spreads = []
    for size in (0.005, 0.5):
        gains = np.where(trained, size * np.array([[0], [1], [-1]]), np.nan)
        spreads.append(predict(SHARES, PRIOR, trained, gains, wanted, sizes=True)[1][0, 1])
        fixed = predict(SHARES, PRIOR, trained, gains, wanted, sizes=False)[1][0, 1]
        assert (spreads[-1] < fixed) == (size < 0.1)
    assert spreads[0] < spreads[1] / 2


def test_expected_losses_are_the_mean_over_draws_and_predicted_ones_the_median():
    draw = np.random.default_rng(0)
    joint = np.array([0.5, 1.0, 2.0])
    ratios = []
    for _ in range(20000):
        effects = effects_of(
            draw.normal(PRIOR.stranger, PRIOR.stranger_spread),
            draw.normal(0, PRIOR.task_spread, COUNT),
            draw.normal(PRIOR.friend, PRIOR.friend_spread),
            draw.normal(0, PRIOR.pair_spread, (COUNT, COUNT)),
        )
        ratios.append([log_ratio(effects, GROUPS[2], task) for task in (0, 1)])
    _, expected = expected_losses(GROUPS, SHARES, joint, PRIOR, 2)
    _, predicted = predicted_losses(GROUPS, SHARES, joint, PRIOR, 2)
    np.testing.assert_allclose(expected[2, :2], joint[:2] * np.exp(ratios).mean(0), rtol=0.02)
    np.testing.assert_allclose(
        predicted[2, :2], joint[:2] * np.exp(np.median(ratios, 0)), rtol=0.02
    )


def test_hedged_groups_cover_the_tasks_and_more_networks_are_no_worse():
    joint = np.ones(COUNT)
    for budget in (1, 2, 3):
        rows, losses = hedged(GROUPS, SHARES, joint, PRIOR, budget)
        assert len(rows) <= budget
        assert GROUPS[rows].any(0).all()
        np.testing.assert_array_equal(np.isfinite(losses), GROUPS)
