"""The next groups to train: a pure function of outcomes, of what is running and of limits.

This module knows arrays only. It never imports TensorFlow.
"""

import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from keras_tag.affinity import Affinity
from keras_tag.search.ledger import Outcome
from keras_tag.search.objectives import LossScale, Objective
from keras_tag.selection import Grouping, GroupScores, groups_to_train, select_groups
from keras_tag.selection.arguments.affinities import affinity_shares
from keras_tag.selection.arguments.choice import Choice
from keras_tag.selection.few_trainings.gain_model import GainModel, Prior
from keras_tag.selection.problem import MOST_TASKS_LISTED
from keras_tag.selection.task_masks import mask_of

# For the groups to train next, where there are too many to be listed. The proof that none are
# better may take hours where affinities are noise; the groups themselves are found at once.
_SECONDS = 20.0


@dataclass(frozen=True)
class Limits:
    """What a search may cost.

    Args:
        trainings: The most trainings beside the joint run and the baselines.
        max_cost: The most joint runs, everything counted; None: any.
        timeout: The most seconds of training; no training begins after that. None: any.
        on_timeout: Whether a training that runs then is finished, or stopped at an epoch's end.
        max_retries: How often a training that failed is tried again.
    """

    trainings: int
    max_cost: float | None = None
    timeout: float | None = None
    on_timeout: Literal["finish", "stop"] = "finish"
    max_retries: int = 0

    def allow(self, outcomes: Sequence[Outcome], running: int = 0) -> int:
        """Return how many further trainings may begin now.

        Args:
            outcomes: All trainings that ended.
            running: How many have begun and not ended.
        """
        counted = sum(outcome.kind == "searched" for outcome in outcomes)
        return min(self.trainings - counted - running, self.room(outcomes, running))

    def room(self, outcomes: Sequence[Outcome], running: int = 0) -> int:
        """Return for how many further trainings there is time and cost left.

        Args:
            outcomes: All trainings that ended.
            running: How many have begun and not ended.
        """
        if self.timeout is not None and sum(o.seconds for o in outcomes) >= self.timeout:
            return 0
        if self.max_cost is None:
            return sys.maxsize
        others = [o.cost for o in outcomes if o.kind != "joint" and o.status == "done"]
        expected = float(np.mean(others)) if others else 1.0
        left = self.max_cost - sum(outcome.cost for outcome in outcomes) - running * expected
        return max(int(left / max(expected, 1e-9) + 1e-9), 0)


@dataclass(frozen=True)
class Problem:
    """What is searched for.

    Args:
        tasks: All tasks.
        budget: How many networks may be served.
        objectives: By task.
        constraints: As in `select_groups`.
        singles: Whether every task is trained alone, too.
        prior: What is believed before any training; None: what is shipped.
    """

    tasks: tuple[str, ...]
    budget: int
    objectives: Mapping[str, Objective]
    constraints: Mapping[str, Any] = field(default_factory=dict)
    singles: bool = False
    prior: Prior | None = None

    @property
    def weights(self) -> dict[str, float]:
        """How much every task counts."""
        given = self.constraints.get("weights") or {}
        return {task: given.get(task, 1.0) for task in self.tasks}

    def next_groups(
        self,
        affinity: Affinity,
        outcomes: Sequence[Outcome],
        limits: Limits,
        running: Sequence[tuple[str, ...]] = (),
    ) -> tuple[tuple[str, ...], ...]:
        """Return the groups to train next; none when it is enough, or limits are reached.

        Args:
            affinity: What the joint run measured.
            outcomes: Trainings that ended, in the order of their numbers, the joint run first.
            limits: What the search may cost.
            running: Groups whose training has not ended. They are believed at their expectation.
        """
        seen = {frozenset(outcome.group) for outcome in outcomes} | set(map(frozenset, running))
        if self.singles:
            lone = [(task,) for task in self.tasks if frozenset([task]) not in seen]
            if lone:
                return tuple(lone[: limits.room(outcomes, len(running))])
        left = limits.allow(outcomes, len(running))
        if left <= 0:
            return ()
        scales = self.scales(outcomes)
        known = self.losses(outcomes, scales)
        usable = usable_affinity(affinity)
        for group in running:
            known[group] = expected_losses(usable, known, group, self.prior or Prior())
        asked = groups_to_train(
            usable,
            known,
            self.budget,
            trainings=len(known) - 1 + left,
            prior=self.prior,
            time_limit=None if len(self.tasks) <= MOST_TASKS_LISTED else _SECONDS,
            **self.constraints,
        )
        return asked[:left]

    def choose(self, outcomes: Sequence[Outcome]) -> Grouping:
        """Return the best grouping of the networks that exist.

        Args:
            outcomes: All trainings.

        Raises:
            ValueError: They can't make a grouping under the constraints.
        """
        reached = {
            outcome.group: {
                task: self.objectives[task].inside(value)
                for task, value in outcome.objective.items()
            }
            for outcome in outcomes
            if outcome.status == "done"
        }
        return select_groups(GroupScores(reached, sense="min"), self.budget, **self.constraints)

    def best(self, outcomes: Sequence[Outcome]) -> float | None:
        """Return the best sum of objectives; None where the networks make no grouping.

        Args:
            outcomes: All trainings.
        """
        try:
            return float(self.choose(outcomes).objective)
        except ValueError:
            return None

    def beaten(self, outcome: Outcome, outcomes: Sequence[Outcome]) -> bool:
        """Return whether a network can't be chosen, because one that does all it does is better.

        Args:
            outcome: Of the network.
            outcomes: All trainings.
        """
        if not self.constraints.get("overlap", True):
            return False
        # The joint run and lone tasks are trained also where they may not be served.
        allowed = Choice(**self.constraints).constraints(self.tasks).allows

        def inside(of: Outcome, task: str) -> float:
            return self.objectives[task].inside(of.objective[task])

        return any(
            set(other.group) > set(outcome.group)
            and allowed(mask_of(map(self.tasks.index, other.group)))
            and all(inside(other, task) < inside(outcome, task) for task in outcome.group)
            for other in outcomes
            if other.status == "done" and outcome.status == "done"
        )

    def scales(self, outcomes: Sequence[Outcome]) -> dict[str, LossScale]:
        """Return how each task's values are taken for positive losses.

        Args:
            outcomes: All trainings, the joint run first.
        """
        done = [outcome for outcome in outcomes if outcome.status == "done"]
        return {
            task: LossScale.of(
                self.objectives[task],
                [o.objective[task] for o in done if task in o.objective],
                done[0].objective[task],
            )
            for task in self.tasks
        }

    def losses(
        self, outcomes: Sequence[Outcome], scales: Mapping[str, LossScale]
    ) -> dict[tuple[str, ...], dict[str, float]]:
        """Return positive losses by group; of a failed group, the worst that its tasks reached.

        Args:
            outcomes: All trainings.
            scales: As `scales` gives them.
        """
        done = [outcome for outcome in outcomes if outcome.status == "done"]
        known = {
            o.group: {task: scales[task].loss(value) for task, value in o.objective.items()}
            for o in done
        }
        worst = {
            task: max(losses[task] for losses in known.values() if task in losses)
            for task in self.tasks
        }
        for outcome in outcomes:
            if outcome.status == "failed":
                known[outcome.group] = {task: worst[task] for task in outcome.group}
        return known


def expected_losses(
    affinity: Affinity,
    known: Mapping[tuple[str, ...], Mapping[str, float]],
    group: tuple[str, ...],
    prior: Prior,
) -> dict[str, float]:
    """Return what a group is believed to reach, as positive losses.

    Args:
        affinity: With usable shares.
        known: Positive losses by group, the joint run's among them.
        group: The group.
        prior: What is believed before any training.
    """
    tasks = affinity.tasks
    joint = next(losses for own, losses in known.items() if set(own) == set(tasks))
    gains = log_ratios(tasks, known.values(), joint)
    model = GainModel(affinity_shares(affinity), prior, np.isfinite(gains), gains)
    mean = model.predict(np.array([[task in group for task in tasks]]))[0][0]
    return {
        task: float(joint[task] * np.exp(mean[k])) for k, task in enumerate(tasks) if task in group
    }


def log_ratios(
    tasks: Sequence[str], losses: Iterable[Mapping[str, float]], joint: Mapping[str, float]
) -> np.ndarray:
    """Return `[num_networks, num_tasks]`: log ratios of losses to those of the joint run.

    Args:
        tasks: The tasks.
        losses: By task, of each network; a task that it does not have is NaN.
        joint: The joint run's.
    """
    rows = [[np.log(own[t] / joint[t]) if t in own else np.nan for t in tasks] for own in losses]
    return np.array(rows).reshape(-1, len(tasks))


def usable_affinity(affinity: Affinity) -> Affinity:
    """Return shares of a task's own progress, known or not.

    Where they can't be known (a task whose own look-ahead did not help it, a pair that was never
    measured), they are the mean of the others, so that what is believed is the prior's.

    Args:
        affinity: As measured.
    """
    count = len(affinity.tasks)
    own = np.diag(affinity.mean)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = np.where(own > 0, affinity.mean / own, np.nan)
    others = shares[~np.eye(count, dtype=bool)]
    known = others[np.isfinite(others)]
    shares = np.where(np.isfinite(shares), shares, known.mean() if len(known) else 0.0)
    np.fill_diagonal(shares, 1.0)
    return Affinity.from_array(shares, affinity.tasks, rows="source")


def warn_of_unusable(affinity: Affinity) -> None:
    """Warn of tasks whose own look-ahead did not help them, or was not measured."""
    own = np.diag(affinity.mean)
    unusable = [task for task, z in zip(affinity.tasks, own, strict=True) if not z > 0]
    if unusable:
        warnings.warn(
            f"The updates of {unusable} did not help these tasks themselves when they were "
            "measured, so their affinities say nothing. For them the search goes by what the "
            "trainings reach, and by what is known of tasks in general.",
            stacklevel=3,
        )
