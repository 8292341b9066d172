"""Trains all groups of all sets, and keeps the tables: step 1 of the yardstick."""

import dataclasses
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from benchmarks.grouping_quality.batched_training import train_groups
from benchmarks.grouping_quality.group_table import (
    CHECKPOINTS,
    FOLDER,
    GroupTable,
    all_groups,
    environment,
    save_table,
)
from benchmarks.grouping_quality.task_sets import TASK_SETS, TaskSet

SEEDS = tuple(range(5))


def load_set(name: str, seed: int, tox21: Path | None) -> TaskSet:
    """A set by name; only Tox21's data come from a file."""
    load = TASK_SETS[name][0]
    return load(seed, tox21) if name == "tox21" else load(seed)


def table_file(name: str, units: int, kind: str = "groups") -> Path:
    """Where the table of a set and a trunk size is kept."""
    return FOLDER / f"{name}-{units}.{kind}.npz"


def train_table(
    name: str, units: int, tox21: Path | None, seeds: Iterable[int] = SEEDS
) -> GroupTable:
    """Train every group of a set.

    Args:
        name: One of `TASK_SETS`.
        units: The size of the trunk.
        tox21: Where Tox21's file is.
        seeds: Of data, first weights and batch order.

    Returns:
        The table.
    """
    recipe = TASK_SETS[name][1]
    began, computed = time.monotonic(), time.process_time()
    seeds = tuple(seeds)
    trained = []
    for seed in seeds:
        data = load_set(name, seed, tox21)
        groups = all_groups(len(data.tasks))
        trained.append(train_groups(data, groups, units, seed, recipe, CHECKPOINTS))
    about = {
        "set": name,
        "units": units,
        "seeds": seeds,
        "recipe": dataclasses.asdict(recipe),
        "binary": data.binary.tolist(),
        "sizes": {split: len(part.x) for split, part in data.splits.items()},
        "features": data.splits["train"].x.shape[1],
        "seconds": round(time.monotonic() - began, 1),
        "cpu_seconds": round(time.process_time() - computed, 1),
        **environment("numba", "scikit-learn"),
    }
    return GroupTable(
        data.tasks,
        groups,
        np.stack([one.validation for one in trained]),
        np.stack([one.test for one in trained]),
        np.stack([one.early for one in trained], 1),
        np.stack([one.epochs for one in trained]),
        about,
    )


def train_tables(runs: Iterable[tuple[str, int]], tox21: Path | None) -> None:
    """Train and keep the tables of these sets and trunk sizes."""
    FOLDER.mkdir(exist_ok=True)
    for name, units in runs:
        table = train_table(name, units, tox21)
        save_table(table, table_file(name, units))
        print(
            f"{name}, {units} units: {table.epochs.size} networks, {table.about['seconds']} s, "
            f"{table.about['cpu_seconds']} s of CPU time",
            flush=True,
        )
