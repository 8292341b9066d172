"""Searches held against the tables, a family of sets left out: what `decided.md` says beforehand.

python -m benchmarks.grouping_quality.left_out           # replay, write left_out.json, print
python -m benchmarks.grouping_quality.left_out --tables  # print the committed results
"""

import argparse
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.grouping_quality.affinity_table import AffinityTable
from benchmarks.grouping_quality.evaluate import BUDGETS, available, load_set_tables, rounded
from benchmarks.grouping_quality.fit_prior import (
    KINDS,
    family_of,
    fit_coefficients,
    fit_prior,
    samples,
)
from benchmarks.grouping_quality.group_table import GroupTable, all_groups, environment
from benchmarks.grouping_quality.replayed_search import (
    Variant,
    best_groups,
    choose,
    had,
    predicted,
    search,
)
from benchmarks.grouping_quality.rule import random_expectation
from benchmarks.grouping_quality.untrained import WAYS, total_loss, with_ratio
from keras_tag import Affinity
from keras_tag.search.ledger import Outcome
from keras_tag.search.objectives import objectives_by_task
from keras_tag.search.outlook import outlook
from keras_tag.search.proposals import Problem, usable_affinity
from keras_tag.selection.few_trainings.gain_model import Prior

FILE = Path(__file__).with_suffix(".json")
PER_NETWORK = (2, 3, 4)
_SHIPPED = "validation-10"
# 90 % of a normal distribution are within so many standard deviations.
_QUANTILE = 1.6449

_AS_SHIPPED = Variant()

Shares = Callable[[np.ndarray, int], np.ndarray]


@dataclass(frozen=True)
class Replay:
    """A way to search.

    Args:
        kind: Of affinities.
        variant: What is otherwise than shipped.
        shares: What is made of the shares and a seed, before they are used.
        by_ratio: Whether the prior mean of what a stranger costs depends on the own-step ratio.
    """

    kind: str = _SHIPPED
    variant: Variant = _AS_SHIPPED
    shares: Shares | None = None
    by_ratio: bool = False


def _shuffled(shares: np.ndarray, seed: int) -> np.ndarray:
    order = np.random.default_rng(seed).permutation(len(shares))
    return shares[np.ix_(order, order)]


def _centred(shares: np.ndarray, seed: int) -> np.ndarray:
    others = ~np.eye(len(shares), dtype=bool)
    received = np.where(others, shares, 0).sum(0) / (len(shares) - 1)
    return np.where(others, shares - received + shares[others].mean(), 1.0)


SEARCHES = {
    "validation probes, as shipped": Replay(),
    "probes on training batches": Replay("gradient-10"),
    "cosine": Replay("cosine-10"),
    "first order": Replay("first_order-10"),
    "no affinity": Replay(shares=lambda shares, _: np.eye(len(shares))),
    "shuffled names": Replay(shares=_shuffled),
    "centred": Replay(shares=_centred),
    "fitted noise": Replay(variant=Variant(fitted_noise=True)),
    "half posterior": Replay(variant=Variant(posterior=0.5)),
    "optimism 0.5": Replay(variant=Variant(optimism=0.5)),
    "own-step ratio": Replay(by_ratio=True),
    "joint luck": Replay(variant=Variant(belief="joint luck")),
    "sizes": Replay(variant=Variant(belief="sizes")),
    "sizes, optimism 0.7": Replay(variant=Variant(belief="sizes", optimism=0.7)),
    "sizes, optimism 0.5": Replay(variant=Variant(belief="sizes", optimism=0.5)),
    "sizes, optimism 0.3": Replay(variant=Variant(belief="sizes", optimism=0.3)),
}
# Whose intervals are held against the groups that were not trained.
COVERED = {
    "as shipped": Variant(),
    "fitted noise": Variant(fitted_noise=True),
    "joint luck": Variant(belief="joint luck"),
    "sizes": Variant(belief="sizes"),
}
# Kinds of affinity by which groups are chosen before any training.
UNTRAINED_KINDS = {"validation probes": _SHIPPED, "training batches": "gradient-10"}
RANDOM = "random groups trained"


def measured(known_results: dict[str, Any] | None = None) -> dict[str, Any]:
    """Every search on every set, as JSON.

    Args:
        known_results: What was measured before. It is kept if the priors, which depend on all
            tables, are the same.
    """
    loaded = {run: load_set_tables(*run) for run in available("affinities")}
    fits = _fitted(loaded)
    priors = {family: asdict(fit.prior) for family, fit in fits.items()}
    with_luck = {family: asdict(fit.with_luck) for family, fit in fits.items()}
    found: dict[str, Any] = {"sets": {}}
    if known_results and known_results["priors"] == priors:
        found = known_results
    if found.get("priors with luck", with_luck) != with_luck:
        raise ValueError(f"Expected the priors with luck of {FILE.name}. Remove it, or its entry.")
    found |= {"budgets": list(BUDGETS), "priors": priors, "priors with luck": with_luck}
    found |= environment()
    for (name, units), (table, affinities) in loaded.items():
        key, family = f"{name}-{units}", family_of(name)
        one = _Set(table, affinities, fits[family])
        begun = time.process_time()
        for path, measure in _measurements(key, family, one).items():
            *parts, last = path
            entry = found
            for part in parts:
                entry = entry.setdefault(part, {})
            if last not in entry:
                entry[last] = measure()
        print(f"replayed on {key}: {time.process_time() - begun:.0f} s of CPU time", flush=True)
        FILE.write_text(json.dumps(rounded(found)) + "\n", "utf-8")
    return found


@dataclass(frozen=True, eq=False)
class _Fit:
    """What is believed of a family that was left out: priors, and what `fit_coefficients` gives."""

    prior: Prior
    with_luck: Prior
    slopes: np.ndarray


@dataclass(frozen=True, eq=False)
class _Set:
    """A set's tables, and what is believed of it."""

    table: GroupTable
    affinities: AffinityTable
    fit: _Fit


def _fitted(loaded: dict[Any, tuple[GroupTable, AffinityTable]]) -> dict[str, _Fit]:
    known, lucky = (
        [one for (name, _), pair in loaded.items() for one in samples(name, *pair, joint_luck)]
        for joint_luck in (False, True)
    )
    ratios = [_own_step_ratio(loaded[run][1], seed) for run, seed in _seeds_of(loaded)]
    with_ratio = [
        replace(one, features=np.column_stack([one.features, one.features[:, 0] * ratio]))
        for one, ratio in zip(known, ratios, strict=True)
    ]
    fits = {}
    for family in sorted({one.family for one in known}):
        others = [k for k, one in enumerate(known) if one.family != family]
        fits[family] = _Fit(
            fit_prior(known[k] for k in others),
            fit_prior(lucky[k] for k in others),
            fit_coefficients(with_ratio[k] for k in others),
        )
    return fits


def _measurements(key: str, family: str, one: _Set) -> dict[tuple[str, ...], Callable[[], Any]]:
    """Where in the result file something stands, and how it is measured."""
    table, affinities = one.table, one.affinities
    found: dict[tuple[str, ...], Callable[[], Any]] = {
        ("sets", key): lambda: {"family": family, **references(table)},
        ("outlook", key): lambda: outlooks(table, affinities, one.fit.prior),
    }
    for per_network in PER_NETWORK:
        count = str(per_network)
        for label, replay in SEARCHES.items():
            if replay.kind in affinities.means:
                found["searches", label, count, key] = partial(_searched, one, replay, per_network)
        found["searches", RANDOM, count, key] = partial(random_trainings, table, per_network)
    for name, variant in COVERED.items():
        found["coverage", key, name] = partial(_coverage, one, variant)
    for label, kind in UNTRAINED_KINDS.items():
        for way in WAYS:
            found["untrained", f"{way}, {label}", key] = partial(_untrained, one, way, kind)
    return found


def references(table: GroupTable) -> dict[str, Any]:
    """Total test losses `[num_budgets][num_seeds]` of random groups, the optimum and others."""
    num_seeds, joint = table.num_seeds, len(table.groups) - 1
    logs = np.log(table.validation)
    losses: dict[str, list[list[float]]] = {"random": [], "exhaustive": [], "other seeds": []}
    for budget in BUDGETS:
        rows = {name: [] for name in losses}
        for seed in range(num_seeds):
            own = had(table.validation[seed])
            others = had(np.exp(np.delete(logs, seed, 0).mean(0)))
            rows["random"].append(random_expectation(table, seed, budget)[1])
            rows["exhaustive"].append(_served(own, table.test[seed], best_groups(own, budget)))
            rows["other seeds"].append(_served(own, table.test[seed], best_groups(others, budget)))
        for name, row in rows.items():
            losses[name].append(row)
    return {**losses, "joint": table.test[:, joint].sum(1).tolist()}


def _served(losses: np.ndarray, test: np.ndarray, rows: np.ndarray) -> float:
    best = rows[losses[rows].argmin(0)]
    return float(test[best, np.arange(losses.shape[1])].sum())


def _searched(one: _Set, replay: Replay, per_network: int) -> dict[str, Any]:
    table, affinities = one.table, one.affinities
    means = affinities.means[replay.kind]
    prior = _prior_of(one.fit, replay.variant)
    losses, trained = [], []
    for budget in BUDGETS:
        row = []
        for seed in range(min(len(means), table.num_seeds)):
            shares = shares_of(means[seed], table.tasks)
            if replay.shares is not None:
                shares = replay.shares(shares, seed)
            own = prior
            if replay.by_ratio:
                own = with_ratio(prior, one.fit.slopes, _own_step_ratio(affinities, seed))
            validation = table.validation[seed]
            most = per_network * budget
            rows, believed = search(validation, shares, own, budget, most, replay.variant)
            serving, _ = choose(validation, shares, believed, rows, budget, replay.variant)
            row.append(float(table.test[seed][serving, np.arange(len(table.tasks))].sum()))
            trained.append(len(rows) - 1)
        losses.append(row)
    return {"test": losses, "trained": float(np.mean(trained))}


def _prior_of(fit: _Fit, variant: Variant) -> Prior:
    return fit.prior if variant.belief == "gain model" else fit.with_luck


def _untrained(one: _Set, way: str, kind: str) -> list[list[float]]:
    table, affinities = one.table, one.affinities
    choose_by, by_ratio = WAYS[way]
    means = affinities.means[kind]
    losses = []
    for budget in BUDGETS:
        row = []
        for seed in range(min(len(means), table.num_seeds)):
            shares, prior = shares_of(means[seed], table.tasks), one.fit.prior
            if by_ratio:
                prior = with_ratio(prior, one.fit.slopes, _own_step_ratio(affinities, seed))
            row.append(total_loss(table, seed, shares, prior, budget, choose_by))
        losses.append(row)
    return losses


def random_trainings(table: GroupTable, per_network: int) -> dict[str, Any]:
    """Groups drawn at random, trained, and chosen by their losses.

    Args:
        table: The set's.
        per_network: How many per network of the budget.
    """
    joint, losses = len(table.groups) - 1, []
    for budget in BUDGETS:
        row = []
        for seed in range(table.num_seeds):
            draw = np.random.default_rng([seed, budget])
            rows = [joint, *draw.choice(joint, per_network * budget, replace=False)]
            counted = np.full(table.groups.shape, np.inf)
            counted[rows] = had(table.validation[seed][rows])
            row.append(_served(counted, table.test[seed], best_groups(counted, budget)))
        losses.append(row)
    return {"test": losses, "trained": float(np.mean(BUDGETS) * per_network)}


def shares_of(affinity: np.ndarray, tasks: tuple[str, ...]) -> np.ndarray:
    """Shares as a search reads them, also where a task's own step did not help it."""
    return usable_affinity(Affinity.from_array(affinity, tasks, rows="source")).mean


def _own_step_ratio(affinities: AffinityTable, seed: int) -> float:
    """Mean over tasks of log(own-step gain on validation / on the training batch)."""
    validation, training = (np.diag(affinities.means[kind][seed]) for kind in reversed(KINDS))
    helped = (validation > 0) & (training > 0)
    return float(np.log(validation[helped] / training[helped]).mean()) if helped.any() else -4.0


def _seeds_of(loaded: dict[Any, tuple[GroupTable, AffinityTable]]) -> list[tuple[Any, int]]:
    """(set, seed) of every sample, in the order of `samples`."""
    return [
        (run, seed)
        for run, (table, affinities) in loaded.items()
        for seed in range(table.num_seeds)
        for kind in KINDS
        if seed < len(affinities.means.get(kind, ()))
    ]


def _coverage(one: _Set, variant: Variant) -> float:
    """The share of groups not trained whose losses are within the 90 % intervals of a belief."""
    table, inside = one.table, []
    groups = all_groups(len(table.tasks))
    means = one.affinities.means[_SHIPPED]
    for seed in range(min(len(means), table.num_seeds)):
        shares, losses = shares_of(means[seed], table.tasks), table.validation[seed]
        for budget in BUDGETS:
            prior = _prior_of(one.fit, variant)
            rows, believed = search(losses, shares, prior, budget, 3 * budget, variant)
            gains = np.log(losses / losses[-1])
            mean, spread = predicted(shares, believed, groups[rows], gains[rows], variant)
            off = np.abs(np.delete(gains - mean, rows, 0))
            far = np.delete(_QUANTILE * spread, rows, 0)
            inside.append((off <= far)[np.isfinite(off)])
    return float(np.concatenate(inside).mean())


def outlooks(table: GroupTable, affinities: AffinityTable, prior: Prior) -> list[dict[str, Any]]:
    """What a search states, and what the groups that are best on other seeds gain on this one.

    Args:
        table: The set's.
        affinities: The set's.
        prior: What is believed before.
    """
    tasks, found = table.tasks, []
    means, joint = affinities.means[_SHIPPED], len(table.groups) - 1
    truth = references(table)
    for index, budget in enumerate(BUDGETS):
        problem = Problem(tasks, budget, objectives_by_task(None, tasks), prior=prior)
        for seed in range(min(len(means), table.num_seeds, 3)):
            affinity = Affinity.from_array(means[seed], tasks, rows="source")
            losses = table.validation[seed]
            shares = shares_of(means[seed], tasks)
            of_joint, of_best = truth["joint"][seed], truth["other seeds"][index][seed]
            for rounds in (0, 1, 2):
                rows = [joint]
                if rounds:
                    most = rounds * budget
                    rows, _ = search(losses, shares, prior, budget, most, Variant())
                said = outlook(problem, affinity, [_outcome(table, seed, row) for row in rows])
                assert said is not None
                found.append(
                    {
                        "budget": budget,
                        "seed": seed,
                        "rounds": rounds,
                        "said": [round(x, 4) for x in (said.low, said.expected, said.high)],
                        "little": said.little,
                        "truth": round((of_joint - of_best) / of_joint, 4),
                    }
                )
    return found


def _outcome(table: GroupTable, seed: int, row: int) -> Outcome:
    members = np.flatnonzero(table.groups[row])
    losses = {table.tasks[t]: float(table.validation[seed][row, t]) for t in members}
    kind = "joint" if row == len(table.groups) - 1 else "searched"
    return Outcome(int(row), kind, tuple(losses), "done", objective=losses, cost=1.0)


def main(argv: Iterable[str] | None = None) -> None:
    """Replay, write the result file and print the tables."""
    from benchmarks.grouping_quality.left_out_report import tables

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", action="store_true", help="only print the committed results")
    if not parser.parse_args(argv and list(argv)).tables:
        measured(json.loads(FILE.read_text("utf-8")) if FILE.exists() else None)
    for name, table in tables(json.loads(FILE.read_text("utf-8"))).items():
        print(f"\n## {name}\n\n{table}")


if __name__ == "__main__":
    main()
