"""One training of a search: from a specification to an outcome."""

import copy
import csv
import dataclasses
import hashlib
import io
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from keras_tag.affinity import Affinity
from keras_tag.atomic_files import sync, write_atomically
from keras_tag.callbacks.backup import Backup
from keras_tag.search.data import Position, Source
from keras_tag.search.ledger import Outcome
from keras_tag.search.multiply_adds import multiply_adds
from keras_tag.search.networks import Networks
from keras_tag.search.objectives import Objective
from keras_tag.search.resuming import KeepBest, Resume, can_resume

Callbacks: TypeAlias = (
    keras.callbacks.Callback
    | Sequence[keras.callbacks.Callback]
    | Callable[[tuple[str, ...]], Sequence[keras.callbacks.Callback]]
)
_PATHS = {
    keras.callbacks.TensorBoard: "log_dir",
    keras.callbacks.CSVLogger: "filename",
    keras.callbacks.ModelCheckpoint: "filepath",
}
_SECONDS_BETWEEN_SIGNS = 2.0


class FailedTraining(RuntimeError):
    """A training that ended without a network."""


@dataclass(frozen=True)
class Training:
    """All that a training needs, so that it can run here or in another process.

    Args:
        outcome: Number, group, kind, attempt and seed.
        folder: The training's own.
        networks: Builds the network.
        train: Training data.
        valid: Validation data.
        fit: Arguments of `fit`: epochs and the like.
        objectives: By task.
        weights: How much a task counts; 1 if it is not named.
        callbacks: The user's, to be copied; or a function of the group that returns new ones.
        probe_data: Where the joint run measures affinities; None: the validation data.
        deadline: When to stop at the end of an epoch, by `time.time`; None: never.
    """

    outcome: Outcome
    folder: Path
    networks: Networks
    train: Source
    valid: Source
    fit: Mapping[str, Any]
    objectives: Mapping[str, Objective]
    weights: Mapping[str, float]
    callbacks: Callbacks
    probe_data: Any = None
    deadline: float | None = None

    def run(self) -> tuple[Outcome, keras.Model, Affinity | None]:
        """Train, and write the best weights into the folder.

        Returns:
            The outcome without its cost, the trained network, and what the joint run measured.

        Raises:
            FailedTraining: An objective is not finite, or the logs don't have it.
        """
        outcome, group = self.outcome, self.outcome.group
        keras.utils.set_random_seed(outcome.seed)
        batches = self.train.batches(outcome.seed)
        valid = self.valid.batches(outcome.seed)
        own = copies(self.callbacks, group, outcome.number)
        first: list[keras.callbacks.Callback] = []
        after_resume: list[keras.callbacks.Callback] = []
        fit = {**self.fit, "validation_data": valid.data}
        model: Any
        with self.networks.scope():
            if outcome.kind == "joint":
                probe_data = self.probe_data
                if probe_data is None:
                    position = Position(valid.data)
                    probe_data, after_resume = position.data, [position]
                model, evaluated = self.networks.joint(probe_data)
                network = model.model
                first = [Validate(evaluated, valid.data, fit)]
            else:
                model = self.networks.group(group)
                network = model.networks[0]
        best = KeepBest(network, self._objective)
        resumed: list[keras.callbacks.Callback] = []
        whole_epochs = self.fit.get("steps_per_epoch") is None
        if batches.repeatable and whole_epochs and can_resume(own):
            resumed = [Resume(self.folder / "backup", best, own)]
        signs = [Signs(self.folder / "history.csv", best)]
        stop = [] if self.deadline is None else [StopAt(self.deadline)]
        model.fit(
            batches.data,
            # Keras shuffles a PyDataset's batches; a dataset's order is its own.
            shuffle=self.train.shuffle and not isinstance(batches.data, tf.data.Dataset),
            callbacks=[
                *batches.callbacks,
                *first,
                *own,
                *stop,
                best,
                *signs,
                *resumed,
                *after_resume,
            ],
            **fit,
        )
        if best.best_epoch is None:
            raise FailedTraining(
                f"The logs have no objective for {list(group)}: expected "
                f"{[self.objectives[task].name for task in group]}. They have: "
                f"{sorted(best.history[-1]) if best.history else 'nothing'}."
            )
        best.put_back()
        _save(network, self.folder / "best.weights.h5")
        signs[0].write()
        done = dataclasses.replace(
            outcome,
            status="done",
            epochs=len(best.history),
            best_epoch=best.best_epoch,
            objective=best.values,
            seconds=round(best.seconds, 3),
            parameters=int(network.count_params()),
            multiply_adds=multiply_adds(network, self.networks.batch()),
        )
        return done, network, model.affinity() if outcome.kind == "joint" else None

    def _objective(self, logs: Mapping[str, Any]) -> tuple[float, dict[str, float]] | None:
        """Return the sum of objectives in an epoch's logs, less is better, and each task's."""
        values: dict[str, float] = {}
        for task in self.outcome.group:
            value = self.objectives[task].read(logs, task)
            if value is None:
                return None
            if not np.isfinite(value):
                raise FailedTraining(
                    f"{self.objectives[task].name} is {value}: the loss is not finite, or the "
                    f"validation data have no label of task {task!r}."
                )
            values[task] = value
        total = sum(
            self.weights.get(task, 1.0) * self.objectives[task].inside(value)
            for task, value in values.items()
        )
        return total, values


class Validate(keras.callbacks.Callback):
    """Validation of the joint run as of all other networks; see `Networks.joint`.

    It must come before the callbacks that read its logs.

    Args:
        model: Evaluates the network that is trained.
        data: Validation data.
        fit: Arguments of `fit`; those about validation are taken out.
    """

    def __init__(self, model: keras.Model, data: Any, fit: dict[str, Any]) -> None:
        super().__init__()
        self._evaluated = model
        self._data = data
        self._steps = fit.pop("validation_steps", None)
        self._every = fit.pop("validation_freq", 1)
        fit.pop("validation_data")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add to the logs what Keras's validation would."""
        every = self._every
        due = (epoch + 1) % every == 0 if isinstance(every, int) else epoch + 1 in every
        if due and logs is not None:
            values = self._evaluated.evaluate(
                self._data, steps=self._steps, verbose=0, return_dict=True
            )
            logs.update({f"val_{name}": value for name, value in values.items()})


class StopAt(keras.callbacks.Callback):
    """Ends a training at the end of an epoch after some time.

    Args:
        deadline: By `time.time`.
    """

    def __init__(self, deadline: float) -> None:
        super().__init__()
        self._deadline = deadline

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Look at the clock."""
        if time.time() >= self._deadline:
            self.model.stop_training = True


class Signs(keras.callbacks.Callback):
    """Writes the history every few seconds, for other processes to read.

    Args:
        file: Where to.
        best: Has the history.
    """

    def __init__(self, file: Path, best: KeepBest) -> None:
        super().__init__()
        self._file = file
        self._best = best
        self._next = 0.0

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Write, if it is time."""
        if time.monotonic() >= self._next:
            self.write()
            self._next = time.monotonic() + _SECONDS_BETWEEN_SIGNS

    def write(self) -> None:
        """Write the file anew."""
        names = list(dict.fromkeys(name for logs in self._best.history for name in logs))
        text = io.StringIO()
        table = csv.DictWriter(text, ["epoch", *names])
        table.writeheader()
        table.writerows({"epoch": e, **logs} for e, logs in enumerate(self._best.history))

        def write(opened: BinaryIO) -> None:
            opened.write(text.getvalue().encode())

        write_atomically(self._file, write)


def seed_of(search_seed: int, group: Sequence[str], attempt: int) -> int:
    """Return the seed of a training: it follows from the group, not from when or where it runs.

    Args:
        search_seed: The search's.
        group: The tasks, in any order.
        attempt: 0, or how many attempts failed before.
    """
    text = "\n".join([str(search_seed), str(attempt), *sorted(group)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def copies(
    callbacks: Callbacks, group: tuple[str, ...], number: int
) -> list[keras.callbacks.Callback]:
    """Return the callbacks of one training.

    What writes files gets a folder of its own, named by the training, beside or in the given one.

    Args:
        callbacks: To be copied, or a function of the group that returns new ones.
        group: The training's.
        number: The training's.

    Raises:
        ValueError: One can't be copied, or keeps backups in a folder of its own.
    """
    if callable(callbacks):
        return _several(callbacks(group))
    made = []
    for callback in _several(callbacks):
        try:
            own = copy.deepcopy(callback)
        except Exception as error:
            raise ValueError(
                f"Expected callbacks that can be copied, one for every training. {callback!r} "
                f"can't be ({error}). Give a function: callbacks=lambda group: [...]."
            ) from error
        for kind, attribute in _PATHS.items():
            if isinstance(own, kind):
                path = Path(getattr(own, attribute))
                inside = isinstance(own, keras.callbacks.TensorBoard)
                folder = (path if inside else path.parent) / f"training_{number:04d}"
                setattr(own, attribute, str(folder if inside else folder / path.name))
                folder.mkdir(parents=True, exist_ok=True)
        made.append(own)
    return made


def _several(callbacks: Any) -> list[keras.callbacks.Callback]:
    """Return callbacks as a list, of one as well, as `fit` takes them."""
    several = [callbacks] if isinstance(callbacks, keras.callbacks.Callback) else list(callbacks)
    if any(isinstance(one, keras.callbacks.BackupAndRestore | Backup) for one in several):
        raise ValueError(
            "Expected callbacks without backups: the search keeps its own, and one training would "
            "go on from another's. Received: BackupAndRestore. Leave it out."
        )
    return several


def _save(network: keras.Model, file: Path) -> None:
    """Write weights; the file has its name when it is whole."""
    partial = file.with_name("best.partial.weights.h5")
    network.save_weights(partial)
    sync(partial)
    os.replace(partial, file)
