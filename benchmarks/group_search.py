"""`GroupSearch` on the yardstick: its loop replayed from the tables of `grouping_quality`.

There every group of every set was trained, so that a search can be replayed without training:
`python -m benchmarks.group_search` writes `benchmarks/group_search.json` and prints the table of
docs/group_search.md. The prior of the search is that fitted to the other families of sets.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from statistics import mean

import numpy as np

from benchmarks.grouping_quality.evaluate import (
    BUDGETS,
    RESULTS,
    available,
    load_set_tables,
    rounded,
)
from benchmarks.grouping_quality.fit_prior import family_of
from benchmarks.grouping_quality.group_table import environment
from benchmarks.grouping_quality.left_out import shares_of
from benchmarks.grouping_quality.methods import Case, rows_of
from benchmarks.grouping_quality.replayed_search import Variant, search
from benchmarks.grouping_quality.rule import complete, served_losses
from keras_tag.search.ledger import Outcome
from keras_tag.search.objectives import objectives_by_task
from keras_tag.search.proposals import Problem
from keras_tag.selection.few_trainings.gain_model import Prior

FILE = Path(__file__).with_suffix(".json")
# Name -> (affinities, trainings per network, a "round" or "one" group before asking again). Asking
# after every training is what the search does not do.
SEARCHES = {
    "GroupSearch": ("validation-50", 3, "round"),
    "GroupSearch, probed every 10": ("validation-10", 3, "round"),
    "GroupSearch, two trainings per network": ("validation-50", 2, "round"),
    "GroupSearch, four trainings per network": ("validation-50", 4, "round"),
    "asking after every training": ("validation-50", 3, "one"),
}
# What the others train: networks to choose, and then the chosen ones.
RIVALS = {
    "select_groups alone": "members, validation",
    "HOA": "HOA",
    "random groups trained": "random groups trained",
    "single task": "single task",
    "one network": "all in one",
}
# Method -> its words in the README's table.
README = {
    "GroupSearch": "`GroupSearch`",
    "random groups trained": "random groups, chosen by their losses",
    "HOA": "all pairs of tasks trained (HOA, Standley et al.)",
    "select_groups alone": "affinities alone (`select_groups`)",
    "single task": "a network per task, more than the budget allows",
    "one network": "one network for all tasks",
}


def replay(case: Case, budget: int, kind: str, per_network: int, ask: str) -> list[int]:
    """Return the rows of the table that a search trains, the joint run first.

    Args:
        case: One seed of one set.
        budget: b.
        kind: Of affinities.
        per_network: How many trainings per network.
        ask: "one" or "round".
    """
    affinity = case.affinity(kind)
    assert affinity is not None
    losses = case.table.validation[case.seed]
    variant = Variant(at_once=1 if ask == "one" else None)
    shares = shares_of(affinity.mean, case.table.tasks)
    return search(losses, shares, case.prior, budget, per_network * budget, variant)[0]


def outcome(case: Case, number: int, row: int) -> Outcome:
    """Return the outcome of a training that the table knows.

    Args:
        case: One seed of one set.
        number: Of the training.
        row: Of the table.
    """
    table = case.table
    members = np.flatnonzero(table.groups[row])
    losses = table.validation[case.seed][row]
    return Outcome(
        number,
        "searched" if number else "joint",
        tuple(table.tasks[t] for t in members),
        "done",
        objective={table.tasks[t]: float(losses[t]) for t in members},
        cost=1.0,
    )


def total_loss(case: Case, budget: int, rows: list[int]) -> float:
    """Return the total test loss of the best b groups among those trained.

    Args:
        case: One seed of one set.
        budget: b.
        rows: Of the groups trained.
    """
    table = case.table
    outcomes = [outcome(case, k, row) for k, row in enumerate(rows)]
    problem = Problem(table.tasks, budget, objectives_by_task(None, table.tasks))
    chosen = rows_of(table, problem.choose(outcomes).groups)
    predicted = np.where(table.groups, -np.inf, np.nan)
    predicted[rows] = -table.validation[case.seed][rows]
    return served_losses(table, case.seed, complete(chosen, predicted, budget))[1]


def main() -> None:
    """Replay, write the result file and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", action="store_true", help="only print the committed result")
    if not parser.parse_args().table:
        FILE.write_text(json.dumps(rounded(measured())) + "\n", "utf-8")
    print(table_of(json.loads(FILE.read_text("utf-8"))))


def measured() -> dict:
    """Return, for every search, set and budget, mean test losses and trainings over the seeds."""
    known = json.loads(RESULTS.read_text("utf-8"))
    found: dict = {name: {} for name in SEARCHES}
    if FILE.exists():  # Only what is new; remove the file to replay all.
        known_searches = json.loads(FILE.read_text("utf-8"))["searches"]
        found |= {name: known_searches[name] for name in SEARCHES if name in known_searches}
    missing = {name: search for name, search in SEARCHES.items() if not found[name]}
    for name, units in available():
        table, affinities = load_set_tables(name, units)
        prior = replace(Prior(), **known["priors"][family_of(name)])
        # Affinities are measured for fewer seeds on some sets.
        num_seeds = min(table.num_seeds, len(affinities.means["validation-10"]))
        cases = [Case(table, affinities, seed, prior) for seed in range(num_seeds)]
        for label, (kind, per_network, ask) in missing.items():
            losses, trained = [], []
            for budget in BUDGETS:
                rows = [replay(case, budget, kind, per_network, ask) for case in cases]
                losses.append(
                    mean(total_loss(c, budget, r) for c, r in zip(cases, rows, strict=True))
                )
                trained.append(mean(len(r) for r in rows))
            found[label][f"{name}-{units}"] = {
                "test": losses,
                "trainings": trained,
                "seeds": num_seeds,
            }
        print(f"replayed {name}, {units} units", flush=True)
    return {"searches": found, **environment("ortools")}


def recoveries(file: dict) -> dict[str, dict[str, list[float]]]:
    """Return method -> set where grouping matters -> recovery by budget.

    Args:
        file: What `measured` gave.
    """
    from benchmarks.grouping_quality.report import matters

    sets = {n: s for n, s in json.loads(RESULTS.read_text("utf-8"))["sets"].items() if matters(s)}
    replayed = next(iter(file["searches"].values()))
    sets = {name: entry for name, entry in sets.items() if name in replayed}
    out: dict[str, dict[str, list[float]]] = {}
    for name, entry in sets.items():
        seeds = replayed[name].get("seeds", entry["num_seeds"])
        losses = {k: np.array(m["test"])[:, :seeds].mean(1) for k, m in entry["methods"].items()}
        mine = {search: by_set[name]["test"] for search, by_set in file["searches"].items()}
        theirs = {name: losses[method] for name, method in RIVALS.items()}
        for method, test in {**mine, **theirs}.items():
            gain = losses["random"] - np.asarray(test)
            share = gain / (losses["random"] - losses["exhaustive"])
            out.setdefault(method, {})[name] = share.tolist()
    return out


def trainings(file: dict, sets: list[str]) -> dict[str, float]:
    """Return method -> how many networks are trained, everything counted, on average.

    Args:
        file: What `measured` gave.
        sets: Over which.
    """
    known = json.loads(RESULTS.read_text("utf-8"))["sets"]
    sizes = [len(known[name]["tasks"]) for name in sets]
    served = mean(BUDGETS)
    random = [mean(known[name]["methods"]["random groups trained"]["trained"]) for name in sets]
    out = {
        search: mean(mean(by_set[name]["trainings"]) for name in sets)
        for search, by_set in file["searches"].items()
    }
    return out | {
        "select_groups alone": 1 + served,
        "HOA": mean(n * (n + 1) / 2 for n in sizes) + served,
        "random groups trained": 1 + mean(random),
        "single task": mean(sizes),
        "one network": 1.0,
    }


def table_of(file: dict, words: dict[str, str] | None = None) -> str:
    """Return the table as Markdown.

    Args:
        file: What `measured` gave.
        words: Method -> how it is named; None: all methods by their names.
    """
    found = recoveries(file)
    counts = trainings(file, list(next(iter(found.values()))))
    lines = [
        "| method | recovery | least | networks trained |",
        "| --- | ---: | ---: | ---: |",
    ]
    for method, name in (words or dict(zip(found, found, strict=True))).items():
        values = [value for row in found[method].values() for value in row]
        lines.append(f"| {name} | {mean(values):.2f} | {min(values):.2f} | {counts[method]:.1f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
