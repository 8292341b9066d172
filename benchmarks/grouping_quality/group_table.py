"""A set's table: what every group of its tasks reached, for every seed, in one compact file."""

import json
import os
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent / "tables"
# After so many epochs the validation losses are kept as well: what a short training would show.
CHECKPOINTS = (2, 5, 10, 20)


@dataclass(frozen=True, eq=False, repr=False)
class GroupTable:
    """What all 2^n - 1 groups reached.

    Args:
        tasks: The n task names.
        groups: `[num_groups, num_tasks]` bool. Row k - 1 is the group whose tasks are the bits
            of k.
        validation: `[num_seeds, num_groups, num_tasks]`: the validation loss of a task at its
            network's best epoch; NaN outside the group.
        test: As `validation`: the test loss at the same weights.
        early: `[num_checkpoints, num_seeds, num_groups, num_tasks]`: validation losses had
            training ended after `CHECKPOINTS` epochs.
        epochs: `[num_seeds, num_groups]`: how many epochs a network was trained.
        about: Set, units, seeds, recipe, sizes, versions, CPUs and seconds.
    """

    tasks: tuple[str, ...]
    groups: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    early: np.ndarray
    epochs: np.ndarray
    about: dict[str, Any]

    @property
    def num_seeds(self) -> int:
        """How many times every group was trained."""
        return len(self.validation)

    def mask_row(self, group: int) -> int:
        """The row of a group given as a bit mask."""
        return group - 1


def all_groups(num_tasks: int) -> np.ndarray:
    """`[2**n - 1, n]` bool: row k - 1 holds the bits of k, task 0 the lowest."""
    masks = np.arange(1, 1 << num_tasks)
    return (masks[:, None] >> np.arange(num_tasks) & 1).astype(bool)


def save_table(table: GroupTable, path: Path) -> None:
    """Write a table; only what belongs to a group's tasks is kept, as float32.

    Args:
        table: The table.
        path: Where to.
    """
    inside = table.groups
    np.savez_compressed(
        path,
        about=np.array(json.dumps({**table.about, "tasks": table.tasks})),
        validation=table.validation[:, inside].astype(np.float32),
        test=table.test[:, inside].astype(np.float32),
        early=table.early[:, :, inside].astype(np.float32),
        epochs=table.epochs.astype(np.int16),
    )


def load_table(path: Path) -> GroupTable:
    """Read what `save_table` wrote.

    Args:
        path: The file.

    Returns:
        The table.
    """
    with np.load(path, allow_pickle=False) as file:
        about = json.loads(str(file["about"]))
        arrays = {name: file[name] for name in ("validation", "test", "early", "epochs")}
    tasks = tuple(about.pop("tasks"))
    groups = all_groups(len(tasks))

    def spread(values: np.ndarray) -> np.ndarray:
        full = np.full((*values.shape[:-1], *groups.shape), np.nan)
        full[..., groups] = values
        return full

    full = {name: spread(arrays[name]) for name in ("validation", "test", "early")}
    return GroupTable(tasks, groups, **full, epochs=arrays["epochs"], about=about)


def environment(*libraries: str) -> dict[str, Any]:
    """Versions and the number of CPUs, for a result file."""
    versions = {name: version(name) for name in ("keras_tag", "numpy", *libraries)}
    return {"versions": {"python": platform.python_version(), **versions}, "cpus": os.cpu_count()}
