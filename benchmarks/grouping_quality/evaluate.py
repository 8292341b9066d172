"""Holds every method against the tables: total losses, recovery, rank correlation."""

import json
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.grouping_quality.affinity_table import AffinityTable, load_affinities
from benchmarks.grouping_quality.fit_prior import family_of, fit_prior, samples
from benchmarks.grouping_quality.group_table import FOLDER, GroupTable, environment, load_table
from benchmarks.grouping_quality.methods import METHODS, Case, rows_of
from benchmarks.grouping_quality.rule import complete, random_expectation, served_losses
from keras_tag.selection.few_trainings.gain_model import Prior

BUDGETS = (2, 3, 4)
RESULTS = FOLDER.parent / "results.json"


def available(kind: str = "groups") -> list[tuple[str, int]]:
    """(set, units) of which a table is there, "groups" or "affinities"."""
    found = []
    for path in sorted(FOLDER.glob(f"*.{kind}.npz")):
        name, _, units = path.name.removesuffix(f".{kind}.npz").rpartition("-")
        found.append((name, int(units)))
    return found


def load_set_tables(name: str, units: int) -> tuple[GroupTable, AffinityTable]:
    """Both tables of a set; an empty one where no affinity was measured."""
    table = load_table(FOLDER / f"{name}-{units}.groups.npz")
    path = FOLDER / f"{name}-{units}.affinities.npz"
    if path.exists():
        return table, load_affinities(path)
    nothing = np.empty(0)
    return table, AffinityTable(table.tasks, {}, nothing, nothing, nothing, {})


def evaluate_set(
    table: GroupTable,
    affinities: AffinityTable,
    methods: Iterable[str] = METHODS,
    prior: Prior | None = None,
) -> dict[str, Any]:
    """All methods and budgets on one set.

    Args:
        table: All groups' losses.
        affinities: What joint runs measured.
        methods: Some of `METHODS`.
        prior: What `groups_to_train` believes before; None: what is shipped.

    Returns:
        "methods": name -> {"test", "validation": `[num_budgets][num_seeds]`, "added": how many
        groups had to be added to make exactly b, "task_rank", "group_rank": rank correlations},
        with the choices that need no solver: "random", "single task" and "all in one". "company":
        see `company`.
    """
    seeds = range(table.num_seeds)
    out: dict[str, Any] = {"random": _random(table)}
    lone = [(1 << t) - 1 for t in range(len(table.tasks))]
    for name, rows in (("single task", lone), ("all in one", [len(table.groups) - 1])):
        losses = [served_losses(table, seed, rows) for seed in seeds]
        out[name] = _losses([losses for _ in BUDGETS])
    for name in methods:
        cases = [Case(table, affinities, seed, prior or Prior()) for seed in seeds]
        choices = [METHODS[name](case, BUDGETS) for case in cases]
        measured = [k for k in seeds if choices[k] is not None]
        if not measured:
            continue
        losses, added = [], 0
        for budget in BUDGETS:
            row = []
            for seed in measured:
                choice = choices[seed]
                rows = list(dict.fromkeys(rows_of(table, choice.groupings[budget].groups)))
                added += budget - len(rows)
                row.append(served_losses(table, seed, complete(rows, choice.predicted, budget)))
            losses.append(row)
        out[name] = {**_losses(losses), "seeds": measured, "added": added}
        if choices[measured[0]].trained is None:
            out[name] |= _ranks(table, {seed: choices[seed].predicted for seed in measured})
        else:
            # Their ranks are those of what proposed them; what they cost is the groups trained.
            counts = [[choices[seed].trained[b] for seed in measured] for b in BUDGETS]
            out[name]["trained"] = np.mean(counts, 1).tolist()
    return {
        "tasks": list(table.tasks),
        "num_seeds": table.num_seeds,
        "company": company(table),
        "methods": out,
    }


def company(table: GroupTable) -> dict[str, list[float]]:
    """What company does to a task's test loss, by the group's size, in units of the loss alone.

    "any": mean over the groups of a size, the tasks and the seeds. "best": of the group of that
    size that is best for the task by the validation losses of the other seeds.
    """
    num_tasks = len(table.tasks)
    lone = table.test[:, (1 << np.arange(num_tasks)) - 1, np.arange(num_tasks)]
    ratios = table.test / lone[:, None]
    logs = np.log(table.validation)
    found: dict[str, list[float]] = {"any": [], "best": []}
    for size in range(1, num_tasks + 1):
        rows = np.flatnonzero(table.groups.sum(1) == size)
        found["any"].append(float(np.nanmean(ratios[:, rows])))
        best = []
        for seed in range(table.num_seeds):
            others = np.delete(logs[:, rows], seed, 0).mean(0)
            chosen = rows[np.nanargmin(others, 0)]
            best.append(ratios[seed, chosen, np.arange(num_tasks)])
        found["best"].append(float(np.mean(best)))
    return found


def evaluate_all() -> dict[str, Any]:
    """All sets of which there are tables, kept in `results.json`.

    The prior of `groups_to_train` is fitted anew for every family of sets, on the others.
    """
    results = {}
    cpu_seconds = {"groups": 0.0, "affinities": 0.0}
    began = time.process_time()
    loaded = {run: load_set_tables(*run) for run in available()}
    known = [one for (name, _), pair in loaded.items() for one in samples(name, *pair)]
    priors = {"of all sets": fit_prior(known)}
    for family in sorted({one.family for one in known}):
        priors[family] = fit_prior(one for one in known if one.family != family)
    for (name, units), (table, affinities) in loaded.items():
        results[f"{name}-{units}"] = evaluate_set(table, affinities, prior=priors[family_of(name)])
        cpu_seconds["groups"] += table.about["cpu_seconds"]
        cpu_seconds["affinities"] += affinities.about.get("cpu_seconds", 0.0)
        print(f"evaluated {name}, {units} units", flush=True)
    cpu_seconds["report"] = time.process_time() - began
    return {
        "budgets": list(BUDGETS),
        "cpu_seconds": cpu_seconds,
        "priors": {name: asdict(prior) for name, prior in priors.items()},
        "sets": results,
        **environment("ortools"),
    }


def save_results(results: dict[str, Any], path: Path = RESULTS) -> None:
    """Write results as JSON with six digits, a line per method."""
    lines = []
    for name, entry in results["sets"].items():
        methods = ",\n   ".join(
            f"{json.dumps(m)}: {json.dumps(rounded(v))}" for m, v in entry["methods"].items()
        )
        rest_of_set = {key: value for key, value in entry.items() if key != "methods"}
        head = json.dumps(rounded(rest_of_set))[:-1]
        lines.append(f'  {json.dumps(name)}: {head}, "methods": {{\n   {methods}\n  }}}}')
    rest = json.dumps({key: value for key, value in results.items() if key != "sets"})[:-1]
    path.write_text(f'{rest}, "sets": {{\n' + ",\n".join(lines) + "\n}}\n", "utf-8")


def rounded(value: Any) -> Any:
    """Numbers of a JSON value with six digits."""
    if isinstance(value, dict):
        return {key: rounded(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [rounded(entry) for entry in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _random(table: GroupTable) -> dict[str, Any]:
    return _losses(
        [
            [random_expectation(table, seed, budget) for seed in range(table.num_seeds)]
            for budget in BUDGETS
        ]
    )


def _losses(pairs: list[list[tuple[float, float]]]) -> dict[str, Any]:
    return {
        "validation": [[validation for validation, _ in row] for row in pairs],
        "test": [[test for _, test in row] for row in pairs],
    }


def _ranks(table: GroupTable, predicted: dict[int, np.ndarray]) -> dict[str, float]:
    """Spearman correlations of predicted scores with measured test losses, mean over seeds.

    "task_rank": over the groups of two and more that train a task, mean over the tasks.
    "group_rank": over groups of two and more, of the mean over the members; losses relative to
    the task's mean over all groups.
    """
    company = table.groups.sum(1) >= 2
    by_task, by_group = [], []
    for seed, scores in predicted.items():
        losses = table.test[seed]
        relative = -losses / np.nanmean(losses, 0)
        for task in range(len(table.tasks)):
            rows = company & table.groups[:, task]
            by_task.append(_spearman(scores[rows, task], relative[rows, task]))
        by_group.append(_spearman(np.nanmean(scores[company], 1), np.nanmean(relative[company], 1)))
    return {"task_rank": float(np.mean(by_task)), "group_rank": float(np.mean(by_group))}


def _spearman(first: np.ndarray, second: np.ndarray) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(first, second).statistic)
