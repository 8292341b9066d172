"""HOA: train every pair of tasks, and extrapolate to larger groups."""

from itertools import combinations
from statistics import fmean

from keras_tag import GroupScores

# 2**n - 1 groups are written out.
_MOST_TASKS = 15


def extrapolate_pairs(measured: GroupScores) -> GroupScores:
    """Predict every group from trained pairs: the higher-order approximation.

    A task in a group is predicted to reach the mean of what it reached in the pairs with each of
    the other members. Pairs and lone tasks keep what was measured; larger groups that were
    measured are predicted as well, so that the rival is what it is called.

    Args:
        measured: What every lone task and every pair achieved on validation data, for example
            `sense="min"` for losses.

    Returns:
        `GroupScores` of all 2**n - 1 groups, of the same sense.

    Raises:
        ValueError: A pair or a lone task was not measured, a group is there twice, or there are
            more than 15 tasks.

    Reference:
        Standley et al., "Which Tasks Should Be Learned Together in Multi-task Learning?", ICML
        2020, arXiv:1905.07553, section 5.
    """
    tasks = measured.tasks
    if len(tasks) > _MOST_TASKS:
        raise ValueError(
            f"Expected at most {_MOST_TASKS} tasks: every group is predicted. Received: "
            f"{len(tasks)} tasks."
        )
    known: dict[frozenset[str], dict[str, float]] = {}
    for entry in measured.entries:
        members = frozenset(entry.tasks)
        if members in known:
            raise ValueError(f"Expected every group once. Received twice: {entry.tasks}.")
        known[members] = dict(entry.scores)
    missing = [
        group
        for size in (1, 2)
        for group in combinations(tasks, size)
        if set(known.get(frozenset(group), ())) != set(group)
    ]
    if missing:
        raise ValueError(
            "Expected measured values for every lone task and for both tasks of every pair. "
            f"Missing or incomplete: {missing}."
        )
    predicted = {}
    for size in range(1, len(tasks) + 1):
        for group in combinations(tasks, size):
            if size <= 2:
                predicted[group] = known[frozenset(group)]
                continue
            predicted[group] = {
                task: fmean(
                    known[frozenset((task, other))][task] for other in group if other != task
                )
                for task in group
            }
    return GroupScores(predicted, sense=measured.sense)
