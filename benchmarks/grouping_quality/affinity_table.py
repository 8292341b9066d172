"""A set's affinities, as measured in joint runs, in one compact file."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False, repr=False)
class AffinityTable:
    """What the joint runs of a set showed. Matrices: rows source, columns target.

    Args:
        tasks: The n task names.
        means: "kind-every" -> `[num_seeds, n, n]`: the mean over all probes of a run. Kinds other
            than "gradient" were run for fewer seeds.
        by_epoch: `[num_seeds, num_epochs, n, n]`: "gradient", the mean over the steps of an epoch;
            NaN after a run has ended.
        train: `[num_seeds, num_epochs, n]`: the joint run's training losses, as Keras logs them.
        validation: As `train`: its validation losses at the end of the epoch.
        about: Set, units, seeds, versions, CPUs and seconds.
    """

    tasks: tuple[str, ...]
    means: dict[str, np.ndarray]
    by_epoch: np.ndarray
    train: np.ndarray
    validation: np.ndarray
    about: dict[str, Any]


def save_affinities(table: AffinityTable, path: Path) -> None:
    """Write a table, as float32.

    Args:
        table: The table.
        path: Where to.
    """
    np.savez_compressed(
        path,
        about=np.array(json.dumps({**table.about, "tasks": table.tasks})),
        by_epoch=table.by_epoch.astype(np.float32),
        train=table.train.astype(np.float32),
        validation=table.validation.astype(np.float32),
        **{f"mean {kind}": value.astype(np.float32) for kind, value in table.means.items()},
    )


def load_affinities(path: Path) -> AffinityTable:
    """Read what `save_affinities` wrote.

    Args:
        path: The file.

    Returns:
        The table.
    """
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    about = json.loads(str(arrays.pop("about")))
    means = {
        name.removeprefix("mean "): values.astype(np.float64)
        for name, values in arrays.items()
        if name.startswith("mean ")
    }
    rest = {name: arrays[name].astype(np.float64) for name in ("by_epoch", "train", "validation")}
    return AffinityTable(tuple(about.pop("tasks")), means, **rest, about=about)
