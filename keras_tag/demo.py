"""The whole path on real digits, and whether it was worth it: what `keras-tag demo` runs."""

import importlib
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib.metadata import version
from statistics import mean, stdev
from typing import TYPE_CHECKING

import numpy as np

from keras_tag.affinity import Affinity
from keras_tag.baselines import all_in_one, random_groups, single_task
from keras_tag.datasets import OverlaidDigits, overlaid_digits
from keras_tag.datasets.digits import task_names
from keras_tag.selection import Grouping, select_groups

if TYPE_CHECKING:
    from keras_tag.demo_training import Trained

# The order of the report's tables.
METHODS = ("selected", "single task", "all in one", "random")


@dataclass(frozen=True)
class DemoSettings:
    """What is run.

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
        num_tasks = len(self.task_names)
        for name in ("seeds", "draws", "epochs", "train_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"Expected `{name}` >= 1. Received: {name}={getattr(self, name)}.")
        if num_tasks < 2:
            raise ValueError(
                f"Expected at least two tasks to group. Received: tasks={self.tasks}, "
                f"positions={self.positions}, which make one."
            )
        if not 1 <= self.budget <= num_tasks:
            raise ValueError(
                f"Expected `budget` from 1 to the number of tasks, {num_tasks} "
                f"({len(self.tasks)} properties at {self.positions} positions). Received: "
                f"budget={self.budget}."
            )

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
    """What came of it.

    Args:
        settings: What was run.
        affinity: Of all seeds' joint runs, pooled.
        grouping: What was selected from it.
        runs: Everything that was trained.
        seconds: How long it all took.
        versions: Of Python and the libraries that matter.
        cpus: How many the machine has.
    """

    settings: DemoSettings
    affinity: Affinity
    grouping: Grouping
    runs: tuple[Run, ...] = field(repr=False)
    seconds: float
    versions: dict[str, str] = field(default_factory=lambda: _versions())
    cpus: int | None = field(default_factory=os.cpu_count)

    def by_seed(self, method: str) -> list[float]:
        """The total test loss of a method per seed; of random groups, the mean of the draws."""
        return [
            mean(r.total_loss for r in self.runs if (r.method, r.seed) == (method, seed))
            for seed in range(self.settings.seeds)
        ]

    def mean(self, method: str) -> float:
        """The mean over the seeds."""
        return mean(self.by_seed(method))

    def spread(self, method: str) -> float:
        """The standard deviation over the seeds; NaN with a single one."""
        return stdev(self.by_seed(method)) if self.settings.seeds > 1 else float("nan")


def run_demo(
    settings: DemoSettings | None = None, progress: Callable[[str], None] = lambda line: None
) -> DemoResult:
    """Measure, select, train and compare.

    For every seed the joint network is trained with probes. The affinities of all seeds are
    pooled, and the groups are selected once: what is selected varies less than what a single
    joint run shows. Then, for every seed, the selected groups and their rivals are trained on that
    seed's images from the same first weights. Neither affinity nor selection sees a test image,
    and no test digit of any seed is in a training image of another.

    Args:
        settings: What to run; the defaults take some minutes on two cores.
        progress: Called with a line of text when something has been done.

    Returns:
        A `DemoResult`.
    """
    settings = settings or DemoSettings()
    _load_solver()
    from keras_tag.demo_training import Recipe, train_groups, train_joint

    recipe = Recipe(epochs=settings.epochs)
    start = time.monotonic()
    steps = settings.seeds * (3 + settings.draws)
    runs: list[Run] = []

    def keep(method: str, seed: int, grouping: Grouping, trained: "Trained") -> None:
        run = Run(method, seed, grouping, trained.task_losses, trained.epochs)
        runs.append(run)
        progress(
            f"[{time.monotonic() - start:4.0f} s, {len(runs):{len(str(steps))}} of {steps}] seed "
            f"{seed}, {method}: total test loss {run.total_loss:.3f} ({run.epochs} epochs)"
        )

    affinities = []
    for seed in range(settings.seeds):
        affinity, trained = train_joint(_data(settings, seed), recipe, seed)
        affinities.append(affinity)
        # Probes leave training as it is, so the joint network is a rival as well.
        keep("all in one", seed, all_in_one(settings.task_names), trained)
    pooled = pool_affinities(affinities)
    progress(str(pooled))
    selected = select_groups(pooled, settings.budget)
    progress(str(selected))
    for seed in range(settings.seeds):
        rivals = [("selected", selected), ("single task", single_task(settings.task_names))]
        for draw in range(seed * settings.draws, (seed + 1) * settings.draws):
            rivals.append(("random", random_groups(settings.task_names, settings.budget, draw)))
        for method, grouping in rivals:
            # A new data set each time: its first epoch is the first one for everybody.
            trained = train_groups(grouping, _data(settings, seed), recipe, seed)
            keep(method, seed, grouping, trained)
    return DemoResult(settings, pooled, selected, tuple(runs), round(time.monotonic() - start, 1))


def pool_affinities(affinities: Iterable[Affinity]) -> Affinity:
    """The mean over all probes of several runs of the same tasks.

    Args:
        affinities: At least one, all with the same tasks in the same order.

    Returns:
        An `Affinity` in which every probe counts the same, and the counts add up.

    Raises:
        ValueError: No affinity, or different tasks.
    """
    affinities = list(affinities)
    if len({affinity.tasks for affinity in affinities}) != 1:
        raise ValueError(
            "Expected affinities of the same tasks in the same order. Received: "
            f"{[affinity.tasks for affinity in affinities]}."
        )
    count = np.sum([affinity.count for affinity in affinities], axis=0)
    total = np.sum([np.nan_to_num(a.mean) * a.count for a in affinities], axis=0)
    pooled = np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
    return Affinity(affinities[0].tasks, pooled, count)


def _data(settings: DemoSettings, seed: int) -> OverlaidDigits:
    return overlaid_digits(settings.positions, settings.tasks, seed, train_size=settings.train_size)


def _versions() -> dict[str, str]:
    libraries = ("keras_tag", "keras", "tensorflow", "ortools", "scikit-learn", "numpy")
    return {"python": platform.python_version(), **{name: version(name) for name in libraries}}


def _load_solver() -> None:
    """Load OR-Tools so that it keeps to its own libraries, as long as selection does not do so.

    Both TensorFlow and OR-Tools bring Abseil. When TensorFlow is loaded first, OR-Tools' calls
    are bound to TensorFlow's copy, and CP-SAT crashes the process (OR-Tools 9.15, TensorFlow
    2.21, Linux).
    """
    if "ortools.sat.python.cp_model" in sys.modules or not hasattr(os, "RTLD_DEEPBIND"):
        return
    flags = sys.getdlopenflags()
    sys.setdlopenflags(flags | os.RTLD_DEEPBIND)
    try:
        importlib.import_module("ortools.sat.python.cp_model")
        importlib.import_module("ortools.linear_solver.pywraplp")
    finally:
        sys.setdlopenflags(flags)
