"""Group scores by a power of the group's size, and the groups that several powers choose.

The scores are functions for `select_groups(affinity, budget, score=...)`, for up to 15 tasks.
"""

import contextlib
from collections.abc import Sequence
from typing import Any

from keras_tag import Affinity, budget_curve
from keras_tag.selection.arguments.affinities import affinity_shares
from keras_tag.selection.arguments.choice import ScoreFunction


def shared_step(affinity: Affinity, power: float = 0.5) -> ScoreFunction:
    """Score a task's progress when its group takes one step as long as the task's own.

    With A[i, j] = Z[i, j] / Z[j, j], the share of its own progress that j gets from i's update,
    member j of group S scores

        sum over i in S of A[i, j] / |S|**power.

    An optimizer such as Adam takes steps of the same length whichever tasks train. The updates of
    unrelated tasks are about orthogonal, so that the sum of |S| of them is sqrt(|S|) times as long
    as one: scaled back to one step, j keeps 1 / sqrt(|S|) of its progress among unrelated
    tasks, and helpful ones add to it. `power=0.5` is that. "members" is `power=1`: there a step's
    length is divided among the members, as if all updates pointed the same way. A lone task scores
    1 under both, but here a helpful group scores more than 1.

    Args:
        affinity: As a `TAGModel` measured it; every pair, with a positive diagonal.
        power: What a further task costs: 0 nothing, 1 as under "members".

    Returns:
        A function (names of the group, task) -> score.

    Raises:
        ValueError: Unmeasured pairs, a diagonal that is not positive, or a power outside 0..1.

    Reference:
        Fifty et al., NeurIPS 2021, arXiv:2109.04617, section 3.1, for Z.
    """
    if not 0 <= power <= 1:
        raise ValueError(f"Expected `power` from 0 to 1. Received: power={power!r}.")
    shares = affinity_shares(affinity)
    index = {task: k for k, task in enumerate(affinity.tasks)}

    def score(group: tuple[str, ...], task: str) -> float:
        members = [index[name] for name in group]
        return float(shares[members, index[task]].sum() / len(members) ** power)

    return score


def shortlist(
    affinity: Affinity,
    budget: int,
    *,
    powers: Sequence[float] = (1.0, 0.75, 0.5, 0.25, 0.0),
    time_limit: float | None = None,
    **constraints: Any,
) -> tuple[tuple[str, ...], ...]:
    """List the few groups worth training, to choose among them by the losses they reach.

    Affinities say which tasks are akin, not what an unrelated task costs on your data: it may
    take capacity away, or help against overfitting. That is one number, the power of `shared_step`,
    and the cheapest way to know it is to train the groups that follow from all of its range. The
    list holds the exact optimum of every power for one network less than the budget, for the
    budget and for one more: 8 to 18 groups for six to nine tasks at budgets 2 to 4. Train each,
    put the validation losses into `GroupScores` and select again; the networks that are selected
    need no further training.

    Args:
        affinity: As a `TAGModel` measured it.
        budget: b, how many networks may be served.
        powers: What a further task costs, see `shared_step`; 0 leads to large groups, 1 to small.
        time_limit: Seconds for each choice, as for `select_groups`.
        **constraints: As for `select_groups`: `overlap`, `min_size`, `max_size`, `weights`,
            `must_link`, `cannot_link`.

    Returns:
        Distinct groups, small ones first, each with its tasks in the order of `affinity.tasks`.
        The group of all tasks, if it is listed, is the joint run that you have made already.

    Raises:
        ValueError: See `shared_step` and `select_groups`.
    """
    found: set[frozenset[str]] = set()
    for power in powers:
        score = shared_step(affinity, power)
        curve = budget_curve(
            affinity, [budget, budget + 1], score=score, time_limit=time_limit, **constraints
        )
        if budget > 1:
            # Under constraints one network less may not reach every task: then it proposes nothing.
            with contextlib.suppress(ValueError):
                curve |= budget_curve(
                    affinity, [budget - 1], score=score, time_limit=time_limit, **constraints
                )
        for grouping in curve.values():
            found |= {frozenset(group) for group in grouping.groups}
    position = {task: k for k, task in enumerate(affinity.tasks)}
    ordered = [tuple(sorted(group, key=position.__getitem__)) for group in found]
    return tuple(sorted(ordered, key=lambda group: (len(group), [position[t] for t in group])))
