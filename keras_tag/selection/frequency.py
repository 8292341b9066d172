"""The frequency of a grouping when the affinities are resampled, and the warning if it is low."""

import sys
import warnings
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from keras_tag.affinity import Affinity
from keras_tag.affinity.standard_errors import FEWEST_PROBES, SamplingErrors
from keras_tag.selection.arguments.affinities import without_error
from keras_tag.selection.arguments.choice import Choice
from keras_tag.selection.draws import DrawnChoice, networks_of
from keras_tag.selection.grouping import Grouping
from keras_tag.selection.problem import Problem
from keras_tag.wording import counted

# Groups that come out in fewer of the resampled affinities are warned about.
_LEAST_FREQUENCY = 0.5
_MOST_DRAWS, _FEWEST_DRAWS = 200, 20
_PACKAGE = str(Path(__file__).parents[1])


class UncertainGroupsWarning(UserWarning):
    """The chosen groups may be the best ones by chance: the affinities are too uncertain."""


def sorted_draws(
    affinity: Affinity, errors: SamplingErrors, number: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw affinities around the means, within their errors.

    Args:
        affinity: The affinity.
        errors: Its errors.
        number: How many draws.
        seed: Of the draws.

    Returns:
        The means `[num_tasks, num_tasks]` and the draws `[number, num_tasks, num_tasks]`, of the
        sorted tasks, so that the order of the caller's tasks plays no part.
    """
    index = np.array(sorted(range(len(affinity.tasks)), key=affinity.tasks.__getitem__))
    mean = affinity.mean[np.ix_(index, index)]
    return mean, mean + errors.take(index).draw(number, np.random.default_rng(seed))


def with_frequency(
    grouping: Grouping, affinity: Affinity, problem: Problem, choice: Choice, budget: float
) -> Grouping:
    """Return a grouping that says how often it comes out when the affinities are resampled.

    Args:
        grouping: The best one for the mean affinities.
        affinity: What the score reads.
        problem: The problem that it solves.
        choice: What was asked.
        budget: The budget.

    Returns:
        The grouping with `frequency` and `replicates`: groupings that serve the same tasks together
        count as the same. With more than 15 tasks, no proof in time, or too fine a budget, nothing
        is resampled, and `replicates` is 0. Without standard errors of all the pairs that the score
        reads, it is returned as it is.
    """
    errors = affinity.errors
    if errors is None or without_error(affinity, str(choice.score)).any():
        return grouping
    if grouping.status != "optimal":
        return replace(grouping, replicates=0)
    judge = DrawnChoice(problem, choice, budget)
    if not judge.resamples_quickly:
        return replace(grouping, replicates=0)
    num_tasks = len(problem.tasks)
    number = max(_FEWEST_DRAWS, min(_MOST_DRAWS, 3**17 // 3**num_tasks))
    chosen = networks_of(grouping, problem.tasks)
    found = [judge.scores(draw) for draw in sorted_draws(affinity, errors, number, seed=0)[1]]
    # In a draw with a diagonal that can't be divided by, no groups come out.
    told = [scores for scores in found if scores is not None]
    rounding = 1e-9 * max(1e-300, abs(grouping.objective))
    same = 0
    for scores, best in zip(told, judge.values(told), strict=True):
        # Whichever helpers are trained: where one more or less is indifferent, chance chooses it.
        same += bool(best - judge.value_served(scores, chosen) <= rounding)
    return replace(grouping, frequency=same / number, replicates=number)


def warn_of_chance(groupings: Iterable[Grouping], affinity: Affinity, choice: Choice) -> None:
    """Warn where groups may be the best ones by chance.

    Args:
        groupings: What was chosen from one affinity.
        affinity: The affinity. A table, which has neither history nor errors, is not warned about.
        choice: What was asked.
    """
    unknown = without_error(affinity, str(choice.score))
    if unknown.any() and (affinity.history is not None or affinity.errors is not None):
        fewest = int(affinity.count[unknown].min())
        least = "two runs" if affinity.between_runs else f"{FEWEST_PROBES} probes"
        _warn(
            f"The groups are optimal for these affinities, but {unknown.sum()} of the pairs that "
            "the score reads have no standard error: some were measured "
            f"{counted(fewest, 'time')}, and it takes at least {least}. So nothing tells these "
            "groups from chance. Measure with more probes (a smaller `every`, or more epochs)."
        )
        return
    rare = [g for g in groupings if g.replicates and g.frequency < _LEAST_FREQUENCY]
    if rare:
        often = ", ".join(
            f"{counted(len(g.groups), 'network')} in {g.frequency:.0%} of {g.replicates}"
            for g in rare
        )
        _warn(
            "The groups are optimal for these affinities, but they come out (helpers aside) in "
            "fewer than half of the affinities resampled within their standard errors: "
            f"{often}. Other groups may be as good. `keras_tag.stability(affinity, budget)` shows "
            "which, and how much they differ; more probes, or several runs (`Affinity.combine`), "
            "make the choice surer."
        )


def _warn(message: str) -> None:
    """Warn at the line outside of the package that led here."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, UncertainGroupsWarning, stacklevel=level)
