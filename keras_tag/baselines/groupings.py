"""Groupings that need no measurement: single task, all in one, a random partition."""

from collections.abc import Iterable

import numpy as np

from keras_tag.selection.grouping import Grouping
from keras_tag.task_names import check_group


def single_task(tasks: Iterable[str]) -> Grouping:
    """Give every task a network of its own.

    Args:
        tasks: The n task names.

    Returns:
        A `Grouping` of n groups, in the order of the tasks.

    Raises:
        ValueError: No task, or a name given twice.

    Example:
        >>> single_task(["depth", "edges"]).groups
        (('depth',), ('edges',))
    """
    return Grouping.from_groups([(task,) for task in check_group(tasks, "`tasks`")])


def all_in_one(tasks: Iterable[str]) -> Grouping:
    """Train and serve every task with one network.

    Args:
        tasks: The task names.

    Returns:
        A `Grouping` of one group.

    Raises:
        ValueError: No task, or a name given twice.

    Example:
        >>> all_in_one(["depth", "edges"]).groups
        (('depth', 'edges'),)
    """
    return Grouping.from_groups([check_group(tasks, "`tasks`")])


def random_groups(tasks: Iterable[str], budget: int, seed: int) -> Grouping:
    """Draw a partition of the tasks into exactly `budget` groups, uniformly from all of them.

    Groups of a partition do not overlap: every task is trained once, so that no validation data
    are needed to say which network serves it. A draw depends on the positions of the tasks in
    `tasks` only, not on their names.

    Args:
        tasks: The n task names.
        budget: b, how many groups, from 1 to n.
        seed: Which draw. The same seed gives the same grouping.

    Returns:
        A `Grouping` of b distinct groups that cover the tasks; each of the S(n, b) partitions (the
        Stirling number of the second kind) is equally likely.

    Raises:
        ValueError: No task, a name given twice, or a budget outside 1..n.

    Example:
        >>> len(random_groups(["depth", "edges", "normals"], budget=2, seed=0).groups)
        2
    """
    tasks = check_group(tasks, "`tasks`")
    if not 1 <= budget <= len(tasks):
        raise ValueError(
            f"Expected `budget` from 1 to the number of tasks, {len(tasks)}: a partition has no "
            f"empty group. Received: budget={budget}."
        )
    generator = np.random.default_rng(seed)
    counts = _count_partitions(len(tasks), budget)
    # From the last task to the first: given that the first n tasks fill b groups, task n is alone
    # in S(n - 1, b - 1) of the S(n, b) partitions; in the others it joins one of b equal choices.
    alone: list[bool] = []
    blocks = budget
    for size in range(len(tasks), 0, -1):
        alone.append(generator.random() < counts[size - 1][blocks - 1] / counts[size][blocks])
        blocks -= alone[-1]
    groups: list[list[str]] = []
    for task, opens in zip(tasks, reversed(alone), strict=True):
        if opens:
            groups.append([task])
        else:
            groups[generator.integers(len(groups))].append(task)
    return Grouping.from_groups(groups)


def _count_partitions(num_tasks: int, num_groups: int) -> list[list[int]]:
    """Return S(n, b) for every n and b up to the given ones, exactly (Python integers)."""
    counts = [[int(n == b == 0) for b in range(num_groups + 1)] for n in range(num_tasks + 1)]
    for n in range(1, num_tasks + 1):
        for b in range(1, num_groups + 1):
            counts[n][b] = b * counts[n - 1][b] + counts[n - 1][b - 1]
    return counts
