"""All steps on real digits, compared with other groupings."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from benchmarks.demo_comparison.result import DemoResult, DemoSettings, Run
from keras_tag.baselines import all_in_one, random_groups, single_task
from keras_tag.datasets import OverlaidDigits, overlaid_digits
from keras_tag.selection import Grouping, select_groups

if TYPE_CHECKING:
    from benchmarks.demo_comparison.training import Trained


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
    from benchmarks.demo_comparison.training import Recipe, train_groups, train_joint

    recipe = Recipe(epochs=settings.epochs)
    start, cpu_start = time.monotonic(), time.process_time()
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
    pooled = affinities[0].merge(*affinities[1:])
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
    return DemoResult(
        settings,
        pooled,
        selected,
        tuple(runs),
        seconds=round(time.monotonic() - start, 1),
        cpu_seconds=round(time.process_time() - cpu_start, 1),
    )


def _data(settings: DemoSettings, seed: int) -> OverlaidDigits:
    return overlaid_digits(settings.positions, settings.tasks, seed, train_size=settings.train_size)
