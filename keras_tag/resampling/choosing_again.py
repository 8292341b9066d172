"""The stability of a choice of groups, given the standard errors of the affinities.

Affinities are drawn again and again from around their means, as far off as their standard errors
say and together as they erred together (a multiplier bootstrap over blocks of probes, or over
runs). Every draw is something the truth might be; the groups are chosen for it, exactly.

Reference:
    Wu, "Jackknife, Bootstrap and Other Resampling Methods in Regression Analysis", Annals of
    Statistics 14, 1986 (multiplier bootstrap). Künsch, "The Jackknife and the Bootstrap for General
    Stationary Observations", Annals of Statistics 17, 1989 (blocks).

This module knows arrays only. It never imports TensorFlow.
"""

from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Unpack

import numpy as np

from keras_tag.affinity import Affinity
from keras_tag.baselines import random_groups
from keras_tag.provenance import made_with
from keras_tag.selection.arguments.affinities import check_errors
from keras_tag.selection.arguments.choice import Choice, ChoiceArguments, lists_arguments
from keras_tag.selection.draws import DrawnChoice, Networks, grouping_of, networks_of
from keras_tag.selection.frequency import sorted_draws
from keras_tag.selection.grouping import Grouping
from keras_tag.selection.problem import build_problem
from keras_tag.selection.scores.closed_form import FloatScore
from keras_tag.selection.select import solve_problem
from keras_tag.selection.task_masks import bits

if TYPE_CHECKING:
    import pandas as pd

_RANDOM_GROUPINGS = 100


@dataclass(frozen=True, eq=False, repr=False)
class Stability:
    """The stability of a grouping.

    Args:
        grouping: The chosen one.
        tasks: The task names, in the order of `together`.
        together: `[num_tasks, num_tasks]`, in which share of the draws the best grouping trains
            both tasks in one network.
        best: Every grouping that was the best one in some draw, with the share of the draws, the
            most frequent first.
        regret: `[replicates]`, how much less the chosen grouping scores than the draw's best one.
            Infinite where no best one can be told (a diagonal that is not positive).
        gain: What choosing is worth by the mean affinities: how much more the chosen grouping
            scores than random groups do on average.

    Example:
        >>> print(keras_tag.stability(tag.affinity(), budget=3))
    """

    grouping: Grouping
    tasks: tuple[str, ...]
    together: np.ndarray
    best: tuple[tuple[Grouping, float], ...]
    regret: np.ndarray
    gain: float
    _scores: FloatScore

    def regret_of(self, grouping: Grouping) -> float:
        """Return how much less a grouping scores than the chosen one, by the mean affinities.

        Args:
            grouping: Of the same tasks.

        Returns:
            The difference, in units of the score; below 0 where the chosen one was chosen by
            lowered affinities (`risk`) and the given one is better by the mean ones.
        """
        tasks = tuple(sorted(self.tasks))
        chosen, other = networks_of(self.grouping, tasks), networks_of(grouping, tasks)
        return self._scores.value(chosen) - self._scores.value(other)

    @property
    def expected_regret(self) -> float:
        """The mean regret over the draws that can be told, in units of the score."""
        told = self.regret[np.isfinite(self.regret)]
        return float(told.mean()) if len(told) else float("inf")

    @property
    def undecided(self) -> float:
        """The share of the draws in which no best grouping can be told."""
        return float(np.mean(np.isinf(self.regret)))

    @property
    def runner_up(self) -> Grouping | None:
        """The grouping that is most often the best one instead; None if there is none."""
        chosen = _key(self.grouping)
        return next((other for other, _ in self.best if _key(other) != chosen), None)

    @property
    def frequency(self) -> float:
        """The share of the draws in which the chosen grouping is the very best one.

        `grouping.frequency` is the share with other helpers allowed.
        """
        chosen = _key(self.grouping)
        return sum(share for other, share in self.best if _key(other) == chosen)

    def confidence(self, tolerance: float = 0.05) -> float:
        """Return how often the chosen grouping is as good as the best one, or nearly.

        Args:
            tolerance: What counts as nearly: a regret of at most this share of `gain`.

        Returns:
            A share of the draws. Many groupings may be nearly equally good: then this is close to
            1 though none of them is the very best one often.
        """
        return float(np.mean(self.regret <= tolerance * max(self.gain, 0.0)))

    def to_frame(self) -> "pd.DataFrame":
        """Return `together` as a square `pandas.DataFrame`."""
        import pandas as pd

        return pd.DataFrame(self.together, index=list(self.tasks), columns=list(self.tasks))

    def __str__(self) -> str:
        share = f" ({self.expected_regret / self.gain:.1%} of it)" if self.gain > 0 else ""
        lines = [
            str(self.grouping),
            f"Of {len(self.regret)} draws of the affinities within their errors:",
            f"  the very best grouping in {self.frequency:.0%}, within 5% of the gain over random "
            f"groups in {self.confidence():.0%}",
            f"  gain over random groups {self.gain:.4g}, expected regret {self.expected_regret:.2g}"
            + share,
        ]
        if self.undecided:
            lines.append(f"  undecided (a diagonal that is not positive) in {self.undecided:.0%}")
        if self.runner_up is not None:
            other = next(s for g, s in self.best if g is self.runner_up)
            groups = " | ".join(", ".join(group) for group in self.runner_up.groups)
            lines.append(f"  runner-up, best in {other:.0%}: {groups}")
        return "\n".join(lines)

    __repr__ = __str__


@lists_arguments(ChoiceArguments)
def stability(
    affinity: Affinity,
    budget: float,
    *,
    replicates: int = 200,
    seed: int = 0,
    **choice: Unpack[ChoiceArguments],
) -> Stability:
    """Choose groups, and again for every draw of affinities within their errors.

    A draw takes about a millisecond with up to 11 tasks and 40 milliseconds with 15. With more
    tasks every draw is a `select_groups`.

    Args:
        affinity: With standard errors of all pairs that the score reads.
        budget: As for `select_groups`.
        replicates: How many draws.
        seed: Of the draws; the same seed gives the same answer, on any order of the tasks.
        **choice: The other arguments of `select_groups`: `score` ("members" or "partners"),
            `alone`, `overlap`, `min_size`, ... With `risk` the judged grouping is chosen; the best
            grouping of a draw is always chosen without.

    Returns:
        A `Stability`.

    Raises:
        ValueError: No standard errors, `replicates` below 1, or see `select_groups`.
    """
    if isinstance(replicates, bool) or not isinstance(replicates, int) or replicates < 1:
        raise ValueError(f"Expected `replicates` to be an integer >= 1. Received: {replicates!r}.")
    asked = Choice.of("stability", choice)
    if callable(asked.score):
        raise ValueError(
            "Expected `score` to be 'members' or 'partners'. Received: a function, which does not "
            "read the affinities, so nothing about it is unsure."
        )
    errors = check_errors(affinity, "stability", asked.score)
    problem, names = build_problem(affinity, asked)
    grouping, _ = solve_problem(problem, names, budget)
    settings = {"budget": budget, **asked.settings()}
    tasks = problem.tasks
    mean, draws = sorted_draws(affinity, errors, replicates, seed)
    judge = DrawnChoice(problem, asked, budget)
    chosen = networks_of(grouping, tasks)
    regret, found = np.full(replicates, np.inf), Counter[Networks]()
    together, as_chosen = np.zeros(mean.shape), 0
    rounding = 1e-9 * max(1e-300, abs(grouping.objective))
    scored = {k: scores for k, draw in enumerate(draws) if (scores := judge.scores(draw))}
    if judge.resamples_quickly:
        best_ones = judge.choose(list(scored.values()))
    else:
        asked = replace(asked, risk=0.0)
        best_ones = (_select(tasks, draws[k], scored[k], budget, asked) for k in scored)
    for (replicate, scores), (best, value) in zip(scored.items(), best_ones, strict=True):
        lost = value - scores.value(chosen)
        regret[replicate] = lost if lost > rounding else 0.0
        if lost > rounding and judge.resamples_quickly:
            lost = value - judge.value_served(scores, chosen)
        as_chosen += bool(lost <= rounding)
        found[best] += 1
        together += _pairs(best, len(tasks))
    told = max(1, sum(found.values()))
    place = np.array([tasks.index(task) for task in affinity.tasks])
    by_means = judge.scores(mean)
    assert by_means is not None  # `build_problem` has checked this diagonal.
    return Stability(
        replace(
            grouping,
            frequency=as_chosen / replicates,
            replicates=replicates,
            metadata=made_with(settings, affinity),
        ),
        affinity.tasks,
        together[np.ix_(place, place)] / told,
        tuple(
            (grouping_of(networks, tasks), n / replicates) for networks, n in found.most_common()
        ),
        regret,
        _gain(by_means, chosen, tasks),
        by_means,
    )


def _select(
    tasks: tuple[str, ...], draw: np.ndarray, scores: FloatScore, budget: float, choice: Choice
) -> tuple[Networks, float]:
    """Return the best networks by a draw, and their value, where groups can't be listed."""
    affinity = Affinity.from_array(draw, tasks, rows="source")
    problem, _ = build_problem(affinity, choice)
    networks = networks_of(solve_problem(problem, tasks, budget)[0], tasks)
    return networks, scores.value(networks)


def _key(grouping: Grouping) -> Networks:
    return networks_of(grouping, tuple(sorted(grouping.tasks)))


def _pairs(networks: Networks, num_tasks: int) -> np.ndarray:
    """Return `[num_tasks, num_tasks]`, 1 where some network trains both."""
    together = np.zeros((num_tasks, num_tasks))
    for trained, _ in networks:
        together[np.ix_(bits(trained), bits(trained))] = 1
    return together


@lru_cache
def _random_networks(tasks: tuple[str, ...], number: int) -> list[Networks]:
    seeds = range(_RANDOM_GROUPINGS)
    return [networks_of(random_groups(tasks, number, seed), tasks) for seed in seeds]


def _gain(scores: FloatScore, chosen: Networks, tasks: tuple[str, ...]) -> float:
    """Return how much better the chosen networks are than random partitions into as many."""
    values = [scores.value(networks) for networks in _random_networks(tasks, len(chosen))]
    allowed = [value for value in values if np.isfinite(value)]
    if not allowed:
        everything = (1 << len(tasks)) - 1
        allowed = [scores.value(((everything, everything),))]
    return scores.value(chosen) - float(np.mean(allowed))
