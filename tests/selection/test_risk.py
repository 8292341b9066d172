"""`select_groups(risk=)`: affinities lowered by their errors, then the exact choice."""

import numpy as np
import pytest

from keras_tag import GroupScores, budget_curve, select_groups
from keras_tag.affinity import Affinity
from keras_tag.affinity.standard_errors import SamplingErrors

# Lowered affinities choose groups that the affinities themselves seldom do.
pytestmark = pytest.mark.filterwarnings("ignore::keras_tag.UncertainGroupsWarning")


def affinity_of(mean, error, correlation=0.0, tasks="abcd"):
    """Independent errors, but `correlation` between every entry and its target's diagonal."""
    mean, error = np.array(mean, float), np.array(error, float)
    n = len(mean)
    pieces = []
    for j in range(n):
        common = np.zeros((n, n))
        common[:, j] = correlation * error[:, j]
        common[j, j] = error[j, j]
        pieces.append(common)
        for i in set(range(n)) - {j}:
            own = np.zeros((n, n))
            own[i, j] = np.sqrt(1 - correlation**2) * error[i, j]
            pieces.append(own)
    errors = SamplingErrors(error, np.full((n, n), 20.0), np.array(pieces))
    return Affinity(tuple(tasks[:n]), mean, np.full((n, n), 50), errors=errors)


def random_affinity(seed, **kwargs):
    rng = np.random.default_rng(seed)
    mean = rng.normal(scale=0.3, size=(4, 4)) + np.diag(rng.uniform(0.8, 1.2, size=4))
    return affinity_of(mean, rng.uniform(0.01, 0.2, size=(4, 4)), **kwargs)


@pytest.mark.parametrize("score", ["members", "partners"])
def test_no_risk_is_the_mean(score):
    affinity = random_affinity(0)
    table = Affinity.from_array(affinity.mean, affinity.tasks, rows="source")
    assert select_groups(affinity, 2, score=score, risk=0) == select_groups(table, 2, score=score)


@pytest.mark.parametrize("seed", range(5))
def test_partners_are_chosen_by_lower_ends(seed):
    affinity = random_affinity(seed)
    lower = affinity.mean - 1.5 * affinity.standard_error
    table = Affinity.from_array(lower, affinity.tasks, rows="source")
    assert select_groups(affinity, 2, score="partners", risk=1.5) == select_groups(
        table, 2, score="partners"
    )


@pytest.mark.parametrize("correlation", [0.0, 0.7])
@pytest.mark.parametrize("seed", range(3))
def test_members_lose_the_error_of_their_ratios(seed, correlation):
    affinity = random_affinity(seed, correlation=correlation)
    mean, error = affinity.mean, affinity.standard_error
    # The oracle: the ratio's error by a Taylor step, written out.
    lower = mean.copy()
    for i in range(4):
        for j in range(4):
            if i != j:
                across, down = 1 / mean[j, j], -mean[i, j] / mean[j, j] ** 2
                variance = (across * error[i, j]) ** 2 + (down * error[j, j]) ** 2
                variance += 2 * across * down * correlation * error[i, j] * error[j, j]
                lower[i, j] = mean[j, j] * (mean[i, j] / mean[j, j] - 2 * np.sqrt(variance))
    table = Affinity.from_array(lower, affinity.tasks, rows="source")
    risky, expected = select_groups(affinity, 2, risk=2), select_groups(table, 2)
    assert risky.groups == expected.groups
    assert risky.objective == pytest.approx(expected.objective)
    assert risky.status == "optimal"


def test_a_friend_who_may_be_one_by_chance_is_left_for_a_sure_one():
    mean = np.eye(3)
    mean[0, 1] = mean[1, 0] = 0.6
    mean[1, 2] = mean[2, 1] = 0.5
    error = np.full((3, 3), 0.001)
    error[0, 1] = error[1, 0] = 0.3
    affinity = affinity_of(mean, error)
    assert select_groups(affinity, 2, overlap=False).groups == (("a", "b"), ("c",))
    assert select_groups(affinity, 2, overlap=False, risk=1).groups == (("a",), ("b", "c"))


@pytest.mark.parametrize("risk", [-0.1, float("nan"), float("inf"), "1", True, None])
def test_a_risk_is_a_number_of_errors(risk):
    with pytest.raises(ValueError, match="finite number >= 0"):
        select_groups(random_affinity(0), 2, risk=risk)


def test_a_table_has_no_errors():
    table = Affinity.from_array(np.eye(3), list("abc"), rows="source")
    with pytest.raises(ValueError, match=r"Expected standard errors.*`risk`.*all pairs"):
        select_groups(table, 2, risk=1)
    assert select_groups(table, 2, risk=0).status == "optimal"


def test_pairs_without_an_error_are_named():
    affinity = random_affinity(0)
    error = affinity.standard_error.copy()
    error[0, 1] = np.nan
    errors = SamplingErrors(error, affinity.errors.freedom, affinity.errors.pieces)
    broken = Affinity(affinity.tasks, affinity.mean, affinity.count, errors=errors)
    with pytest.raises(ValueError, match=r"\('a', 'b'\)"):
        select_groups(broken, 2, risk=1)


def test_a_curve_takes_the_same_risk_at_every_budget():
    affinity = random_affinity(5)
    for budget, grouping in budget_curve(affinity, [1, 2], risk=1.5).items():
        assert grouping == select_groups(affinity, budget, risk=1.5)


def test_scores_that_read_no_affinities_have_no_risk():
    with pytest.raises(ValueError, match="score function"):
        select_groups(random_affinity(0), 2, score=lambda group, task: 1.0, risk=1)
    measured = GroupScores({("a",): {"a": 1.0}, ("b",): {"b": 1.0}}, sense="max")
    with pytest.raises(ValueError, match="GroupScores"):
        select_groups(measured, 2, risk=1)
