"""A dynamic programme for the best networks of up to 15 tasks, to choose many times over.

`select_groups` proves its answer in exact arithmetic. Where the same tasks are grouped hundreds of
times for slightly different affinities, rounding does not matter, and a programme over subsets of
served tasks is much quicker: the best value of serving the tasks U with u units of budget is that
of the best network for some T in U, plus the best value of serving the rest with what is left.
"""

import numpy as np

from keras_tag.selection.numba_jit import compiled


@compiled
def best_cover(
    groups: np.ndarray,
    scores: np.ndarray,
    level: np.ndarray,
    level_cost: np.ndarray,
    budget: int,
    overlap: bool,
    chosen: np.ndarray,
    served: np.ndarray,
) -> float:
    """Choose networks for all tasks.

    Args:
        groups: `[num_groups]` int64, each group as a bit mask.
        scores: `[num_groups, num_tasks]` float64, what a member scores in a group.
        level: `[num_groups]` int64, which of the different costs a group has.
        level_cost: `[num_levels]` int64, the different costs, in whole units.
        budget: Units.
        overlap: Whether a group may train tasks that it does not serve.
        chosen: `[num_tasks]` int64, to be filled with rows of `groups`, -1 after the last.
        served: `[num_tasks]` int64, to be filled with the bit mask each of these serves.

    Returns:
        The value; minus infinity if there is no cover.
    """
    num_tasks = scores.shape[1]
    subsets = 1 << num_tasks
    value = np.full((len(level_cost), subsets), -np.inf)
    holder = np.full((len(level_cost), subsets), -1)
    masks = np.zeros(subsets, np.int64)
    sums = np.zeros(subsets)
    for row in range(len(groups)):
        # Sums over all subsets of the group, each from one with a member less.
        filled = 1
        masks[0], sums[0] = 0, 0.0
        for task in range(num_tasks):
            if groups[row] >> task & 1:
                for known in range(filled):
                    masks[filled + known] = masks[known] | (1 << task)
                    sums[filled + known] = sums[known] + scores[row, task]
                filled *= 2
        for known in range(1 if overlap else filled - 1, filled):
            if sums[known] > value[level[row], masks[known]]:
                value[level[row], masks[known]] = sums[known]
                holder[level[row], masks[known]] = row
    best = np.full((budget + 1, subsets), -np.inf)
    first = np.zeros((budget + 1, subsets), np.int64)
    first_level = np.zeros((budget + 1, subsets), np.int64)
    best[:, 0] = 0.0
    for units in range(budget + 1):
        for tasks in range(1, subsets):
            lowest = tasks & -tasks
            rest = tasks ^ lowest
            part = rest
            while True:
                network = part | lowest
                for kind in range(len(level_cost)):
                    left = units - level_cost[kind]
                    if left >= 0:
                        total = value[kind, network] + best[left, tasks ^ network]
                        if total > best[units, tasks]:
                            best[units, tasks] = total
                            first[units, tasks] = network
                            first_level[units, tasks] = kind
                if part == 0:
                    break
                part = (part - 1) & rest
    chosen[:] = -1
    units, tasks, number = budget, subsets - 1, 0
    while tasks and best[units, tasks] > -np.inf:
        network, kind = first[units, tasks], first_level[units, tasks]
        chosen[number], served[number] = holder[kind, network], network
        units -= level_cost[kind]
        tasks ^= network
        number += 1
    return float(best[budget, subsets - 1])
