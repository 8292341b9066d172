"""The output of a run of the demo: its table, its report and the files in its folder."""

import math
import os
from pathlib import Path

from benchmarks.demo_comparison.result import METHODS, DemoResult, to_json
from keras_tag.selection import Grouping


def describe(result: DemoResult) -> str:
    """Return the comparison as a Markdown table, which reads well as plain text too.

    Args:
        result: What `run_demo` returned.

    Returns:
        One line per method: networks, total test loss per seed, mean and spread.
    """
    seeds = range(result.settings.seeds)
    header = ["method", "networks", *(f"seed {seed}" for seed in seeds), "mean", "spread"]
    rows = [header]
    for method in METHODS:
        networks = len(next(r for r in result.runs if r.method == method).grouping.groups)
        losses = [*result.by_seed(method), result.mean(method), result.spread(method)]
        name = method
        if method == "random":
            draws = result.settings.draws
            name = f"random (mean of {draws} draws per seed)" if draws > 1 else "random (one draw)"
        rows.append([name, str(networks), *map(_number, losses)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [_row(row, widths) for row in rows]
    # Names to the left, numbers to the right.
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([lines[0], _row(rule, widths), *lines[1:]])


def verdict(result: DemoResult) -> str:
    """Compare the selected groups with each other method, in a line each.

    Args:
        result: What `run_demo` returned.

    Returns:
        A Markdown list.
    """
    lines = []
    for rival in METHODS[1:]:
        ours, theirs = result.by_seed("selected"), result.by_seed(rival)
        lost = [seed for seed, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a >= b]
        difference = result.mean("selected") - result.mean(rival)
        side = "lower" if difference < 0 else "HIGHER"
        average = "equal" if round(difference, 3) == 0 else f"{abs(difference):.3f} {side}"
        line = f"- against {rival}: {average} on average, lower on {len(ours) - len(lost)} of "
        line += f"{len(ours)} seed{'s' * (len(ours) != 1)}"
        lines.append(line + (f" (not on seed {', '.join(map(str, lost))})" if lost else ""))
    return "\n".join(lines)


def report(result: DemoResult) -> str:
    """Return the report, which shows the pictures that `write_report` puts beside it.

    Args:
        result: What `run_demo` returned.

    Returns:
        Markdown.
    """
    settings = result.settings
    random_runs = [run for run in result.runs if run.method == "random"]
    draws = [
        f"| {run.seed} | {_describe_groups(run.grouping)} | {run.total_loss:.3f} |"
        for run in random_runs
    ]
    versions = ", ".join(f"{name} {number}" for name, number in result.versions.items())
    return f"""\
# Which tasks should train together: overlaid digits

- Tasks: {len(result.affinity.tasks)}, {", ".join(settings.tasks)} of the digit at each of
  {settings.positions} positions
- Networks that may be served: {settings.budget}
- Seeds: {settings.seeds}, each with other images ({settings.train_size} for training) and other
  first weights
- Took: {result.seconds:.0f} s with {result.cpus} CPUs ({result.cpu_seconds:.0f} s of CPU time)
- Versions: {versions}

## Was it worth it

Total test loss: the sum of the tasks' binary cross-entropies on 2,000 images of digits that were
never trained on. Less is better. Spread: the standard deviation over the seeds.

{describe(result)}

The selected groups {_are_best(result)}:

{verdict(result)}

The random groupings, one by one:

| seed | groups | total test loss |
| ---: | :----- | --------------: |
{chr(10).join(draws)}

## The affinity

Measured while one network was trained for all tasks, and pooled over the seeds:
{int(result.affinity.count.max())} probes.

![affinity](affinity.png)

## The selected groups

```text
{result.grouping}
```

![groups](groups.png)

## What this does not show

The digits have planted structure: the tasks of one position look at the same pixels, so that
grouping by position is right by construction. That it is found says that the method finds such a
structure, not that your tasks have one. The groups are compared on the seeds whose joint runs
selected them (from training images; no test digit was seen). All networks have the same trunk,
however many tasks they serve: more networks are more weights and more work.
"""


def write_report(result: DemoResult, folder: str | os.PathLike[str]) -> list[Path]:
    """Write everything into a folder.

    Args:
        result: What `run_demo` returned.
        folder: Where to; it is made if need be. Files of an earlier run are replaced.

    Returns:
        The files: `report.md`, `affinity.npz`, `affinity.png`, `groups.json`, `groups.png` and
        `result.json` (all numbers).
    """
    from matplotlib.figure import Figure

    from keras_tag.plotting import affinity_size, groups_size, plot_affinity, plot_groups

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    names = (
        "report.md",
        "affinity.npz",
        "affinity.png",
        "groups.json",
        "groups.png",
        "result.json",
    )
    paths = {name: folder / name for name in names}
    result.affinity.save(paths["affinity.npz"])
    result.grouping.save(paths["groups.json"])
    # Figures of their own, not pyplot's: no window system is asked for, whatever is configured.
    figure = Figure(affinity_size(len(result.affinity.tasks)), layout="constrained")
    plot_affinity(result.affinity, figure.subplots())
    figure.savefig(paths["affinity.png"], dpi=120)
    figure = Figure(groups_size(result.grouping), layout="constrained")
    plot_groups(result.grouping, figure.subplots())
    figure.savefig(paths["groups.png"], dpi=120)
    paths["result.json"].write_text(to_json(result), "utf-8")
    paths["report.md"].write_text(report(result), "utf-8")
    return list(paths.values())


def _are_best(result: DemoResult) -> str:
    ours = result.mean("selected")
    better = [rival for rival in METHODS[1:] if ours < result.mean(rival)]
    return f"have a lower mean total test loss than {len(better)} of {len(METHODS) - 1} rivals"


def _describe_groups(grouping: Grouping) -> str:
    return "; ".join(" + ".join(group) for group in grouping.groups)


def _number(loss: float) -> str:
    return "-" if math.isnan(loss) else f"{loss:.3f}"


def _row(cells: list[str], widths: list[int]) -> str:
    padded = [cells[0].ljust(widths[0]), *map(str.rjust, cells[1:], widths[1:])]
    return f"| {' | '.join(padded)} |"
