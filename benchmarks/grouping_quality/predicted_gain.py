"""A group score that predicts losses from affinities, before any group is trained."""

import numpy as np

from keras_tag import Affinity
from keras_tag.selection import Prior
from keras_tag.selection.arguments.affinities import affinity_shares
from keras_tag.selection.arguments.choice import ScoreFunction


def predicted_gain(
    affinity: Affinity, losses: np.ndarray, prior: Prior | None = None
) -> ScoreFunction:
    """Score a group by how much lower the losses are predicted to be than in the joint run.

    With A[i, j] = Z[i, j] / Z[j, j] and T[i, j] = `prior.stranger` + `prior.friend` A[i, j] for
    i != j, T[j, j] = 0, member j of group S, whose loss was L_j, scores

        L_j (1 - exp(mean over i in S of T[i, j] - mean over all tasks i of T[i, j])).

    It is what `groups_to_train` expects of a group before any is trained. Unlike under "members", a
    task with a large loss counts for more, so the losses should be of comparable size. The
    objective is how much lower the total loss is predicted to be; the prediction ranks groups, its
    size is uncertain.

    Args:
        affinity: As a `TAGModel` measured it; every pair, with a positive diagonal.
        losses: `[num_tasks]`, the tasks' losses in the joint run, all positive.
        prior: The expected effect of tasks on each other; None: what was fitted to the sets of
            this benchmark.

    Returns:
        A function (names of the group, task) -> score, for `select_groups(affinity, budget,
        score=...)` with up to 15 tasks.

    Raises:
        ValueError: Unmeasured pairs, or a diagonal that is not positive.
    """
    shares = affinity_shares(affinity)
    prior = prior or Prior()
    effect = prior.stranger + prior.friend * shares
    np.fill_diagonal(effect, 0.0)
    in_joint_run = effect.mean(axis=0)
    index = {task: k for k, task in enumerate(affinity.tasks)}

    def score(group: tuple[str, ...], task: str) -> float:
        members, target = [index[name] for name in group], index[task]
        ratio = np.exp(effect[members, target].mean() - in_joint_run[target])
        return float(losses[target] * (1.0 - ratio))

    return score
