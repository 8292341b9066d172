"""`GroupSearch` where not all groups can be trained: 16 tasks on two sets, 27 on a third.

    python -m benchmarks.search_at_scale --data FOLDER   # goes on with search_at_scale.json
    python -m benchmarks.search_at_scale --data FOLDER --only oes97-16
    python -m benchmarks.search_at_scale --table         # print the committed result

FOLDER is what `grouping_quality/real_sets.py` describes. `overlaid4-16` asks four questions about
each of four overlapping digits; `oes97-16` and `sider-27` are all professions and side effects.

The joint run is a `TAGModel`'s, probed on validation data at every tenth step. The search is the
one of the package (`Problem.next_groups`, `Problem.choose`, three trainings per network); networks
are trained by the batched trainer of `grouping_quality`, which the tests hold against plain Keras.
What is believed before is the prior that was fitted without the family of the data
(`left_out.json`). Every method serves each task from the network that is best on validation data;
the total test loss counts.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.grouping_quality import left_out
from benchmarks.grouping_quality.batched_training import train_groups
from benchmarks.grouping_quality.evaluate import rounded
from benchmarks.grouping_quality.group_table import environment
from benchmarks.grouping_quality.real_sets import REAL_SETS, employment, side_effects
from benchmarks.grouping_quality.task_sets import Recipe, TaskSet, overlaid
from keras_tag import Affinity, GroupScores, select_groups
from keras_tag.search.ledger import Outcome
from keras_tag.search.objectives import objectives_by_task
from keras_tag.search.proposals import Limits, Problem
from keras_tag.selection.few_trainings.gain_model import Prior

FILE = Path(__file__).with_suffix(".json")
BUDGETS, PER_NETWORK, EVERY = (4, 8), 3, 10
# Seconds for one choice of groups among more than can be listed.
_TIME_LIMIT = 20.0
METHODS = (
    "GroupSearch",
    "random groups trained",
    "joint networks, other first weights",
    "HOA",
    "lone networks",
    "joint run",
)


@dataclass(frozen=True)
class Case:
    """A data set, a size of the trunk, how to train, and the seeds.

    Args:
        load: (seed, folder) -> data.
        family: Whose prior is used.
        units: The size.
        recipe: How every network is trained.
        seeds: How many.
    """

    load: Callable[[int, Path], TaskSet]
    family: str
    units: int
    recipe: Recipe
    seeds: int


CASES = {
    "overlaid4-16, 24 units": Case(
        lambda seed, _: overlaid(4, ("odd", "loop", "prime", "composite"))(seed),
        "digits",
        24,
        Recipe(),
        3,
    ),
    "oes97-16, 6 units": Case(partial(employment, step=1), "oes97", 6, REAL_SETS["oes97"][1], 5),
    "oes97-16, 32 units": Case(partial(employment, step=1), "oes97", 32, REAL_SETS["oes97"][1], 5),
    "sider-27, 12 units": Case(
        partial(side_effects, count=27), "sider", 12, REAL_SETS["sider"][1], 3
    ),
}


class Networks:
    """Networks of one seed, each trained once.

    Args:
        data: What to train on.
        units: The size of the trunk.
        seed: Of first weights, batch order and dropout.
        recipe: How to train.
    """

    def __init__(self, data: TaskSet, units: int, seed: int, recipe: Recipe) -> None:
        self.data, self.units, self.seed, self.recipe = data, units, seed, recipe
        # (group, which first weights) -> validation and test losses `[num_tasks]`, NaN outside it.
        self._known: dict[tuple[frozenset[str], int], tuple[np.ndarray, np.ndarray]] = {}

    def losses(
        self, groups: Sequence[Iterable[str]], draw: int = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Validation and test losses `[num_groups, num_tasks]`; networks not known are trained.

        Args:
            groups: Of tasks.
            draw: Which first weights, batch order and dropout; 0: those of the seed.
        """
        wanted = [frozenset(group) for group in groups]
        new = [group for group in dict.fromkeys(wanted) if (group, draw) not in self._known]
        if new:
            member = np.array([[task in group for task in self.data.tasks] for group in new])
            seed = self.seed + 1000 * draw
            trained = train_groups(self.data, member, self.units, seed, self.recipe)
            for row, group in enumerate(new):
                self._known[group, draw] = (trained.validation[row], trained.test[row])
        found = [self._known[group, draw] for group in wanted]
        return np.stack([one[0] for one in found]), np.stack([one[1] for one in found])


def served(validation: np.ndarray, test: np.ndarray, rows: Sequence[int]) -> float:
    """The total test loss, each task from the best of some networks on validation data.

    Args:
        validation: `[num_networks, num_tasks]`, NaN where a network does not train a task.
        test: As `validation`.
        rows: Which networks.
    """
    best = np.nanargmin(validation[list(rows)], 0)
    return float(test[list(rows)][best, np.arange(test.shape[1])].sum())


def best_of(tasks: Sequence[str], validation: np.ndarray, budget: int) -> list[int]:
    """The rows of at most `budget` networks with the least total validation loss.

    Args:
        tasks: The names.
        validation: `[num_networks, num_tasks]`, NaN where a network does not train a task.
        budget: b.
    """
    entries = [
        (
            tuple(task for t, task in enumerate(tasks) if np.isfinite(row[t])),
            {task: float(row[t]) for t, task in enumerate(tasks) if np.isfinite(row[t])},
        )
        for row in validation
    ]
    position = {group: row for row, (group, _) in enumerate(entries)}
    chosen = select_groups(GroupScores(dict(entries), sense="min"), budget)
    return [position[tuple(t for t in tasks if t in group)] for group in chosen.groups]


def searched(
    networks: Networks, affinity: Affinity, budget: int, prior: Prior
) -> list[tuple[str, ...]]:
    """The groups that a search trains, the joint run first.

    Args:
        networks: Where they are trained.
        affinity: As measured in the joint run.
        budget: b.
        prior: What is believed before.
    """
    tasks = networks.data.tasks
    problem = Problem(tasks, budget, objectives_by_task(None, tasks), prior=prior)
    limits = Limits(PER_NETWORK * budget)
    outcomes: list[Outcome] = []
    asked: Sequence[tuple[str, ...]] = (tasks,)
    while asked:
        validation, _ = networks.losses(asked)
        for group, row in zip(asked, validation, strict=True):
            losses = {task: float(row[tasks.index(task)]) for task in group}
            kind = "searched" if outcomes else "joint"
            number = len(outcomes)
            outcomes.append(Outcome(number, kind, group, "done", objective=losses, cost=1.0))
        asked = problem.next_groups(affinity, outcomes, limits)
    return [outcome.group for outcome in outcomes]


def random_groups(tasks: Sequence[str], count: int, seed: Sequence[int]) -> list[tuple[str, ...]]:
    """Distinct groups, uniform over all but the joint one.

    Args:
        tasks: The names.
        count: How many.
        seed: Of the draw.
    """
    draw = np.random.default_rng(seed)
    found: dict[tuple[str, ...], None] = {}
    while len(found) < count:
        inside = draw.random(len(tasks)) < 0.5
        group = tuple(task for task, chosen in zip(tasks, inside, strict=True) if chosen)
        if 0 < len(group) < len(tasks):
            found[group] = None
    return list(found)


def pairwise(networks: Networks, budget: int) -> tuple[tuple[tuple[str, ...], ...], int]:
    """HOA's groups: all pairs and lone tasks trained; a task in a group is predicted by its pairs.

    Args:
        networks: Where they are trained.
        budget: b.

    Returns:
        The groups, and how many networks were trained to choose them.
    """
    tasks = networks.data.tasks
    pairs = list(combinations(tasks, 2))
    lone, _ = networks.losses([(task,) for task in tasks])
    validation, _ = networks.losses(pairs)
    gain = np.zeros((len(tasks), len(tasks)))
    for (first, second), row in zip(pairs, validation, strict=True):
        i, j = tasks.index(first), tasks.index(second)
        gain[i, j], gain[j, i] = -row[j], -row[i]
    alone = {task: -float(lone[t, t]) for t, task in enumerate(tasks)}
    chosen = select_groups(
        Affinity.from_array(gain, tasks, rows="source"),
        budget,
        score="partners",
        alone=alone,
        time_limit=_TIME_LIMIT,
    )
    return chosen.groups, len(pairs) + len(tasks)


def measured(networks: Networks, affinity: Affinity, budget: int, prior: Prior) -> dict[str, Any]:
    """Every method of one seed: its total test loss, and how many networks were trained.

    Args:
        networks: Of the seed.
        affinity: Of the seed's joint run.
        budget: b.
        prior: What is believed before.
    """
    tasks = networks.data.tasks
    found: dict[str, Any] = {}

    def add(name: str, groups: Sequence[tuple[str, ...]], trained: int, most: int = budget) -> None:
        validation, test = networks.losses(groups)
        rows = best_of(tasks, validation, most)
        found[name] = {"test": served(validation, test, rows), "trained": trained}

    groups = searched(networks, affinity, budget, prior)
    add("GroupSearch", groups, len(groups))
    equal = random_groups(tasks, len(groups) - 1, [networks.seed, budget])
    add("random groups trained", [tasks, *equal], len(groups))
    pair_groups, trained = pairwise(networks, budget)
    add("HOA", pair_groups, trained + len(pair_groups))
    add("lone networks", [(task,) for task in tasks], len(tasks), len(tasks))
    add("joint run", [tasks], 1)
    # As many joint networks as the search trains, of which b are served: luck without groups.
    draws = [networks.losses([tasks], draw) for draw in range(len(groups))]
    validation, test = (np.concatenate([draw[k] for draw in draws]) for k in (0, 1))
    rows = _best_networks(validation, budget)
    name = "joint networks, other first weights"
    found[name] = {"test": served(validation, test, rows), "trained": len(groups)}
    return found


def _best_networks(validation: np.ndarray, budget: int) -> list[int]:
    """`budget` networks of all tasks with nearly the least total loss: greedy, exchanged."""
    rows: list[int] = []
    for _ in range(4):
        for position in range(budget):
            rest = rows[:position] + rows[position + 1 :]
            least = validation[rest].min(0, initial=np.inf)
            best = int(np.minimum(least, validation).sum(1).argmin())
            rows = [*rest[:position], best, *rest[position:]]
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what is missing, write the result file, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="the folder of oes97.npz and sider.npz")
    parser.add_argument("--only", help="cases that begin so")
    parser.add_argument("--table", action="store_true", help="only print the committed result")
    arguments = parser.parse_args(argv)
    if not arguments.table:
        if arguments.data is None:
            parser.error("expected --data FOLDER, with oes97.npz and sider.npz")
        for name, case in CASES.items():
            if name.startswith(arguments.only or ""):
                _measure(name, case, arguments.data)
    print(table(json.loads(FILE.read_text("utf-8"))))


def _measure(name: str, case: Case, folder: Path) -> None:
    """Measure a case, seed by seed; what the file has is left alone."""
    from benchmarks.grouping_quality.measure_affinities import JointRun

    results = json.loads(FILE.read_text("utf-8")) if FILE.exists() else {"cases": {}}
    results |= environment("keras", "tensorflow", "numba", "ortools")
    priors = json.loads(left_out.FILE.read_text("utf-8"))["priors"]
    prior = replace(Prior(), **priors[case.family])
    entries = results["cases"].setdefault(name, {})
    joint: JointRun | None = None
    for seed in range(case.seeds):
        entry = entries.setdefault(str(seed), {"budgets": {}})
        if len(entry["budgets"]) == len(BUDGETS):
            continue
        begun = time.process_time()
        data = case.load(seed, folder)
        if "affinity" not in entry:
            joint = joint or JointRun(data, case.units, case.recipe, "validation", EVERY)
            probes = joint.run(data, seed)["probes"]
            entry["affinity"] = [[float(f"{x:.4g}") for x in row] for row in np.nanmean(probes, 0)]
        affinity = Affinity.from_array(np.array(entry["affinity"]), data.tasks, rows="source")
        networks = Networks(data, case.units, seed, case.recipe)
        for budget in BUDGETS:
            if str(budget) in entry["budgets"]:
                continue
            entry["budgets"][str(budget)] = measured(networks, affinity, budget, prior)
            entry["cpu_seconds"] = round(time.process_time() - begun, 1)
            FILE.write_text(json.dumps(rounded(results)) + "\n", "utf-8")
            print(
                name, f"seed {seed}, b = {budget}: {entry['cpu_seconds']} s of CPU time", flush=True
            )


def table(results: dict[str, Any]) -> str:
    """Test loss as a share of the joint run's, with its standard error over seeds, and the cost.

    Args:
        results: What the file has.
    """
    heads = " | ".join(f"b = {b} | networks trained" for b in BUDGETS)
    lines = [f"| set | seeds | method | {heads} |", "| --- | ---: | --- |" + " ---: | ---: |" * 2]
    for name, entries in results["cases"].items():
        for method in METHODS:
            cells = []
            for budget in BUDGETS:
                of_budget = [
                    entry["budgets"][str(budget)]
                    for entry in entries.values()
                    if str(budget) in entry["budgets"]
                ]
                if not of_budget:
                    cells.append(" | ")
                    continue
                ratio = np.array(
                    [one[method]["test"] / one["joint run"]["test"] for one in of_budget]
                )
                error = ""
                if len(ratio) > 1:
                    error = f" ({ratio.std(ddof=1) / np.sqrt(len(ratio)):.3f})"
                trained = np.mean([one[method]["trained"] for one in of_budget])
                cells.append(f"{ratio.mean():.3f}{error} | {trained:.0f}")
            lines.append(f"| {name} | {len(entries)} | {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
