import re
from dataclasses import replace

import numpy as np
import pytest
from recomputed_scores import verify

from keras_tag.affinity import Affinity
from keras_tag.selection import Grouping, budget_curve, select_groups

NAMES = ["ant", "bee", "cat", "dog", "elk"]


def affinity_of(z):
    return Affinity.from_array(z, NAMES[: len(z)], rows="source")


def random_affinity(seed, n=5):
    rng = np.random.default_rng(seed)
    return affinity_of(rng.normal(size=(n, n)) + 4.0 * np.eye(n))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"must_link": [("ant", "bee")], "cannot_link": [("bee", "ant")]},
            "must_link.*cannot_link",
        ),
        ({"must_link": [("ant", "bee"), ("bee", "cat")], "max_size": 2}, "must_link.*max_size=2"),
        ({"must_link": [("ant", "yak")]}, "`must_link`.*yak"),
        ({"cannot_link": [("ant", "ant")]}, "`cannot_link`.*different"),
        ({"cannot_link": "ab"}, "`cannot_link`"),
        ({"min_size": 6}, "min_size"),
        ({"min_size": 3, "max_size": 2}, "min_size"),
        ({"min_size": 0}, "`min_size`"),
        ({"max_size": 1.5}, "`max_size`"),
        ({"max_size": 1}, r"5 networks.*max_size=1"),
        ({"overlap": 1}, "`overlap`"),
        ({"overlap": False, "min_size": 4, "max_size": 4}, "overlap=False.*min_size=4"),
        ({"cannot_link": [("ant", "bee"), ("bee", "cat"), ("ant", "cat")]}, "3 networks.*cannot"),
        ({"weights": {"yak": 1.0}}, "yak"),
        ({"weights": {"ant": -1.0}}, "weights"),
        ({"weights": dict.fromkeys(NAMES, 0.0)}, "positive weight"),
        ({"costs": {1: -1.0}}, "not negative"),
        ({"costs": {("yak",): 1.0}}, "yak"),
        ({"costs": "cheap"}, "`costs`"),
        ({"costs": {1: 1 / 3}}, "at most 6 decimal places"),
        ({"costs": [1e-6, 1e4]}, "common unit"),
        ({"costs": {5: 3.0}}, "3.0"),
        ({"time_limit": 0}, "`time_limit`"),
        ({"score": lambda group, task: float("nan")}, "finite number"),
    ],
)
def test_the_message_names_the_argument_or_constraint(options, message):
    with pytest.raises(ValueError, match=re.compile(message, re.S)):
        select_groups(random_affinity(0), 2, **options)


@pytest.mark.parametrize("budget", [0, -1.0, float("nan"), float("inf"), "much", True])
def test_budget_of_costs_must_be_a_positive_number(budget):
    with pytest.raises(ValueError, match="`budget`"):
        select_groups(random_affinity(0), budget, costs={k: 1.0 for k in range(1, 6)})


def test_costs_and_budget_are_read_as_decimal_numbers():
    affinity = affinity_of(np.eye(3))
    # In binary, 0.1 + 0.1 + 0.1 is more than 0.3.
    assert len(select_groups(affinity, 0.3, costs={1: 0.1, 2: 0.1, 3: 0.1}).groups) == 3
    # 0.4 + 0.3 * 3 is 1.2999999999999998 there, and 0.4 - 0.1 is 0.30000000000000004.
    assert select_groups(affinity, 1.3, costs={3: 0.4 + 0.3 * 3}).cost == 1.3
    assert len(select_groups(affinity, 0.4 - 0.1, costs={1: 0.1}).groups) == 3


def test_small_groups_of_many_listed_tasks_are_covered_and_proven_in_time():
    z = np.random.default_rng(0).normal(size=(12, 12)) + 4.0 * np.eye(12)
    affinity = Affinity.from_array(z, [f"t{i:02d}" for i in range(12)], rows="source")
    grouping = select_groups(affinity, 3, max_size=4, time_limit=60.0)
    assert grouping.status == "optimal"
    assert max(map(len, grouping.groups)) <= 4
    assert verify(grouping, affinity) == grouping.objective
    with pytest.raises(ValueError, match=r"at least the cheapest.*3 networks"):
        select_groups(affinity, 2, max_size=4, time_limit=60.0)


def test_overflow_sized_affinities_give_the_right_answer_or_a_clear_error():
    z = np.full((3, 3), -1e300) + np.diag([2e300] * 3)
    assert select_groups(affinity_of(z), 3).objective == 3.0
    big = np.full((3, 3), 1.7e308)
    with pytest.raises(ValueError, match="too large for a float"):
        select_groups(affinity_of(big), 1, score="partners")


def test_tiny_affinities_are_told_apart():
    z = np.zeros((4, 4))
    z[0, 1] = z[1, 0] = 3e-300
    z[2, 3] = z[3, 2] = 2e-300
    z[0, 2] = z[2, 0] = 1e-300
    grouping = select_groups(affinity_of(z), 2, score="partners")
    assert grouping.groups == (("ant", "bee"), ("cat", "dog"))


def test_budget_curve_equals_one_selection_per_budget_and_never_falls():
    affinity = random_affinity(3)
    curve = budget_curve(affinity, [1, 2, 3, 9], score="partners", overlap=False)
    assert list(curve) == [1, 2, 3, 9]
    for budget, grouping in curve.items():
        assert grouping == select_groups(affinity, budget, score="partners", overlap=False)
    overlapping = [g.objective for g in budget_curve(affinity, [1, 2, 3, 4, 5]).values()]
    assert overlapping == sorted(overlapping)
    with pytest.raises(ValueError, match="at least one budget"):
        budget_curve(affinity, [])


def test_verify_recomputes_scores_and_notices_changed_ones():
    affinity = random_affinity(4)
    for score in ("members", "partners"):
        weights = {"ant": 2.0}
        grouping = select_groups(affinity, 2, score=score, weights=weights)
        assert verify(grouping, affinity, weights=weights) == grouping.objective
        with pytest.raises(ValueError, match="score of 'ant'"):
            verify(grouping, affinity)
        changed = replace(grouping, objective=grouping.objective + 1e-6)
        with pytest.raises(ValueError, match="objective"):
            verify(changed, affinity, weights=weights)
        changed = replace(grouping, bound=grouping.bound - 1e-6)
        with pytest.raises(ValueError, match="bound"):
            verify(changed, affinity, weights=weights)
    with pytest.raises(ValueError, match="Expected a grouping selected"):
        verify(Grouping.from_groups([NAMES]), affinity)


def test_grouping_with_statistics_survives_its_dict():
    grouping = select_groups(random_affinity(5), 2.5, costs={k: 0.5 * k for k in range(1, 4)})
    again = Grouping.from_dict(grouping.to_dict())
    assert again == grouping
    assert again.statistics == grouping.statistics
    assert again.cost == grouping.cost == 2.5


def test_subset_and_merge_allow_grouping_again():
    affinity = random_affinity(6)
    few = affinity.subset(["dog", "ant", "cat"])
    assert few.tasks == ("dog", "ant", "cat")
    assert few.mean[0, 1] == affinity.mean[3, 0]
    assert select_groups(few, 2).status == "optimal"
    rest = affinity.subset(["bee", "elk"])
    joined = few.merge(rest)
    assert set(joined.tasks) == set(NAMES)
    assert ("bee", "ant") in joined.unmeasured
    whole = joined.merge(affinity).subset(NAMES)
    np.testing.assert_allclose(whole.mean, affinity.mean, rtol=1e-15)
    assert whole.count[0, 2] == 2
    assert whole.count[0, 1] == 1
    with pytest.raises(ValueError, match="yak"):
        affinity.subset(["yak"])


def test_merge_averages_by_count():
    one = Affinity(("a", "b"), np.array([[1.0, 2.0], [3.0, 4.0]]), np.full((2, 2), 3))
    two = Affinity(("a", "b"), np.array([[5.0, np.nan], [7.0, 8.0]]), np.array([[1, 0], [1, 1]]))
    both = one.merge(two)
    np.testing.assert_allclose(both.mean, [[2.0, 2.0], [4.0, 5.0]])
    assert both.count.tolist() == [[4, 3], [4, 4]]
