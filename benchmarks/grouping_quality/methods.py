"""Every way to choose groups: what it predicts, and what the exact solver makes of it.

A method is asked for one seed of one set; it sees what it would have measured, never a test loss.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from benchmarks.grouping_quality.affinity_table import AffinityTable
from benchmarks.grouping_quality.group_table import GroupTable
from benchmarks.grouping_quality.powers_of_size import shared_step, shortlist
from benchmarks.grouping_quality.predicted_gain import predicted_gain
from benchmarks.grouping_quality.trained_pairs import extrapolate_pairs
from keras_tag import Affinity, GroupScores, budget_curve, select_groups
from keras_tag.selection import Grouping, groups_to_train
from keras_tag.selection.few_trainings.gain_model import Prior


@dataclass(frozen=True, eq=False)
class Case:
    """One seed of one set.

    Args:
        table: All groups' losses.
        affinities: What joint runs measured.
        seed: Position of the seed in both.
        prior: What `groups_to_train` believes before, learnt from other sets.
    """

    table: GroupTable
    affinities: AffinityTable
    seed: int
    prior: Prior = field(default_factory=Prior)

    def affinity(self, kind: str) -> Affinity | None:
        """The affinity of this seed's joint run, if this kind was measured for it."""
        means = self.affinities.means.get(kind)
        if means is None or self.seed >= len(means):
            return None
        return Affinity.from_array(means[self.seed], self.table.tasks, rows="source")


class Choice(NamedTuple):
    """What a method makes of a case.

    Args:
        predicted: `[num_groups, num_tasks]`, higher is better, NaN outside a group.
        groupings: By budget.
        trained: By budget: how many groups were trained to choose among them; None if none.
    """

    predicted: np.ndarray
    groupings: dict[int, Grouping]
    trained: dict[int, int] | None = None


# None where nothing was measured.
Method = Callable[[Case, Sequence[int]], Choice | None]


def by_affinity(kind: str, score: str | float, min_size: int = 1) -> Method:
    """TAG: "members", "partners", or the power of `shared_step`; groups of so many at least."""

    def choose(case: Case, budgets: Sequence[int]) -> Choice | None:
        affinity = case.affinity(kind)
        if affinity is None:
            return None
        if score != "partners" and (np.diag(affinity.mean) <= 0).any():
            # Scores that divide by the diagonal refuse it: Adam's momentum can make a task's own
            # step hurt the task ("optimizer").
            return None
        groups = case.table.groups.astype(float)
        size = groups.sum(1, keepdims=True)
        if score == "partners":
            matrix = affinity.mean - np.diag(np.diag(affinity.mean))
            predicted = groups @ matrix / np.maximum(size - 1, 1)
            # A lone task is not allowed, nor may it be used to make up the number.
            predicted[size[:, 0] == 1] = matrix.min() - 1
            curve = budget_curve(affinity, budgets, score="partners")
        else:
            power = 1.0 if score == "members" else float(score)
            predicted = groups @ (affinity.mean / np.diag(affinity.mean)) / size**power
            named = "members" if score == "members" else shared_step(affinity, power)
            curve = budget_curve(affinity, budgets, score=named, min_size=min_size)
            # Nor are smaller groups used to make up the number.
            predicted[size[:, 0] < min_size] = predicted.min() - 1
        return Choice(np.where(case.table.groups, predicted, np.nan), curve)

    return choose


def by_prediction(kind: str) -> Method:
    """TAG with the losses that the prior of `groups_to_train` predicts; nothing is trained.

    The losses are the joint run's means over its epochs: of training, or of the validation split
    where probes look at it.
    """

    def choose(case: Case, budgets: Sequence[int]) -> Choice | None:
        affinity = case.affinity(kind)
        if affinity is None or (np.diag(affinity.mean) <= 0).any():
            return None
        by_epoch = case.affinities.validation if "validation" in kind else case.affinities.train
        score = predicted_gain(affinity, np.nanmean(by_epoch[case.seed], 0), case.prior)
        predicted = np.full(case.table.groups.shape, np.nan)
        for row, group in enumerate(case.table.groups):
            members = tuple(
                task for task, inside in zip(affinity.tasks, group, strict=True) if inside
            )
            predicted[row, group] = [score(members, task) for task in members]
        return Choice(predicted, budget_curve(affinity, budgets, score=score))

    return choose


def hoa(case: Case, budgets: Sequence[int]) -> Choice:
    """Pairs and lone tasks trained, larger groups extrapolated."""
    measured = measured_scores(case, case.table.groups.sum(1) <= 2)
    scores = extrapolate_pairs(measured)
    predicted = np.full(case.table.groups.shape, np.nan)
    index = {task: t for t, task in enumerate(case.table.tasks)}
    for entry in scores.entries:
        row = sum(1 << index[task] for task in entry.tasks) - 1
        for task, loss in entry.scores.items():
            predicted[row, index[task]] = -loss
    return Choice(predicted, budget_curve(scores, budgets))


def exhaustive(case: Case, budgets: Sequence[int]) -> Choice:
    """All groups trained."""
    scores = measured_scores(case, np.ones(len(case.table.groups), bool))
    return Choice(-case.table.validation[case.seed], budget_curve(scores, budgets))


def other_seeds(case: Case, budgets: Sequence[int]) -> Choice:
    """All groups trained, but for the other seeds: what of the optimum is not luck."""
    others = [k for k in range(case.table.num_seeds) if k != case.seed]
    losses = np.exp(np.log(case.table.validation[others]).mean(0))
    scores = _scores(case.table, losses, np.ones(len(losses), bool))
    return Choice(-losses, budget_curve(scores, budgets))


def by_shortlist(kind: str, powers: Sequence[float]) -> Method:
    """TAG proposes some groups, these are trained, and their losses decide."""

    def choose(case: Case, budgets: Sequence[int]) -> Choice | None:
        affinity = case.affinity(kind)
        if affinity is None or (np.diag(affinity.mean) <= 0).any():
            return None
        groupings, trained = {}, {}
        for budget in budgets:
            rows = rows_of(case.table, shortlist(affinity, budget, powers=powers))
            groupings[budget] = select_groups(measured_scores(case, rows), budget)
            trained[budget] = len(rows)
        predicted = by_affinity(kind, 0.5)(case, budgets[:1])
        assert predicted is not None
        return Choice(predicted.predicted, groupings, trained)

    return choose


def by_trainings(kind: str, per_budget: int = 4) -> Method:
    """`groups_to_train` asks for groups round by round, and their losses decide."""

    def choose(case: Case, budgets: Sequence[int]) -> Choice | None:
        affinity = case.affinity(kind)
        if affinity is None or (np.diag(affinity.mean) <= 0).any():
            return None
        found = {}
        for budget in budgets:
            rows = [len(case.table.groups) - 1]  # The joint run.
            while asked := groups_to_train(
                affinity,
                measured_scores(case, rows),
                budget,
                trainings=per_budget * budget,
                prior=case.prior,
            ):
                rows += rows_of(case.table, asked)
            found[budget] = rows
        return _best_trained(case, found)

    return choose


def random_trainings(per_budget: int = 4) -> Method:
    """As many groups as `groups_to_train` may ask for at most, but drawn: what trying does."""

    def choose(case: Case, budgets: Sequence[int]) -> Choice:
        joint = len(case.table.groups) - 1
        found = {}
        for budget in budgets:
            draw = np.random.default_rng([case.seed, budget])
            rows = draw.choice(joint, per_budget * budget, replace=False)
            found[budget] = [joint, *rows.tolist()]
        return _best_trained(case, found)

    return choose


def _best_trained(case: Case, rows: dict[int, list[int]]) -> Choice:
    """The best of the groups trained for each budget, of which the joint run was for nothing."""
    groupings = {b: select_groups(measured_scores(case, found), b) for b, found in rows.items()}
    # Nothing that was not trained, or for another budget only, may make up the number.
    always = sorted(set.intersection(*map(set, rows.values())))
    predicted = np.where(case.table.groups, -np.inf, np.nan)
    predicted[always] = -case.table.validation[case.seed][always]
    return Choice(predicted, groupings, {b: len(found) - 1 for b, found in rows.items()})


def rows_of(table: GroupTable, groups: Iterable[Sequence[str]]) -> list[int]:
    """Which rows of a table some groups are."""
    index = {task: t for t, task in enumerate(table.tasks)}
    return [table.mask_row(sum(1 << index[task] for task in group)) for group in groups]


def measured_scores(case: Case, which: np.ndarray | list[int]) -> GroupScores:
    """The validation losses of some groups, as a user who trained them would have them."""
    return _scores(case.table, case.table.validation[case.seed], which)


def _scores(table: GroupTable, losses: np.ndarray, which: np.ndarray | list[int]) -> GroupScores:
    entries = {}
    for row in np.arange(len(table.groups))[which]:
        members = np.flatnonzero(table.groups[row])
        entries[tuple(table.tasks[t] for t in members)] = {
            table.tasks[t]: float(losses[row, t]) for t in members
        }
    return GroupScores(entries, sense="min")


METHODS: MappingProxyType[str, Method] = MappingProxyType(
    {
        "exhaustive": exhaustive,
        "best of other seeds": other_seeds,
        "HOA": hoa,
        "TAG as published": by_affinity("gradient-10", "partners"),
        "partners, every 1": by_affinity("gradient-1", "partners"),
        "partners, every 50": by_affinity("gradient-50", "partners"),
        "partners, optimizer": by_affinity("optimizer-10", "partners"),
        "partners, first order": by_affinity("first_order-10", "partners"),
        "cosine": by_affinity("cosine-10", "partners"),
        "members": by_affinity("gradient-10", "members"),
        "members, every 1": by_affinity("gradient-1", "members"),
        "members, every 50": by_affinity("gradient-50", "members"),
        "members, optimizer": by_affinity("optimizer-10", "members"),
        "members, first order": by_affinity("first_order-10", "members"),
        "members, cosine": by_affinity("cosine-10", "members"),
        "shared step": by_affinity("gradient-10", 0.5),
        "shared step, power 0.7": by_affinity("gradient-10", 0.7),
        "shared step, power 0.3": by_affinity("gradient-10", 0.3),
        "shared step, every 50": by_affinity("gradient-50", 0.5),
        "shortlist": by_shortlist("gradient-10", (1.0, 0.75, 0.5, 0.25, 0.0)),
        "members, three at least": by_affinity("gradient-10", "members", 3),
        "shared step, three at least": by_affinity("gradient-10", 0.5, 3),
        "members, validation": by_affinity("validation-10", "members"),
        "members, three at least, validation": by_affinity("validation-10", "members", 3),
        "shared step, validation": by_affinity("validation-10", 0.5),
        "shared step, three at least, validation": by_affinity("validation-10", 0.5, 3),
        "predicted losses": by_prediction("gradient-10"),
        "predicted losses, every 50": by_prediction("gradient-50"),
        "predicted losses, validation": by_prediction("validation-10"),
        "random groups trained": random_trainings(),
        "groups to train": by_trainings("gradient-10"),
        "groups to train, validation": by_trainings("validation-10"),
        "groups to train, 3 b, validation, every 50": by_trainings("validation-50", 3),
    }
)
