"""`groups_to_train`: the groups to train next, where a few trainings decide.

This module knows arrays only. It never imports TensorFlow.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Unpack

import numpy as np

from keras_tag.affinity import Affinity
from keras_tag.selection.arguments.affinities import affinity_shares
from keras_tag.selection.arguments.choice import Choice, GroupArguments, lists_arguments
from keras_tag.selection.few_trainings.gain_model import GainModel, Prior
from keras_tag.selection.problem import MOST_TASKS_LISTED, build_problem
from keras_tag.selection.scores.measured_groups import GroupScores
from keras_tag.selection.select import deadline_of, solve_problem
from keras_tag.selection.task_masks import mask_of

# How many standard deviations a group that was not trained may turn out better than expected.
_OPTIMISM = 1.0
# The same for what one task does to another, where groups are too many to be listed; errors of
# pairs average out in a group.
_OPTIMISM_OF_PAIRS = 0.25


@lists_arguments(GroupArguments)
def groups_to_train(
    affinity: Affinity,
    measured: GroupScores | Mapping[tuple[str, ...], Mapping[str, float]],
    budget: int,
    *,
    trainings: int | None = None,
    prior: Prior | None = None,
    time_limit: float | None = None,
    **constraints: Unpack[GroupArguments],
) -> tuple[tuple[str, ...], ...]:
    """Return the groups to train next; none once the trained ones are enough to choose from.

    Affinities say which tasks are akin. Only trainings say what an unrelated task costs on your
    data (it may take capacity away, or help against overfitting) and which networks turn out well.
    The joint run is the first: its losses, and those of every group trained since, correct what
    is believed of all others (`keras_tag.selection.Prior` has the formula). Then the exact optimum
    over all groups is found, where a trained group counts with the losses that it reached, and any
    other group with losses one standard deviation better than expected. The answer is the groups of
    that optimum that were not trained yet. Once there are none, or `trainings` groups have been
    trained beside the joint run, there is no answer, and `select_groups` chooses among the groups
    measured.

    Args:
        affinity: As a `TAGModel` measured it; best with `probe_data=` the validation data.
        measured: The validation losses of what was trained so far, {(task, ...): {task: loss}} or
            `GroupScores` with sense="min"; all losses positive. The group of all tasks, the joint
            run, must be among them.
        budget: b, how many networks may be served.
        trainings: How many groups may be trained beside the joint run. None: four times the
            budget.
        prior: What is believed before; None: what was fitted to the sets of
            `benchmarks/grouping_quality`.
        time_limit: Seconds, as for `select_groups`.
        **constraints: As for `select_groups`: `overlap`, `min_size`, `max_size`, `weights`,
            `must_link`, `cannot_link`.

    Returns:
        Distinct groups that are not in `measured`, the least certain first, each with its tasks in
        the order of `affinity.tasks`; at most as many as may still be trained.

    Raises:
        ValueError: The joint run is missing, a task of a group has no loss, a loss is not
            positive, tasks that the affinity does not know, a diagonal that is not positive, or
            see `select_groups`.

    Example:
        >>> affinity = Affinity.from_array(
        ...     [[1.0, 0.8, 0.0], [0.6, 1.0, 0.1], [0.0, 0.0, 1.0]], ["a", "b", "c"], rows="source")
        >>> measured = {("a", "b", "c"): {"a": 0.3, "b": 0.3, "c": 0.4}}  # The joint run's.
        >>> groups_to_train(affinity, measured, budget=2)
        (('c',), ('a', 'b'))
        >>> measured[("c",)] = {"c": 0.3}  # And so on, until none is asked for.
        >>> select_groups(GroupScores(measured, sense="min"), budget=2).groups
        (('a', 'b', 'c'), ('c',))

    Reference:
        The idea to correct affinities by a few trained groups is that of ETAP, ICLR 2026,
        arXiv:2602.18591; model and search are our own.
    """
    asked = Choice.of("groups_to_train", constraints, GroupArguments)
    shares = affinity_shares(affinity)
    losses = _checked(affinity, measured)
    tasks = affinity.tasks
    joint = losses[frozenset(tasks)]
    most = 4 * budget if trainings is None else trainings
    left = most + 1 - len(losses)
    if left <= 0:
        return ()
    reference = np.array([joint[task] for task in tasks])
    trained = np.array([[task in group for task in tasks] for group in losses])
    reached = np.array([[values.get(t, np.nan) for t in tasks] for values in losses.values()])
    model = GainModel(shares, prior or Prior(), trained, np.log(reached / reference))
    plausible = _listed_choice if len(tasks) <= MOST_TASKS_LISTED else _pairs_choice
    believed, choice = plausible(model, tasks, joint, losses, asked)
    problem, _ = build_problem(believed, choice)
    found = solve_problem(problem, tasks, budget, deadline_of(time_limit))[0]
    new = [group for group in map(frozenset, found.groups) if group not in losses]
    if not new:
        return ()
    spread = np.nansum(model.predict(np.array([[t in g for t in tasks] for g in new]))[1], 1)
    order = sorted(range(len(new)), key=lambda k: (-spread[k], sorted(new[k])))
    return tuple(tuple(task for task in tasks if task in new[k]) for k in order[:left])


Losses = dict[frozenset[str], Mapping[str, float]]


def _listed_choice(
    model: GainModel,
    tasks: tuple[str, ...],
    joint: Mapping[str, float],
    losses: Losses,
    asked: Choice,
) -> tuple[Affinity, Choice]:
    """Return a choice by what all 2**n - 1 groups reach: measured losses, and plausible ones."""
    position = {task: k for k, task in enumerate(tasks)}
    masks = np.arange(1, 1 << len(tasks))
    groups = (masks[:, None] >> np.arange(len(tasks)) & 1).astype(bool)
    mean, spread = model.predict(groups)
    plausible = np.exp(mean - _OPTIMISM * spread)

    def score(group: tuple[str, ...], task: str) -> float:
        known = losses.get(frozenset(group))
        if known is not None:
            return -known[task]
        row = mask_of(position[name] for name in group) - 1
        return -joint[task] * float(plausible[row, position[task]])

    any_affinity = Affinity.from_array(np.eye(len(tasks)), tasks, rows="source")
    return any_affinity, replace(asked, score=score)


def _pairs_choice(
    model: GainModel,
    tasks: tuple[str, ...],
    joint: Mapping[str, float],
    losses: Losses,
    asked: Choice,
) -> tuple[Affinity, Choice]:
    """Return a choice by what one task does to another, which any number of tasks allows.

    To first order a task's loss in a group is its loss in the joint run times 1 + the mean over
    the group of T. The score is one minus that mean, weighted by the loss in the joint run.
    """
    mean, spread = model.pairs()
    company = 1.0 - (mean - _OPTIMISM_OF_PAIRS * spread)
    weights = dict(zip(tasks, asked.weights_of(tasks), strict=True))
    weighted = {task: weights[task] * joint[task] for task in tasks}
    return Affinity.from_array(company, tasks, rows="source"), replace(asked, weights=weighted)


def _checked(affinity: Affinity, measured: Any) -> Losses:
    scores = measured if isinstance(measured, GroupScores) else GroupScores(measured, sense="min")
    if scores.sense != "min":
        raise ValueError("Expected `measured` to be losses, sense='min'. Received: sense='max'.")
    unknown = sorted(set(scores.tasks) - set(affinity.tasks))
    if unknown:
        raise ValueError(
            f"Expected `measured` to be of the affinity's tasks, {affinity.tasks}. Received "
            f"others: {unknown}."
        )
    losses: Losses = {}
    for entry in scores.entries:
        missing = [task for task in entry.tasks if not entry.scores.get(task, 0.0) > 0]
        if missing:
            raise ValueError(
                "Expected a positive validation loss for every task of a group: ratios of losses "
                f"are compared. Received none for {missing} in {entry.tasks}."
            )
        losses[frozenset(entry.tasks)] = entry.scores
    if frozenset(affinity.tasks) not in losses:
        raise ValueError(
            "Expected the joint run among `measured`: the group of all tasks with its validation "
            f"losses. Received groups: {[entry.tasks for entry in scores.entries]}."
        )
    return losses
