"""Tables and the plot, from `results.json`: what the page `docs/grouping_quality.md` shows."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from benchmarks.grouping_quality.evaluate import BUDGETS, RESULTS
from benchmarks.grouping_quality.fit_prior import family_of
from keras_tag.baselines import grouping_cost

# Rivals and ours, in the order of the tables; the rest of `METHODS` are variants.
SHOWN = (
    "exhaustive",
    "best of other seeds",
    "HOA",
    "TAG as published",
    "cosine",
    "members",
    "members, every 50",
    "shared step",
    "shared step, validation",
    "predicted losses",
    "predicted losses, validation",
    "shortlist",
    "groups to train",
    "groups to train, validation",
    "groups to train, 3 b, validation, every 50",
    "random groups trained",
    "single task",
    "all in one",
)
VARIANTS = (
    "TAG as published",
    "partners, every 1",
    "partners, every 50",
    "partners, optimizer",
    "partners, first order",
    "cosine",
    "members",
    "members, every 1",
    "members, every 50",
    "members, optimizer",
    "members, first order",
    "members, cosine",
    "members, three at least",
    "members, validation",
    "members, three at least, validation",
    "shared step, power 0.7",
    "shared step",
    "shared step, every 50",
    "shared step, power 0.3",
    "shared step, three at least",
    "shared step, validation",
    "shared step, three at least, validation",
    "predicted losses",
    "predicted losses, every 50",
    "predicted losses, validation",
    "shortlist",
    "groups to train",
    "groups to train, 3 b, validation, every 50",
    "groups to train, validation",
    "random groups trained",
)
_NOT_DRAWN = (
    "best of other seeds",
    "groups to train",
    "predicted losses",
    "predicted losses, validation",
)
# From which the score to ship is chosen, leaving one set out.
UNTRAINED = (
    "members",
    "members, three at least",
    "members, validation",
    "members, three at least, validation",
    "shared step, power 0.7",
    "shared step",
    "shared step, power 0.3",
    "shared step, three at least",
    "shared step, validation",
    "shared step, three at least, validation",
    "predicted losses",
    "predicted losses, validation",
)
# Grouping matters on a set where the groups that are best on other seeds beat random ones on this
# one by so much of the loss, mean over budgets, and by two standard errors over the seeds. It
# looks at no method's choice. What is only best on the same seed is luck of the first weights.
MATTERS = 0.05


def load_results() -> dict[str, Any]:
    """The committed results."""
    return json.loads(RESULTS.read_text("utf-8"))


def total_test_losses(entry: dict[str, Any], method: str) -> np.ndarray:
    """`[num_budgets, num_seeds]` total test losses of a method on a set."""
    return np.array(entry["methods"][method]["test"])


def recovery(entry: dict[str, Any], method: str) -> np.ndarray:
    """`[num_budgets]`: (random - method) / (random - exhaustive), of means over the seeds.

    Over the seeds for which the method was measured.
    """
    seeds = entry["methods"][method].get("seeds", list(range(entry["num_seeds"])))
    random = total_test_losses(entry, "random")[:, seeds].mean(1)
    optimal = total_test_losses(entry, "exhaustive")[:, seeds].mean(1)
    return (random - total_test_losses(entry, method).mean(1)) / (random - optimal)


def reproducible_gain(entry: dict[str, Any]) -> tuple[float, float]:
    """By how much (share of the loss, in standard errors) the other seeds' best groups win."""
    random = total_test_losses(entry, "random")
    gain = ((random - total_test_losses(entry, "best of other seeds")) / random).mean(0)
    return float(gain.mean()), float(gain.mean() / (gain.std(ddof=1) / np.sqrt(len(gain))))


def matters(entry: dict[str, Any]) -> bool:
    """Whether grouping matters on a set."""
    gain, errors = reproducible_gain(entry)
    return gain >= MATTERS and errors >= 2


def compared(results: dict[str, Any]) -> dict[str, Any]:
    """The sets on which methods are compared: those whose affinities were measured."""
    return {k: e for k, e in results["sets"].items() if "members" in e["methods"]}


def interval(losses: Sequence[float]) -> tuple[float, float]:
    """A 90 % bootstrap interval of the mean over the seeds."""
    values = np.asarray(losses)
    draws = np.random.default_rng(0).integers(len(values), size=(4000, len(values)))
    low, high = np.quantile(values[draws].mean(1), [0.05, 0.95])
    return float(low), float(high)


def cost_in_joint_runs(entry: dict[str, Any], method: str) -> float:
    """What finding the groups costs, in counted passes of one joint run; mean over budgets."""
    num_tasks = len(entry["tasks"])
    costs = grouping_cost(num_tasks)
    if method == "HOA":
        return costs.pairs
    if method == "exhaustive":
        return costs.exhaustive
    if method == "best of other seeds":
        return float("nan")
    if method in ("single task", "all in one", "random"):
        return 0.0
    trained = float(np.mean(entry["methods"][method].get("trained", [0.0])))
    if method == "random groups trained":
        return 1.0 + trained
    parts = method.split(", ")
    every = {"every 1": 1, "every 50": 50}.get(parts[-1], 10)
    kind = "cosine" if "cosine" in parts else "gradient"
    kind = "first_order" if "first order" in parts else kind
    probed = grouping_cost(num_tasks, every=every, lookahead=kind, probe_data="validation" in parts)
    return probed.tag + trained


def losses_table(results: dict[str, Any]) -> str:
    """Total test loss with intervals, and recovery, per set and budget."""
    parts = []
    for name, entry in results["sets"].items():
        gain, errors = reproducible_gain(entry)
        says = "grouping matters" if matters(entry) else "grouping hardly matters"
        header = " | ".join(f"b = {b} | recovery" for b in results["budgets"])
        lines = [
            f"### {name}",
            "",
            f"{len(entry['tasks'])} tasks; reproducible gain {100 * gain:.1f} % "
            f"({errors:.1f} standard errors): {says}.",
            "",
            f"| method | {header} |",
            "| --- |" + " ---: | ---: |" * len(results["budgets"]),
        ]
        for method in ("random", *SHOWN):
            if method not in entry["methods"]:
                continue
            cells = []
            share = recovery(entry, method)
            for index, row in enumerate(total_test_losses(entry, method)):
                low, high = interval(row)
                cells.append(f"{row.mean():.3f} ({low:.3f} to {high:.3f})")
                cells.append(f"{share[index]:.2f}")
            lines.append(f"| {method} | " + " | ".join(cells) + " |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def recovery_table(results: dict[str, Any], methods: Iterable[str], only_matters: bool) -> str:
    """Mean and least recovery over sets and budgets, rank correlations, counted cost.

    The cost is that of finding the groups, in joint runs, mean over the sets.
    """
    chosen = {k: e for k, e in compared(results).items() if matters(e) or not only_matters}
    lines = [
        "| method | mean recovery | least | task rank | group rank | joint runs | sets |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for method in methods:
        has = [entry for entry in chosen.values() if method in entry["methods"]]
        if not has:
            continue
        values = np.concatenate([recovery(entry, method) for entry in has])
        mean_cost = np.mean([cost_in_joint_runs(entry, method) for entry in has])
        cost = "" if np.isnan(mean_cost) else f"{mean_cost:.1f}"
        ranks = []
        for kind in ("task_rank", "group_rank"):
            got = [e["methods"][method][kind] for e in has if kind in e["methods"][method]]
            ranks.append(f"{np.mean(got):.2f}" if got else "")
        lines.append(
            f"| {method} | {values.mean():.2f} | {values.min():.2f} | {ranks[0]} | {ranks[1]} "
            f"| {cost} | {len(has)} |"
        )
    return "\n".join(lines)


def left_out_table(results: dict[str, Any]) -> str:
    """Scores chosen on the other sets, reported on the one left out, beside the fixed ones.

    A set is left out with its whole family. The prior of `groups_to_train` was fitted to the
    other sets; its other numbers were not chosen set by set.
    """
    chosen = {k: e for k, e in compared(results).items() if matters(e)}
    columns = (
        "chosen untrained",
        "members",
        "groups to train, validation",
        "groups to train, 3 b, validation, every 50",
        "shortlist",
        "HOA",
    )
    lines = [
        "| left out | " + " | ".join(columns) + " |",
        "| --- |" + " --- |" * len(columns),
    ]
    every: dict[str, list[float]] = {column: [] for column in columns}
    families = {key: family_of(key.rpartition("-")[0]) for key in chosen}
    for key, entry in chosen.items():
        family = families[key]
        others = [e for k, e in chosen.items() if families[k] != family]
        cells = []
        for column in columns:
            method = column
            if column == "chosen untrained":
                method = max(
                    UNTRAINED, key=lambda c: np.mean([recovery(e, c).mean() for e in others])
                )
            values = recovery(entry, method)
            every[column] += values.tolist()
            named = f" ({method})" if column == "chosen untrained" else ""
            cells.append(" ".join(f"{value:.2f}" for value in values) + named)
        lines.append(f"| {key} | " + " | ".join(cells) + " |")
    cells = [f"{np.mean(v):.2f}, least {min(v):.2f}" for v in every.values() if v]
    lines.append("| **mean** | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cost_table(results: dict[str, Any], num_tasks: Sequence[int] = (5, 9)) -> str:
    """Counted forward and backward passes, in joint runs, beside what they bring.

    A row that trains groups is for a budget of 3, and counts as many as may be trained.
    """
    rows: tuple[tuple[str, dict[str, Any], int, str], ...] = (
        ("TAG, every=10 (the default, short runs)", {}, 0, "members"),
        ("TAG, every=50 (the default, long runs)", {"every": 50}, 0, "members, every 50"),
        ('TAG, lookahead="first_order"', {"lookahead": "first_order"}, 0, "members, first order"),
        (
            "TAG, every=50, probe_data=..., then 3 trainings per network",
            {"every": 50, "probe_data": True},
            9,
            "groups to train, 3 b, validation, every 50",
        ),
        (
            "TAG, probe_data=..., then 4 trainings per network",
            {"probe_data": True},
            12,
            "groups to train, validation",
        ),
    )
    heads = " | ".join(f"n = {n} | HOA costs" for n in num_tasks)
    lines = [
        f"| finding groups | {heads} | recovery | sets |",
        "| --- |" + " ---: | ---: |" * (len(num_tasks) + 1),
    ]

    def brings(method: str) -> str:
        has = [
            entry
            for entry in compared(results).values()
            if matters(entry) and method in entry["methods"]
        ]
        return f"{np.mean([recovery(e, method) for e in has]):.2f} | {len(has)}"

    for name, arguments, trained, method in rows:
        cells = []
        for n in num_tasks:
            costs = grouping_cost(n, **arguments)
            total = costs.tag + trained
            cells.append(f"{total:.2f} | {costs.pairs / total:.1f} times")
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {brings(method)} |")
    plain = [grouping_cost(n) for n in num_tasks]
    pairs = " | ".join(f"{c.pairs:.0f} | " for c in plain)
    every = " | ".join(f"{c.exhaustive:.0f} | " for c in plain)
    lines.append(f"| HOA | {pairs} | {brings('HOA')} |")
    lines.append(f"| exhaustive | {every} | {brings('exhaustive')} |")
    return "\n".join(lines)


def company_table(results: dict[str, Any]) -> str:
    """What company does to a task, by the size of its group; any company, and the best."""
    most = max(len(entry["tasks"]) for entry in results["sets"].values())
    sizes = range(2, most + 1)
    lines = [
        "| set | " + " | ".join(f"{size} tasks" for size in sizes) + " |",
        "| --- |" + " ---: |" * len(sizes),
    ]
    for name, entry in results["sets"].items():
        pairs = zip(entry["company"]["any"][1:], entry["company"]["best"][1:], strict=True)
        cells = [f"{mean:.2f} / {best:.2f}" for mean, best in pairs]
        cells += [""] * (len(sizes) - len(cells))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def rebuild_table(results: dict[str, Any]) -> str:
    """CPU time of the yardstick itself, as the tables and the evaluation took it down."""
    named = {
        "groups": "training all groups",
        "affinities": "measuring the affinities",
        "report": "evaluating every method",
    }
    minutes = {kind: seconds / 60 for kind, seconds in results["cpu_seconds"].items()}
    lines = ["| step | CPU minutes |", "| --- | ---: |"]
    lines += [f"| {what} | {minutes[kind]:.1f} |" for kind, what in named.items()]
    lines.append(f"| **all that is committed, from nothing** | {sum(minutes.values()):.1f} |")
    return "\n".join(lines)


def plot(results: dict[str, Any], path: Any) -> None:
    """Loss against the cost of finding the groups, over the sets where grouping matters."""
    import matplotlib.pyplot as plt

    chosen = [entry for entry in compared(results).values() if matters(entry)]
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    for method in SHOWN:
        # Without a cost, or where another method's point is.
        if method in _NOT_DRAWN or not chosen:
            continue
        has = [entry for entry in chosen if method in entry["methods"]]
        relative = [
            (total_test_losses(e, method).mean(1) / total_test_losses(e, "random").mean(1)).mean()
            for e in has
        ]
        cost = np.mean([cost_in_joint_runs(e, method) for e in has])
        axes.scatter(max(cost, 0.5), np.mean(relative), s=28)
        axes.annotate(
            method,
            (max(cost, 0.5), np.mean(relative)),
            xytext=(5, 3 if "every" in method else -10),
            textcoords="offset points",
            fontsize=8,
        )
    axes.axhline(1, color="grey", linewidth=0.8, linestyle=":")
    axes.set_xscale("log")
    axes.set_xlabel("cost of finding the groups, in joint runs (0.5 stands for nothing)")
    axes.set_ylabel(f"test loss / that of random groups\n(mean over sets, b in {BUDGETS})")
    figure.savefig(path, dpi=130)
    plt.close(figure)


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Every table of the page by name."""
    return {
        "left out": left_out_table(results),
        "where it matters": recovery_table(results, SHOWN, only_matters=True),
        "everywhere": recovery_table(results, SHOWN, only_matters=False),
        "variants": recovery_table(results, VARIANTS, only_matters=True),
        "costs": cost_table(results),
        "company": company_table(results),
        "rebuild": rebuild_table(results),
        "losses": losses_table(results),
    }
