"""Settings, runs and result of the demo, and their JSON."""

import json
import math
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from statistics import mean, stdev
from typing import Any

import numpy as np

from keras_tag.affinity import Affinity
from keras_tag.datasets.digits import task_names
from keras_tag.demo.run import check_settings
from keras_tag.selection import Grouping

# The order of the report's tables.
METHODS = ("selected", "single task", "all in one", "random")


@dataclass(frozen=True)
class DemoSettings:
    """The settings of a run of the demo.

    Args:
        budget: How many networks may be served.
        seeds: How many times everything is repeated, with seeds 0, 1, ...: other images, other
            first weights.
        tasks: The properties of the digits, see `keras_tag.datasets.overlaid_digits`.
        positions: How many digits an image shows.
        draws: How many random groupings are trained per seed.
        epochs: The most epochs a network is trained; it stops earlier on validation loss.
        train_size: How many training images there are.

    Raises:
        ValueError: A setting out of range.
    """

    budget: int = 3
    seeds: int = 3
    tasks: tuple[str, ...] = ("loop", "prime", "composite")
    positions: int = 3
    draws: int = 2
    epochs: int = 100
    train_size: int = 1500

    def __post_init__(self) -> None:
        check_settings(self, ("seeds", "draws", "epochs", "train_size"))

    @property
    def task_names(self) -> tuple[str, ...]:
        """One task per position and property."""
        return task_names(self.positions, self.tasks)


@dataclass(frozen=True)
class Run:
    """One grouping, trained once.

    Args:
        method: One of `METHODS`.
        seed: Of data and first weights.
        grouping: What was trained.
        task_losses: Task -> test loss (binary cross-entropy, nats).
        epochs: How many epochs were trained.
    """

    method: str
    seed: int
    grouping: Grouping
    task_losses: dict[str, float]
    epochs: int

    @property
    def total_loss(self) -> float:
        """The sum over the tasks."""
        return sum(self.task_losses.values())


@dataclass(frozen=True)
class DemoResult:
    """The result of a run of the demo.

    Args:
        settings: What was run.
        affinity: Of all seeds' joint runs, pooled.
        grouping: What was selected from it.
        runs: Everything that was trained.
        seconds: How long it all took.
        cpu_seconds: How long its threads computed: what it takes on a busy machine, too.
        versions: Of Python and the libraries that matter.
        cpus: How many the machine has.
    """

    settings: DemoSettings
    affinity: Affinity
    grouping: Grouping
    runs: tuple[Run, ...] = field(repr=False)
    seconds: float
    cpu_seconds: float
    versions: dict[str, str] = field(default_factory=lambda: _versions())
    cpus: int | None = field(default_factory=os.cpu_count)

    def by_seed(self, method: str) -> list[float]:
        """Return the total test loss of a method per seed; for random groups, the mean draw."""
        return [
            mean(r.total_loss for r in self.runs if (r.method, r.seed) == (method, seed))
            for seed in range(self.settings.seeds)
        ]

    def mean(self, method: str) -> float:
        """Return the mean over the seeds."""
        return mean(self.by_seed(method))

    def spread(self, method: str) -> float:
        """Return the standard deviation over the seeds; NaN with a single one."""
        return stdev(self.by_seed(method)) if self.settings.seeds > 1 else float("nan")


def to_dict(result: DemoResult) -> dict[str, Any]:
    """Return the numbers behind the report as plain JSON types, for `from_dict`.

    Args:
        result: What `run_demo` returned.

    Returns:
        Settings, versions, the pooled affinity (six digits), the selected grouping, totals by
        method and seed, and every run with its task losses.
    """
    affinity = result.affinity
    return {
        "settings": {**vars(result.settings), "tasks": list(result.settings.tasks)},
        "versions": result.versions,
        "cpus": result.cpus,
        "seconds": result.seconds,
        "cpu_seconds": result.cpu_seconds,
        "tasks": list(affinity.tasks),
        "affinity_rows_source": [[_significant(z) for z in row] for row in affinity.mean],
        "affinity_count": affinity.count.tolist(),
        "grouping": result.grouping.to_dict(),
        "total_test_loss": {method: result.by_seed(method) for method in METHODS},
        "runs": [
            {
                "method": run.method,
                "seed": run.seed,
                "groups": [list(group) for group in run.grouping.groups],
                "task_losses": run.task_losses,
                "epochs": run.epochs,
            }
            for run in result.runs
        ],
    }


def to_json(result: DemoResult) -> str:
    """Return `to_dict` as text: a line per entry and per run, so that a change is easy to see.

    Args:
        result: What `run_demo` returned.

    Returns:
        JSON.
    """
    lines = []
    for key, value in to_dict(result).items():
        runs = ",\n  ".join(map(json.dumps, value)) if key == "runs" else ""
        lines.append(f' "{key}": ' + (f"[\n  {runs}\n ]" if runs else json.dumps(value)))
    return "{\n" + ",\n".join(lines) + "\n}\n"


def from_dict(stored: Mapping[str, Any]) -> DemoResult:
    """Make a result of what `to_dict` returned.

    Args:
        stored: Plain JSON types.

    Returns:
        A `DemoResult` of which every table and sentence is the same.
    """
    settings = DemoSettings(**{**stored["settings"], "tasks": tuple(stored["settings"]["tasks"])})
    mean = np.array(stored["affinity_rows_source"], dtype=np.float64)
    selected = Grouping.from_dict(stored["grouping"])
    runs = [
        Run(
            run["method"],
            run["seed"],
            selected if run["method"] == "selected" else Grouping.from_groups(run["groups"]),
            run["task_losses"],
            run["epochs"],
        )
        for run in stored["runs"]
    ]
    return DemoResult(
        settings,
        Affinity(tuple(stored["tasks"]), mean, np.array(stored["affinity_count"])),
        selected,
        tuple(runs),
        stored["seconds"],
        stored["cpu_seconds"],
        stored["versions"],
        stored["cpus"],
    )


def _versions() -> dict[str, str]:
    libraries = ("keras_tag", "keras", "tensorflow", "ortools", "scikit-learn", "numpy")
    return {"python": platform.python_version(), **{name: version(name) for name in libraries}}


def _significant(value: float) -> float | None:
    return None if math.isnan(value) else float(f"{value:.6g}")
