from collections import Counter
from itertools import product

import pytest

from keras_tag import baselines

TASKS = ("a", "b", "c", "d", "e")


def partition(grouping):
    return frozenset(frozenset(group) for group in grouping.groups)


def test_single_task_gives_every_task_a_network_of_its_own():
    grouping = baselines.single_task(TASKS)
    assert grouping.groups == tuple((task,) for task in TASKS)
    assert [grouping.groups[grouping.serves[task]] for task in TASKS] == [(t,) for t in TASKS]


def test_all_in_one_is_one_network_that_serves_everybody():
    grouping = baselines.all_in_one(TASKS)
    assert grouping.groups == (TASKS,)
    assert grouping.served(0) == TASKS


@pytest.mark.parametrize("budget", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("seed", range(20))
def test_random_groups_are_exactly_budget_distinct_groups_that_cover_the_tasks(budget, seed):
    grouping = baselines.random_groups(TASKS, budget, seed)
    assert len(partition(grouping)) == len(grouping.groups) == budget
    assert sorted(sum(grouping.groups, ())) == sorted(TASKS)
    assert set(grouping.tasks) == set(TASKS)


def test_random_groups_are_uniform_over_all_partitions():
    # The oracle enumerates: label the tasks in all ways, keep the labelings that use both groups.
    tasks = TASKS[:4]
    expected = set()
    for labels in product(range(2), repeat=len(tasks)):
        groups = [
            frozenset(t for t, k in zip(tasks, labels, strict=True) if k == b) for b in (0, 1)
        ]
        if all(groups):
            expected.add(frozenset(groups))
    draws = 2800
    counts = Counter(partition(baselines.random_groups(tasks, 2, seed)) for seed in range(draws))
    assert set(counts) == expected
    mean = draws / len(expected)
    chi_squared = sum((count - mean) ** 2 / mean for count in counts.values())
    # 6 degrees of freedom: 22.5 is exceeded once in a thousand; the seeds are fixed.
    assert chi_squared < 22.5


def test_random_groups_repeat_with_the_seed_and_change_with_it():
    draws = [baselines.random_groups(TASKS, 3, seed) for seed in range(10)]
    assert draws == [baselines.random_groups(TASKS, 3, seed) for seed in range(10)]
    assert len(set(map(partition, draws))) > 1


def test_random_groups_of_forty_tasks_are_exact_integers_all_the_way():
    grouping = baselines.random_groups([f"task{k}" for k in range(40)], 10, seed=0)
    assert len(grouping.groups) == 10


@pytest.mark.parametrize("budget", [0, -1, 6])
def test_random_groups_refuse_a_budget_that_no_partition_has(budget):
    with pytest.raises(ValueError, match=f"`budget` from 1 .* budget={budget}"):
        baselines.random_groups(TASKS, budget, seed=0)


@pytest.mark.parametrize("tasks", [(), ("a", "a"), "abc"])
@pytest.mark.parametrize(
    "make",
    [
        baselines.single_task,
        baselines.all_in_one,
        lambda tasks: baselines.random_groups(tasks, 1, seed=0),
    ],
)
def test_no_tasks_repeated_tasks_and_a_lone_string_are_refused(make, tasks):
    with pytest.raises(ValueError, match=r"Expected `tasks` to be .*one or more task names"):
        make(tasks)


def test_tasks_may_come_as_a_set_or_as_the_keys_of_losses():
    assert baselines.all_in_one({"b", "c", "a"}).groups == (("a", "b", "c"),)
    assert baselines.single_task(frozenset("ba")).groups == (("a",), ("b",))
    assert baselines.all_in_one({"b": "mse", "a": "mae"}.keys()).groups == (("b", "a"),)
    by_set = baselines.random_groups(set(TASKS), 3, seed=1)
    assert by_set == baselines.random_groups(TASKS, 3, seed=1)
