"""How sure a choice of groups is, given how sure the affinities are.

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
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_tag.affinity import Affinity
from keras_tag.baselines import random_groups
from keras_tag.selection.arguments.lone_tasks import lone_scores
from keras_tag.selection.arguments.robust_affinity import check_errors
from keras_tag.selection.grouping import Grouping
from keras_tag.selection.select import build_problem, select_groups
from keras_tag.selection.solver.columns import bits, mask_of
from keras_tag.selection.solver.listed_groups import GroupTable

if TYPE_CHECKING:
    import pandas as pd

# Units of budget times different costs up to which the subset programme is the quick way.
_MOST_UNITS = 100
_RANDOM_GROUPINGS = 100

# A network as bit masks over the sorted tasks: whom it trains, whom it serves.
_Networks = tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False, repr=False)
class Stability:
    """How sure a grouping is.

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
    _scores: "_Scores"

    def regret_of(self, grouping: Grouping) -> float:
        """By the mean affinities, how much less a grouping scores than the chosen one.

        Args:
            grouping: Of the same tasks.

        Returns:
            The difference, in units of the score; below 0 where the chosen one was chosen by
            lowered affinities (`risk`) and the given one is better by the mean ones.
        """
        tasks = tuple(sorted(self.tasks))
        chosen, other = _networks(self.grouping, tasks), _networks(grouping, tasks)
        return self._scores.of(chosen) - self._scores.of(other)

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
        """In which share of the draws the chosen grouping is the very best one."""
        chosen = _key(self.grouping)
        return sum(share for other, share in self.best if _key(other) == chosen)

    def confidence(self, tolerance: float = 0.05) -> float:
        """How often the chosen grouping is as good as the best one, or nearly.

        Args:
            tolerance: What counts as nearly: a regret of at most this share of `gain`.

        Returns:
            A share of the draws. Many groupings may be nearly equally good: then this is close to
            1 though none of them is the very best one often.
        """
        return float(np.mean(self.regret <= tolerance * max(self.gain, 0.0)))

    def to_frame(self) -> "pd.DataFrame":
        """`together` as a square `pandas.DataFrame`."""
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
        unsure = [
            (abs(self.together[i, j] - 0.5), self.tasks[i], self.tasks[j], self.together[i, j])
            for i in range(len(self.tasks))
            for j in range(i)
            if 0 < self.together[i, j] < 1
        ]
        if unsure:
            named = [f"{a} + {b} ({share:.0%})" for _, a, b, share in sorted(unsure)[:3]]
            lines.append(f"  least sure to be together or apart: {'; '.join(named)}")
        return "\n".join(lines)

    __repr__ = __str__


def stability(
    affinity: Affinity,
    budget: float,
    *,
    replicates: int = 200,
    seed: int = 0,
    risk: float = 0.0,
    **choice: Any,
) -> Stability:
    """Choose groups, and again for every draw of affinities within their errors.

    Up to 15 tasks take a few milliseconds a draw; with more, every draw is a `select_groups`.

    Args:
        affinity: With standard errors of all pairs that the score reads.
        budget: As for `select_groups`.
        replicates: How many draws.
        seed: Of the draws; the same seed gives the same answer, on any order of the tasks.
        risk: As for `select_groups`: how the judged grouping is chosen. The best grouping of a
            draw is always chosen without.
        **choice: Other arguments of `select_groups`: `score` ("members" or "partners"), `alone`,
            `overlap`, `min_size`, `max_size`, `weights`, `costs`, `must_link`, `cannot_link`.

    Returns:
        A `Stability`.

    Raises:
        ValueError: No standard errors, `replicates` below 1, or see `select_groups`.
    """
    if isinstance(replicates, bool) or not isinstance(replicates, int) or replicates < 1:
        raise ValueError(f"Expected `replicates` to be an integer >= 1. Received: {replicates!r}.")
    settings = {
        "score": "members", "alone": None, "overlap": True, "min_size": 1, "max_size": None,
        "weights": None, "costs": None, "must_link": (), "cannot_link": (), **choice,
    }  # fmt: skip
    if callable(settings["score"]):
        raise ValueError(
            "Expected `score` to be 'members' or 'partners'. Received: a function, which does not "
            "read the affinities, so nothing about it is unsure."
        )
    errors = check_errors(affinity, "stability", settings["score"])
    grouping = select_groups(affinity, budget, risk=risk, **settings)
    # Sorted, so that the order of the caller's tasks plays no part.
    tasks = tuple(sorted(affinity.tasks))
    index = np.array([affinity.tasks.index(task) for task in tasks])
    mean = affinity.mean[np.ix_(index, index)]
    draws = mean + errors.take(index).draw(replicates, np.random.default_rng(seed))
    judge = _Judge(affinity, tasks, budget, settings)
    chosen = _networks(grouping, tasks)
    regret, found = np.full(replicates, np.inf), Counter[_Networks]()
    together = np.zeros(mean.shape)
    rounding = 1e-9 * max(1e-300, abs(grouping.objective))
    for replicate, draw in enumerate(draws):
        scores = judge.scores(draw)
        if scores is None:
            continue
        best, value = judge.choose(scores, draw)
        lost = value - scores.of(chosen)
        regret[replicate] = lost if lost > rounding else 0.0
        found[best] += 1
        together += _pairs(best, len(tasks))
    told = max(1, sum(found.values()))
    place = np.array([tasks.index(task) for task in affinity.tasks])
    scores = judge.scores(mean)
    assert scores is not None  # `select_groups` has divided by this diagonal.
    return Stability(
        grouping,
        affinity.tasks,
        together[np.ix_(place, place)] / told,
        tuple((_grouping(networks, tasks), n / replicates) for networks, n in found.most_common()),
        regret,
        _gain(scores, chosen, len(tasks)),
        scores,
    )


@dataclass(frozen=True, eq=False)
class _Scores:
    """The group scores of one draw: the closed form of `selection.group_score`, in floats."""

    terms: np.ndarray
    lone: np.ndarray
    left_out: int

    def of(self, networks: _Networks) -> float:
        """The value of a set of networks; minus infinity with a lone task that is forbidden."""
        return float(sum(self._of_network(trained, served) for trained, served in networks))

    def _of_network(self, trained: int, served: int) -> float:
        members, targets = bits(trained), bits(served)
        if len(members) == 1:
            return float(self.lone[members[0]])
        total = self.terms[np.ix_(members, targets)].sum()
        return float(total) / (len(members) - self.left_out)

    def table(self, member: np.ndarray) -> np.ndarray:
        """`[num_groups, num_tasks]`, what each task scores in each group, from who is a member."""
        sizes = member.sum(axis=1)
        scores: np.ndarray = member @ self.terms / np.maximum(sizes - self.left_out, 1)[:, None]
        single = np.flatnonzero(sizes == 1)
        scores[single] = np.where(member[single] > 0, self.lone, 0.0)
        return scores


class _Judge:
    """Chooses groups for many affinities of the same tasks, under the same constraints."""

    def __init__(
        self, affinity: Affinity, tasks: tuple[str, ...], budget: float, settings: dict[str, Any]
    ) -> None:
        self._tasks, self._budget, self._settings = tasks, budget, settings
        problem, _ = build_problem(affinity, **settings)
        self._weights = np.ones(len(tasks))
        for task, weight in (settings["weights"] or {}).items():
            self._weights[tasks.index(task)] = weight
        self._overlap = problem.constraints.overlap
        self._whole_budget = problem.whole_budget(budget)
        self._groups = np.zeros(0, np.int64)
        if isinstance(problem.source, GroupTable):
            self._list(problem.source)

    def _list(self, table: GroupTable) -> None:
        costs, level = np.unique(np.array(table.costs, np.int64), return_inverse=True)
        # More budget than a network of the dearest kind for every task buys nothing.
        self._whole_budget = min(self._whole_budget, len(self._tasks) * int(costs.max(initial=0)))
        if self._whole_budget * len(costs) > _MOST_UNITS:
            return
        self._groups = np.array(table.groups, np.int64)
        self._level_cost, self._level = costs, level.astype(np.int64)
        member = self._groups[:, None] >> np.arange(len(self._tasks)) & 1
        self._member = member.astype(np.float64)

    def scores(self, matrix: np.ndarray) -> _Scores | None:
        """The scores by one draw; None if it leaves a diagonal that can't be divided by."""
        score, diagonal = self._settings["score"], np.diagonal(matrix)
        if score == "members":
            if not (diagonal > 0).all():
                return None
            terms = matrix / diagonal
        else:
            terms = np.where(np.eye(len(matrix), dtype=bool), 0.0, matrix)
        lone = lone_scores(self._settings["alone"], score, self._tasks, matrix)
        alone = np.array([-np.inf if value is None else value for value in lone])
        # Forbidden stays forbidden with weight 0.
        weighted = np.where(np.isinf(alone), alone, 0.0)
        np.multiply(alone, self._weights, out=weighted, where=~np.isinf(alone))
        return _Scores(terms * self._weights, weighted, int(score == "partners"))

    def choose(self, scores: _Scores, matrix: np.ndarray) -> tuple[_Networks, float]:
        """The best networks by one draw, and their value."""
        if not len(self._groups):
            draw = Affinity(self._tasks, matrix, np.where(np.isnan(matrix), 0, 1))
            networks = _networks(select_groups(draw, self._budget, **self._settings), self._tasks)
            return networks, scores.of(networks)
        from keras_tag.resampling.subset_programme import best_cover

        chosen, served = np.full((2, len(self._tasks)), -1, np.int64)
        value = best_cover(
            self._groups,
            scores.table(self._member),
            self._level,
            self._level_cost,
            self._whole_budget,
            self._overlap,
            chosen,
            served,
        )
        rows = chosen[chosen >= 0]
        pairs = zip(self._groups[rows].tolist(), served[: len(rows)].tolist(), strict=True)
        return tuple(sorted(pairs)), value


def _networks(grouping: Grouping, tasks: tuple[str, ...]) -> _Networks:
    place = {task: position for position, task in enumerate(tasks)}
    return tuple(
        sorted(
            (mask_of([place[t] for t in group]), mask_of([place[t] for t in grouping.served(i)]))
            for i, group in enumerate(grouping.groups)
        )
    )


def _grouping(networks: _Networks, tasks: tuple[str, ...]) -> Grouping:
    groups = [tuple(tasks[i] for i in bits(trained)) for trained, _ in networks]
    serves = {tasks[i]: index for index, (_, served) in enumerate(networks) for i in bits(served)}
    return Grouping.from_groups(groups, {task: serves[task] for task in tasks})


def _key(grouping: Grouping) -> _Networks:
    return _networks(grouping, tuple(sorted(grouping.tasks)))


def _pairs(networks: _Networks, num_tasks: int) -> np.ndarray:
    """`[num_tasks, num_tasks]`, whether some network trains both."""
    together = np.zeros((num_tasks, num_tasks))
    for trained, _ in networks:
        together[np.ix_(bits(trained), bits(trained))] = 1
    return together


@lru_cache
def _random_networks(num_tasks: int, number: int) -> tuple[_Networks, ...]:
    names = [str(task) for task in range(num_tasks)]
    drawn = []
    for seed in range(_RANDOM_GROUPINGS):
        groups = random_groups(names, number, seed).groups
        masks = [mask_of([int(task) for task in group]) for group in groups]
        drawn.append(tuple((mask, mask) for mask in masks))
    return tuple(drawn)


def _gain(scores: _Scores, chosen: _Networks, num_tasks: int) -> float:
    """How much better the chosen networks are than random partitions into as many groups."""
    values = [scores.of(networks) for networks in _random_networks(num_tasks, len(chosen))]
    allowed = [value for value in values if np.isfinite(value)]
    if not allowed:
        everything = (1 << num_tasks) - 1
        allowed = [scores.of(((everything, everything),))]
    return scores.of(chosen) - float(np.mean(allowed))
