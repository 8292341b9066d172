"""Tables of `left_out.json`."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.grouping_quality.report import MATTERS

_DRAWS = 2000


# Of which one is chosen on the other families, and what the choice is called.
OPTIMISMS = ("sizes", "sizes, optimism 0.7", "sizes, optimism 0.5", "sizes, optimism 0.3")
CHOSEN = "sizes, optimism of other families"


def tables(results: dict[str, Any]) -> dict[str, str]:
    """Every table of the page that comes of `left_out.json`, by name."""
    results = with_chosen_optimism(results)
    return {
        "searches": searches_table(results, matter=True),
        "searches where it hardly matters": searches_table(results, matter=False),
        "families": family_table(results),
        "decisions": decision_table(results),
        "coverage": coverage_table(results),
        "untrained": untrained_table(results),
        "outlook": outlook_table(results),
    }


def with_chosen_optimism(results: dict[str, Any]) -> dict[str, Any]:
    """The results with one search more: for every family the optimism best on the others.

    Args:
        results: As in `left_out.json`.
    """
    families = _families(results)
    chosen: dict[str, dict[str, Any]] = {}
    for key, entry in results["sets"].items():
        others = [k for family, keys in families.items() if family != entry["family"] for k in keys]

        def mean_of(search: str, keys: list[str] = others) -> float:
            found = [recoveries(results, search, count) for count in (2, 3)]
            return float(np.mean([[of_count[k] for k in keys] for of_count in found]))

        best = max(OPTIMISMS, key=mean_of)
        for count, by_set in results["searches"][best].items():
            chosen.setdefault(count, {})[key] = by_set[key]
    return {**results, "searches": {**results["searches"], CHOSEN: chosen}}


def recoveries(results: dict[str, Any], search: str, per_network: int) -> dict[str, np.ndarray]:
    """Set -> `[num_budgets]`: (random - method) / (random - exhaustive), of means over the seeds.

    Args:
        results: As in `left_out.json`.
        search: Which.
        per_network: How many trainings per network.
    """
    found = {}
    for key, entry in results["searches"][search][str(per_network)].items():
        test = np.array(entry["test"])
        random, optimum = _references(results["sets"][key], test.shape[1])
        found[key] = _recovery(random, optimum, test)
    return found


def interval(
    results: dict[str, Any], search: str, per_network: int, keys: Sequence[str]
) -> tuple[float, float]:
    """A 90 % bootstrap interval over the seeds, and so the splits of the data, of the mean."""
    draw = np.random.default_rng(0)
    means = []
    for key in keys:
        test = np.array(results["searches"][search][str(per_network)][key]["test"])
        random, optimum = _references(results["sets"][key], test.shape[1])
        rows = draw.integers(test.shape[1], size=(_DRAWS, test.shape[1]))
        drawn = [each[:, rows].mean(-1) for each in (random, optimum, test)]
        means.append(((drawn[0] - drawn[2]) / (drawn[0] - drawn[1])).mean(0))
    low, high = np.quantile(np.mean(means, 0), [0.05, 0.95])
    return float(low), float(high)


def matters(entry: dict[str, Any]) -> bool:
    """Whether grouping matters on a set: see `report.matters`."""
    gain, errors = reproducible_gain(entry)
    return gain >= MATTERS and errors >= 2


def reproducible_gain(entry: dict[str, Any]) -> tuple[float, float]:
    """By how much (share of the loss, in standard errors) the other seeds' best groups win."""
    random = np.array(entry["random"])
    gain = ((random - np.array(entry["other seeds"])) / random).mean(0)
    return float(gain.mean()), float(gain.mean() / (gain.std(ddof=1) / np.sqrt(len(gain))))


def searches_table(results: dict[str, Any], matter: bool) -> str:
    """Mean recovery with its interval, and the least, by search and trainings per network."""
    sets = [key for key, entry in results["sets"].items() if matters(entry) == matter]
    counts = list(next(iter(results["searches"].values())))
    lines = [
        "| search | sets | "
        + " | ".join(f"{count} per network | least" for count in counts)
        + " |",
        "| --- | ---: |" + " --- | ---: |" * len(counts),
    ]
    for search, by_count in results["searches"].items():
        cells = []
        for count in counts:
            has = [key for key in sets if key in by_count[count]]
            if not has:
                continue
            values = np.array([recoveries(results, search, int(count))[key] for key in has])
            low, high = interval(results, search, int(count), has)
            cells.append(f"{values.mean():.2f} ({low:.2f} to {high:.2f}) | {values.min():.2f}")
        if cells:
            lines.append(f"| {search} | {len(has)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def family_table(results: dict[str, Any], search: str = "validation probes, as shipped") -> str:
    """Mean and least recovery by family where grouping matters, and where random groups end."""
    counts = list(results["searches"][search])
    lines = [
        "| family left out | sets | "
        + " | ".join(f"{count} per network" for count in counts)
        + " | no affinity, 2 | random groups, 2 |",
        "| --- | ---: |" + " --- |" * (len(counts) + 2),
    ]
    for family, keys in _families(results).items():
        cells = []
        columns = [(search, count) for count in counts]
        columns += [("no affinity", "2"), ("random groups trained", "2")]
        for name, count in columns:
            values = np.array([recoveries(results, name, int(count))[key] for key in keys])
            cells.append(f"{values.mean():.2f}, least {values.min():.2f}")
        lines.append(f"| {family} | {len(keys)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def decision_table(results: dict[str, Any]) -> str:
    """Every variant against the search as shipped: difference, standard errors, worst family."""
    base = "validation probes, as shipped"
    lines = [
        "| variant | sets | 2 per network: gain (standard error), worst family "
        "| 3 per network: gain (standard error), worst family |",
        "| --- | ---: | --- | --- |",
    ]
    families = _families(results)
    for search in results["searches"]:
        if search in (base, "random groups trained"):
            continue
        cells = []
        for count in (2, 3):
            own, shipped = (recoveries(results, name, count) for name in (search, base))
            gains = {
                key: own[key].mean() - shipped[key].mean()
                for keys in families.values()
                for key in keys
                if key in own
            }
            worst = min(
                (float(np.mean([gains[k] for k in keys if k in gains])), family)
                for family, keys in families.items()
                if any(k in gains for k in keys)
            )
            values = np.array(list(gains.values()))
            error = values.std(ddof=1) / np.sqrt(len(values))
            cells.append(f"{values.mean():+.3f} ({error:.3f}), {worst[1]} {worst[0]:+.3f}")
        lines.append(f"| {search} | {len(values)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def untrained_table(results: dict[str, Any]) -> str:
    """Recovery of choices without training where grouping matters, against "members"."""
    families = _families(results)
    lines = [
        "| choice, by probes on | sets | mean | least | gain over members (standard error) | "
        + " | ".join(families)
        + " |",
        "| --- | ---: | ---: | ---: | --- |" + " --- |" * len(families),
    ]
    reached: dict[str, dict[str, np.ndarray]] = {}
    for label, by_set in results["untrained"].items():
        reached[label] = {}
        for key, losses in by_set.items():
            test = np.array(losses)
            random, optimum = _references(results["sets"][key], test.shape[1])
            reached[label][key] = _recovery(random, optimum, test)
    for label, by_set in reached.items():
        default = reached[f"members (the default), {label.rpartition(', ')[2]}"]
        keys = [key for keys in families.values() for key in keys]
        values = np.array([by_set[key] for key in keys])
        gains = values.mean(1) - np.array([default[key].mean() for key in keys])
        error = gains.std(ddof=1) / np.sqrt(len(gains))
        said = "" if by_set is default else f"{gains.mean():+.2f} ({error:.2f})"
        cells = [
            f"{np.mean([by_set[k] for k in own]):.2f}, least {np.min([by_set[k] for k in own]):.2f}"
            for own in families.values()
        ]
        lines.append(
            f"| {label} | {len(keys)} | {values.mean():.2f} | {values.min():.2f} | {said} | "
            + " | ".join(cells)
            + " |"
        )
    return "\n".join(lines)


def coverage_table(results: dict[str, Any]) -> str:
    """Shares of losses within 90 % intervals, by family."""
    by_family: dict[str, list[str]] = {}
    for key, entry in results["sets"].items():
        by_family.setdefault(entry["family"], []).append(key)
    names = list(next(iter(results["coverage"].values())))
    lines = ["| family left out | " + " | ".join(names) + " |", "| --- |" + " ---: |" * len(names)]
    for family, keys in by_family.items():
        cells = [f"{np.mean([results['coverage'][k][n] for k in keys]):.0%}" for n in names]
        lines.append(f"| {family} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def outlook_table(results: dict[str, Any]) -> str:
    """What is stated of the gain to be found, by set, and how often it is right."""
    rounds = ("before", "after b trainings", "after 2 b trainings")
    lines = [
        "| set | gain | " + " | ".join(rounds) + " |",
        "| --- | ---: |" + " --- |" * len(rounds),
    ]
    inside: dict[str, list[list[bool]]] = {
        name: [[] for _ in rounds] for name in ("all", "where grouping matters")
    }
    for key, said in results["outlook"].items():
        cells = []
        for count in range(len(rounds)):
            rows = [one for one in said if one["rounds"] == count]
            low, middle, high = np.mean([one["said"] for one in rows], 0)
            held = [r["said"][0] <= r["truth"] <= r["said"][2] for r in rows]
            inside["all"][count] += held
            if matters(results["sets"][key]):
                inside["where grouping matters"][count] += held
            little = sum(one["little"] for one in rows)
            cells.append(f"{middle:.0%} ({low:.0%} to {high:.0%}), little {little}/{len(rows)}")
        truth = np.mean([one["truth"] for one in said])
        lines.append(f"| {key} | {truth:.0%} | " + " | ".join(cells) + " |")
    for name, by_round in inside.items():
        shares = " | ".join(f"{np.mean(each):.0%} inside" for each in by_round)
        lines.append(f"| **{name}** | | {shares} |")
    return "\n".join(lines)


def _families(results: dict[str, Any]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key, entry in results["sets"].items():
        if matters(entry):
            found.setdefault(entry["family"], []).append(key)
    return found


def _references(entry: dict[str, Any], num_seeds: int) -> tuple[np.ndarray, np.ndarray]:
    return tuple(np.array(entry[name])[:, :num_seeds] for name in ("random", "exhaustive"))


def _recovery(random: np.ndarray, optimum: np.ndarray, test: np.ndarray) -> np.ndarray:
    return (random.mean(1) - test.mean(1)) / (random.mean(1) - optimum.mean(1))
