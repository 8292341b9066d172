"""Measures the affinities in real joint runs of `TAGModel`: step 2 of the yardstick.

The joint run of a seed is the same network, from the same weights, on the same batches as the
largest group of the seed's table. One compiled model serves all seeds: its weights and its
optimizer are set back between them.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.grouping_quality.affinity_table import (
    AffinityTable,
    load_affinities,
    save_affinities,
)
from benchmarks.grouping_quality.batched_training import batch_order
from benchmarks.grouping_quality.group_table import environment
from benchmarks.grouping_quality.keras_networks import (
    joint_network,
    layer_name,
    set_first_weights,
)
from benchmarks.grouping_quality.real_sets import REAL_SETS
from benchmarks.grouping_quality.task_sets import Recipe, Split, TaskSet
from benchmarks.grouping_quality.train_tables import SETS, load_set, table_file
from keras_tag import TAGModel

# (Look-ahead kind, probed every so many steps, how many seeds at the small trunk, at others).
# "validation" is "gradient" with the losses before and after on the validation split.
RUNS = (
    ("gradient", 10, 5, 5),
    ("validation", 10, 5, 5),
    ("cosine", 10, 5, 3),
    ("gradient", 1, 1, 0),
    ("optimizer", 10, 2, 0),
    ("first_order", 10, 2, 0),
)
# Of deeper networks, for so many seeds.
_DEEP = tuple((kind, 10, 3, 3) for kind in ("gradient", "validation", "first_order", "cosine"))
# Sparser probing is read off the denser run: probes leave training as it is.
_SPARSER = 5
SPARSER_TOO = ("gradient", "validation")


class JointRun:
    """One compiled `TAGModel`, to be run for several seeds.

    Args:
        data: Features, tasks and which are binary.
        units: The size of the trunk.
        recipe: How to train.
        lookahead: As in `RUNS`.
        every: Probed every so many steps.
        network: The network; None: `joint_network`.
        set_weights: (network, seed) -> None sets the first weights; None: `set_first_weights`.
    """

    def __init__(
        self,
        data: TaskSet,
        units: int,
        recipe: Recipe,
        lookahead: str,
        every: int,
        network: keras.Model | None = None,
        set_weights: Callable[[keras.Model, int], None] | None = None,
    ) -> None:
        self.recipe, self.units, self.every = recipe, units, every
        self._set_weights = set_weights
        # One probing function serves all seeds: whose validation split it is, `run` says.
        self.query = keras_split(data, data.splits["validation"])
        on_validation = lookahead == "validation"
        self.tag = TAGModel(
            network or joint_network(data, units, recipe),
            every=every,
            lookahead="gradient" if on_validation else lookahead,
            probe_data=self._queries() if on_validation else None,
        )
        self.tag.compile(
            keras.optimizers.Adam(recipe.learning_rate),
            loss={
                layer_name(task): "binary_crossentropy" if is_binary else "mse"
                for task, is_binary in zip(data.tasks, data.binary, strict=True)
            },
        )
        self.tag.optimizer.build(self.tag.trainable_variables)

    def run(self, data: TaskSet, seed: int) -> dict[str, np.ndarray]:
        """Train from the seed's first weights, and stop as the networks of the table do.

        Returns:
            "probes": every affinity measured, "probe_epochs": the epoch of each, and "train" and
            "validation": losses `[num_epochs, num_tasks]`.
        """
        self._start(data, seed)
        self.query = keras_split(data, data.splits["validation"])
        probes = _Probes(self.tag, self.every)
        stop = keras.callbacks.EarlyStopping(patience=self.recipe.patience)
        train = data.splits["train"]
        history = self.tag.fit(
            shuffled_batches(data, self.recipe, seed),
            steps_per_epoch=-(-len(train.x) // self.recipe.batch_size),
            validation_data=tf.data.Dataset.from_tensors(
                keras_split(data, data.splits["validation"])
            ),
            epochs=self.recipe.epochs,
            callbacks=[stop, probes],
            verbose=0,
        ).history
        names = [layer_name(task) for task in data.tasks]
        return {
            "probes": np.array(probes.matrices),
            "probe_epochs": np.array(probes.epochs),
            "train": np.stack([history[f"{name}_loss"] for name in names], 1),
            "validation": np.stack([history[f"val_{name}_loss"] for name in names], 1),
        }

    def _queries(self) -> tf.data.Dataset:
        def present() -> Iterator[tuple[Any, ...]]:
            while True:
                yield self.query

        signature = keras.tree.map_structure(
            lambda array: tf.TensorSpec(array.shape, array.dtype), self.query
        )
        return tf.data.Dataset.from_generator(present, output_signature=signature)

    def _start(self, data: TaskSet, seed: int) -> None:
        if self._set_weights is None:
            set_first_weights(self.tag.model, data, self.units, self.recipe, seed)
        else:
            self._set_weights(self.tag.model, seed)
        for variable in self.tag.optimizer.variables:
            if variable is not self.tag.optimizer.learning_rate:
                variable.assign(np.zeros(variable.shape))


class _Probes(keras.callbacks.Callback):
    """Takes the affinity out of the model after every step that was probed."""

    def __init__(self, tag: TAGModel, every: int) -> None:
        super().__init__()
        self.tag, self.every = tag, every
        self.epoch = 0
        self.matrices: list[np.ndarray] = []
        self.epochs: list[int] = []
        tag.reset_affinity()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        # The model counts its steps on from seed to seed: which steps are probed is seen here.
        if self.tag.probes:
            self.matrices.append(self.tag.affinity().mean)
            self.epochs.append(self.epoch)
            self.tag.reset_affinity()


def shuffled_batches(data: TaskSet, recipe: Recipe, seed: int) -> tf.data.Dataset:
    """The training batches of all epochs, in the order that the table's networks saw."""
    train = data.splits["train"]
    arrays = keras.tree.map_structure(tf.constant, keras_split(data, train))
    order = [batch_order(seed, epoch, len(train.x)) for epoch in range(recipe.epochs)]

    def epoch_batches(rows: tf.Tensor) -> tf.data.Dataset:
        return tf.data.Dataset.from_tensor_slices(rows).batch(recipe.batch_size)

    batches = tf.data.Dataset.from_tensor_slices(np.stack(order)).flat_map(epoch_batches)
    return batches.map(
        lambda rows: keras.tree.map_structure(lambda array: tf.gather(array, rows), arrays)
    ).prefetch(2)


def keras_split(data: TaskSet, split: Split) -> tuple[Any, ...]:
    """What `fit` takes: features, labels by task, and weights by task if they are not all 1."""
    y = {layer_name(task): split.y[:, [t]] for t, task in enumerate(data.tasks)}
    if (split.weight == 1).all():
        return split.x, y
    return split.x, y, {layer_name(task): split.weight[:, t] for t, task in enumerate(data.tasks)}


def measure_table(
    name: str,
    units: int,
    folder: Path | None,
    seeds: Iterable[int] | None = None,
    known: AffinityTable | None = None,
) -> AffinityTable:
    """Measure a set's affinities, all kinds and seeds.

    Args:
        name: One of `SETS`.
        units: The size of the trunk.
        folder: Where the files of data are.
        seeds: Of data, first weights and batch order; None: as many as the recipe says.
        known: What was measured before, of the same seeds: only other kinds are measured.

    Returns:
        The table.
    """
    recipe = SETS[name][1]
    began, computed = time.monotonic(), time.process_time()
    seeds = tuple(range(recipe.seeds) if seeds is None else seeds)
    data = {seed: load_set(name, seed, folder) for seed in seeds}
    tasks = data[seeds[0]].tasks
    means = {} if known is None else dict(known.means)
    by_epoch, train, validation = [], [], []
    for kind, every, *most_seeds in missing_runs(name, units, known):
        chosen = seeds[: most_seeds[units != recipe.units[0]]]
        joint = JointRun(data[seeds[0]], units, recipe, kind, every)
        runs = [joint.run(data[seed], seed) for seed in chosen]
        means[f"{kind}-{every}"] = np.stack([np.nanmean(run["probes"], 0) for run in runs])
        if kind in SPARSER_TOO and every == 10:
            means[f"{kind}-{_SPARSER * every}"] = np.stack(
                [np.nanmean(run["probes"][::_SPARSER], 0) for run in runs]
            )
        if (kind, every) == ("gradient", 10):
            by_epoch = [_epoch_means(run) for run in runs]
            train = [run["train"] for run in runs]
            validation = [run["validation"] for run in runs]
        keras.backend.clear_session()
    spent = {
        "seconds": round(time.monotonic() - began, 1),
        "cpu_seconds": round(time.process_time() - computed, 1),
    }
    if known is not None:
        spent = {key: round(known.about[key] + value, 1) for key, value in spent.items()}
        return replace(known, means=means, about={**known.about, **spent})
    about = {
        "set": name,
        "units": units,
        "seeds": seeds,
        **spent,
        **environment("keras", "tensorflow"),
    }
    return AffinityTable(
        tasks,
        means,
        _padded(by_epoch, recipe.epochs),
        _padded(train, recipe.epochs),
        _padded(validation, recipe.epochs),
        about,
    )


def missing_runs(
    name: str, units: int, known: AffinityTable | None
) -> list[tuple[str, int, int, int]]:
    """Those of `RUNS` that a set and a trunk size have, and a table does not."""
    second = units != SETS[name][1].units[0]
    there = set() if known is None else set(known.means)
    runs = _DEEP if name in REAL_SETS else RUNS
    return [run for run in runs if run[2 + second] and f"{run[0]}-{run[1]}" not in there]


def _epoch_means(run: dict[str, np.ndarray]) -> np.ndarray:
    epochs = run["probe_epochs"]
    return np.stack([np.nanmean(run["probes"][epochs == e], 0) for e in np.unique(epochs)])


def _padded(runs: list[np.ndarray], epochs: int) -> np.ndarray:
    out = np.full((len(runs), epochs, *runs[0].shape[1:]), np.nan)
    for index, run in enumerate(runs):
        out[index, : len(run)] = run
    return out


def measure_affinities(
    runs: Iterable[tuple[str, int]], folder: Path | None, missing: bool = False
) -> None:
    """Measure and keep the affinities of these sets and trunk sizes.

    Args:
        runs: (set, units).
        folder: Where the files of data are.
        missing: Leave alone what was measured before.
    """
    for name, units in runs:
        path = table_file(name, units, "affinities")
        known = load_affinities(path) if missing and path.exists() else None
        if not missing_runs(name, units, known):
            continue
        table = measure_table(name, units, folder, known=known)
        save_affinities(table, path)
        print(
            f"{name}, {units} units: {table.about['seconds']} s, "
            f"{table.about['cpu_seconds']} s of CPU time",
            flush=True,
        )
