"""Measures the affinities in real joint runs of `TAGModel`: step 2 of the yardstick.

The joint run of a seed is the same network, from the same weights, on the same batches as the
largest group of the seed's table. One compiled model serves all seeds: its weights and its
optimizer are set back between them.
"""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.grouping_quality.affinity_table import AffinityTable, save_affinities
from benchmarks.grouping_quality.batched_training import batch_order, first_weights
from benchmarks.grouping_quality.group_table import environment
from benchmarks.grouping_quality.task_sets import TASK_SETS, Recipe, Split, TaskSet
from benchmarks.grouping_quality.train_tables import SEEDS, load_set, table_file
from keras_tag import TAGModel

# (Look-ahead kind, probed every so many steps, how many seeds at the small trunk, at others).
RUNS = (
    ("gradient", 10, 5, 5),
    ("cosine", 10, 5, 3),
    ("gradient", 1, 1, 0),
    ("optimizer", 10, 2, 0),
    ("first_order", 10, 2, 0),
)
# Sparser probing is read off the first run: probes leave training as it is.
_SPARSER = 5


class _JointRun:
    """One compiled `TAGModel`, to be run for several seeds."""

    def __init__(
        self, data: TaskSet, units: int, recipe: Recipe, lookahead: str, every: int
    ) -> None:
        self.recipe, self.units, self.every = recipe, units, every
        inputs = keras.Input((data.splits["train"].x.shape[1],))
        trunk = keras.layers.Dense(units, "relu")(inputs)
        heads = {
            task: keras.layers.Dense(1, "sigmoid" if is_binary else None, name=task)(trunk)
            for task, is_binary in zip(data.tasks, data.binary, strict=True)
        }
        self.tag = TAGModel(keras.Model(inputs, heads), every=every, lookahead=lookahead)
        self.tag.compile(
            keras.optimizers.Adam(recipe.learning_rate),
            loss={
                task: "binary_crossentropy" if is_binary else "mse"
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
        probes = _Probes(self.tag, self.every)
        stop = keras.callbacks.EarlyStopping(patience=self.recipe.patience)
        train = data.splits["train"]
        history = self.tag.fit(
            _shuffled(data, self.recipe, seed),
            steps_per_epoch=-(-len(train.x) // self.recipe.batch_size),
            validation_data=tf.data.Dataset.from_tensors(
                _keras_split(data, data.splits["validation"])
            ),
            epochs=self.recipe.epochs,
            callbacks=[stop, probes],
            verbose=0,
        ).history
        return {
            "probes": np.array(probes.matrices),
            "probe_epochs": np.array(probes.epochs),
            "train": np.stack([history[f"{task}_loss"] for task in data.tasks], 1),
            "validation": np.stack([history[f"val_{task}_loss"] for task in data.tasks], 1),
        }

    def _start(self, data: TaskSet, seed: int) -> None:
        trunk, heads = first_weights(data.tasks, data.splits["train"].x.shape[1], self.units, seed)
        layers = [layer for layer in self.tag.model.layers if layer.weights]
        for layer in layers:
            kernel = trunk
            if layer.name in data.tasks:
                kernel = heads[:, [data.tasks.index(layer.name)]]
            layer.set_weights([kernel, np.zeros(kernel.shape[1], np.float32)])
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


def _shuffled(data: TaskSet, recipe: Recipe, seed: int) -> tf.data.Dataset:
    """The training batches of all epochs, in the order that the table's networks saw."""
    train = data.splits["train"]
    arrays = keras.tree.map_structure(tf.constant, _keras_split(data, train))
    order = [batch_order(seed, epoch, len(train.x)) for epoch in range(recipe.epochs)]

    def epoch_batches(rows: tf.Tensor) -> tf.data.Dataset:
        return tf.data.Dataset.from_tensor_slices(rows).batch(recipe.batch_size)

    batches = tf.data.Dataset.from_tensor_slices(np.stack(order)).flat_map(epoch_batches)
    return batches.map(
        lambda rows: keras.tree.map_structure(lambda array: tf.gather(array, rows), arrays)
    ).prefetch(2)


def _keras_split(data: TaskSet, split: Split) -> tuple[Any, ...]:
    y = {task: split.y[:, [t]] for t, task in enumerate(data.tasks)}
    if (split.weight == 1).all():
        return split.x, y
    return split.x, y, {task: split.weight[:, t] for t, task in enumerate(data.tasks)}


def measure_table(
    name: str, units: int, tox21: Path | None, seeds: Iterable[int] = SEEDS
) -> AffinityTable:
    """Measure a set's affinities, all kinds and seeds.

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
    data = {seed: load_set(name, seed, tox21) for seed in seeds}
    tasks = data[seeds[0]].tasks
    means: dict[str, list[np.ndarray]] = {}
    by_epoch, train, validation = [], [], []
    for kind, every, *most_seeds in RUNS:
        chosen = seeds[: most_seeds[units != recipe.units[0]]]
        joint = _JointRun(data[seeds[0]], units, recipe, kind, every) if chosen else None
        for seed in chosen:
            assert joint is not None
            run = joint.run(data[seed], seed)
            means.setdefault(f"{kind}-{every}", []).append(np.nanmean(run["probes"], 0))
            if (kind, every) != ("gradient", 10):
                continue
            sparser = run["probes"][::_SPARSER]
            means.setdefault(f"{kind}-{_SPARSER * every}", []).append(np.nanmean(sparser, 0))
            epochs = run["probe_epochs"]
            by_epoch.append(
                np.stack([np.nanmean(run["probes"][epochs == e], 0) for e in np.unique(epochs)])
            )
            train.append(run["train"])
            validation.append(run["validation"])
        keras.backend.clear_session()
    about = {
        "set": name,
        "units": units,
        "seeds": seeds,
        "seconds": round(time.monotonic() - began, 1),
        "cpu_seconds": round(time.process_time() - computed, 1),
        **environment("keras", "tensorflow"),
    }
    return AffinityTable(
        tasks,
        {kind: np.stack(values) for kind, values in means.items()},
        _padded(by_epoch, recipe.epochs),
        _padded(train, recipe.epochs),
        _padded(validation, recipe.epochs),
        about,
    )


def _padded(runs: list[np.ndarray], epochs: int) -> np.ndarray:
    out = np.full((len(runs), epochs, *runs[0].shape[1:]), np.nan)
    for index, run in enumerate(runs):
        out[index, : len(run)] = run
    return out


def measure_affinities(runs: Iterable[tuple[str, int]], tox21: Path | None) -> None:
    """Measure and keep the affinities of these sets and trunk sizes."""
    for name, units in runs:
        table = measure_table(name, units, tox21)
        save_affinities(table, table_file(name, units, "affinities"))
        print(
            f"{name}, {units} units: {table.about['seconds']} s, "
            f"{table.about['cpu_seconds']} s of CPU time",
            flush=True,
        )
