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
from benchmarks.grouping_quality.real_sets import REAL_SETS
from benchmarks.grouping_quality.task_sets import TASK_SETS, TaskSet

SETS = {**TASK_SETS, **REAL_SETS}
FROM_FILES = frozenset({"tox21", *REAL_SETS})


def load_set(name: str, seed: int, folder: Path | None) -> TaskSet:
    """A set by name; data `FROM_FILES` are in a folder."""
    load = SETS[name][0]
    if name not in FROM_FILES:
        return load(seed)
    if folder is None:
        raise ValueError(f"Expected --data FOLDER, with the file of {name!r}. Received: none.")
    return load(seed, folder)


def table_file(name: str, units: int, kind: str = "groups") -> Path:
    """Where the table of a set and a trunk size is kept."""
    return FOLDER / f"{name}-{units}.{kind}.npz"


def train_table(
    name: str, units: int, folder: Path | None, seeds: Iterable[int] | None = None
) -> GroupTable:
    """Train every group of a set.

    Args:
        name: One of `SETS`.
        units: The size of the trunk.
        folder: Where the files of data are.
        seeds: Of data, first weights and batch order; None: as many as the recipe says.

    Returns:
        The table.
    """
    recipe = SETS[name][1]
    began, computed = time.monotonic(), time.process_time()
    seeds = tuple(range(recipe.seeds) if seeds is None else seeds)
    trained = []
    for seed in seeds:
        data = load_set(name, seed, folder)
        groups = all_groups(len(data.tasks))
        trained.append(train_groups(data, groups, units, seed, recipe, CHECKPOINTS))
    layers = recipe.trunk and [dataclasses.asdict(layer) for layer in recipe.trunk(units)]
    about = {
        "set": name,
        "units": units,
        "seeds": seeds,
        "recipe": {**dataclasses.asdict(recipe), "trunk": layers},
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


def train_tables(runs: Iterable[tuple[str, int]], folder: Path | None) -> None:
    """Train and keep the tables of these sets and trunk sizes."""
    FOLDER.mkdir(exist_ok=True)
    for name, units in runs:
        table = train_table(name, units, folder)
        save_table(table, table_file(name, units))
        print(
            f"{name}, {units} units: {table.epochs.size} networks, {table.about['seconds']} s, "
            f"{table.about['cpu_seconds']} s of CPU time",
            flush=True,
        )
