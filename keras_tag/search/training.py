"""One training of a search: from a specification to a result, in this process or in another."""

import contextlib
import dataclasses
import functools
import hashlib
import os
import tempfile
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_tag.affinity import Affinity
from keras_tag.atomic_files import sync
from keras_tag.grouped_model import GroupedModel
from keras_tag.search.callbacks import Callbacks, NameLoneTask, Signs, StopAt, Validate, copies
from keras_tag.search.data import Position, Source, zeros
from keras_tag.search.ledger import Outcome, is_of_the_disk, session_of
from keras_tag.search.loss_states import changed_by_losses
from keras_tag.search.multiply_adds import multiply_adds
from keras_tag.search.networks import Networks
from keras_tag.search.objectives import Objective
from keras_tag.search.recipes import Recipe
from keras_tag.search.resuming import KeepBest, Resume, can_resume

# Seeds are a process's: two trainings in threads of one would draw from one stream.
_ONE_AT_A_TIME = threading.Lock()
_KEPT = ("best.weights.h5", "history.csv")


class FailedTraining(RuntimeError):
    """A training that ended without a network."""


@dataclass(frozen=True)
class Result:
    """What came of a training.

    Args:
        outcome: Done, without its cost; or failed.
        affinity: What the joint run measured.
        files: Name -> content of what the training kept; None where it wrote into the search's
            folder.
        full: Whether it failed because a disk can't be written.
    """

    outcome: Outcome
    affinity: Affinity | None = None
    files: Mapping[str, bytes] | None = None
    full: bool = False


@dataclass(frozen=True)
class Training:
    """All that a training needs. It can be pickled.

    Args:
        outcome: Number, group, kind, attempt and seed.
        folder: The training's own, in the search's.
        recipe: Makes the network.
        train: Training data.
        valid: Validation data.
        fit: Arguments of `fit`: epochs and the like.
        objectives: By task.
        weights: How much a task counts; 1 if it is not named.
        callbacks: The user's, to be copied; or a function of the group that returns new ones.
        deadline: When to stop at the end of an epoch, by `time.time`; None: never.
        scope: Gives the scope in which the network is made.
        session: Of the search; None: this process's.
    """

    outcome: Outcome
    folder: Path
    recipe: Recipe
    train: Source
    valid: Source
    fit: Mapping[str, Any]
    objectives: Mapping[str, Objective]
    weights: Mapping[str, float]
    callbacks: Callbacks
    deadline: float | None = None
    scope: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext
    session: str | None = None

    def run(self) -> Result:
        """Train, and write the best weights into the folder.

        Raises:
            FailedTraining: An objective is not finite, or the logs don't have it.
        """
        outcome, group = self.outcome, self.outcome.group
        keras.utils.set_random_seed(outcome.seed)
        batches = self.train.batches(outcome.seed)
        valid = self.valid.batches(outcome.seed)
        own = copies(self.callbacks, group, f"{self.folder.parent.name}_{self.folder.name}")
        fit = {**self.fit, "validation_data": valid.data}
        with self.scope():
            begun = self.begin(valid.data, fit)
        network = begun.network
        best = KeepBest(network, self._objective)
        signs = Signs(self.folder / "history.csv", best, self.session)
        resumed: list[keras.callbacks.Callback] = []
        whole_epochs = self.fit.get("steps_per_epoch") is None
        resumes = batches.repeatable and whole_epochs and can_resume(own)
        # What losses keep from one batch to the next is in no backup.
        if resumes and changed_by_losses(begun.evaluated, self.train.first_batch) == set():
            resumed = [Resume(self.folder / "backup", best, own, signs.check)]
        stop = [] if self.deadline is None else [StopAt(self.deadline)]
        begun.model.fit(
            batches.data,
            # Keras shuffles a PyDataset's batches; a dataset's order is its own.
            shuffle=self.train.shuffle and not isinstance(batches.data, tf.data.Dataset),
            callbacks=[
                *batches.callbacks,
                *begun.first,
                *([NameLoneTask(group[0])] if len(group) == 1 else []),
                *own,
                *stop,
                best,
                signs,
                *resumed,
                *begun.after_resume,
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
        signs.check()
        _save(network, self.folder / "best.weights.h5")
        signs.write()
        done = dataclasses.replace(
            outcome,
            status="done",
            epochs=len(best.history),
            best_epoch=best.best_epoch,
            objective=best.values,
            seconds=round(best.seconds, 3),
            parameters=int(network.count_params()),
            multiply_adds=multiply_adds(network, zeros(self.recipe.inputs)),
        )
        return Result(done, begun.affinity())

    def begin(self, valid: Any, fit: dict[str, Any]) -> "Begun":
        """Make the model that is trained.

        Args:
            valid: Validation data.
            fit: Arguments of `fit`, which may be changed.
        """
        model = self.recipe.model()
        return Begun(model, model.networks[0], model)

    def result(self) -> Result:
        """Run, and return a failure as a result: not every exception can leave a process."""
        began = time.monotonic()
        shared = self.session is None or session_of(self.folder.parent) == self.session
        try:
            if shared:
                return self.run()
            with tempfile.TemporaryDirectory(prefix="keras_tag_") as temporary:
                own = Path(temporary, *self.folder.parts[-2:])
                own.mkdir(parents=True)
                done = dataclasses.replace(self, folder=own).run()
                kept = {name: (own / name).read_bytes() for name in _KEPT}
            return dataclasses.replace(done, files=kept)
        except Exception as error:
            said = str(error)
            if not isinstance(error, FailedTraining):
                said = "".join(traceback.format_exception_only(error)).strip()
            failed = dataclasses.replace(
                self.outcome,
                status="failed",
                seconds=round(time.monotonic() - began, 3),
                error=said,
            )
            return Result(failed, None, None if shared else {}, is_of_the_disk(error))

    def _objective(self, logs: Mapping[str, Any]) -> tuple[float, dict[str, float]] | None:
        """Return the sum of objectives in an epoch's logs, less is better, and each task's."""
        values: dict[str, float] = {}
        for task in self.outcome.group:
            if self.objectives[task].name not in logs:
                return None
            value = float(logs[self.objectives[task].name])
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


@dataclass(frozen=True)
class Begun:
    """A model that is about to be trained.

    Args:
        model: For `fit`.
        network: Whose weights are kept.
        evaluated: The network with the losses of `model`.
        first: Callbacks that come before all others.
        after_resume: Callbacks that come after what restores a run.
        affinity: Returns what was measured.
    """

    model: keras.Model
    network: keras.Model
    evaluated: GroupedModel
    first: Sequence[keras.callbacks.Callback] = ()
    after_resume: Sequence[keras.callbacks.Callback] = ()
    affinity: Callable[[], Affinity | None] = lambda: None


@dataclass(frozen=True)
class JointRun(Training):
    """The training of all tasks, which measures affinities.

    Args:
        networks: Builds its model.
        probe_data: Where affinities are measured; None: the validation data.
    """

    networks: Networks = field(kw_only=True)
    probe_data: Any = None

    def begin(self, valid: Any, fit: dict[str, Any]) -> Begun:
        """Make the model that is trained; see `Training.begin`."""
        probe_data, after_resume = self.probe_data, []
        if probe_data is None:
            position = Position(valid)
            probe_data, after_resume = position.data, [position]
        tag, evaluated = self.networks.joint(probe_data)
        first = [Validate(evaluated, valid, fit)]
        return Begun(tag, tag.model, evaluated, first, after_resume, tag.affinity)


def run_training(training: Training) -> Result:
    """Run a training; it is what is submitted to an executor.

    Args:
        training: The training.
    """
    with _ONE_AT_A_TIME:
        return training.result()


def mirrored() -> contextlib.AbstractContextManager[Any]:
    """Return the scope of this process's strategy over all its GPUs."""
    scope: contextlib.AbstractContextManager[Any] = _strategy().scope()
    return scope


@functools.cache
def _strategy() -> tf.distribute.Strategy:
    # Several in one process mix up their collectives.
    return tf.distribute.MirroredStrategy()


def seed_of(search_seed: int, group: Sequence[str], attempt: int) -> int:
    """Return the seed of a training: it follows from the group, not from when or where it runs.

    Args:
        search_seed: The search's.
        group: The tasks, in any order.
        attempt: 0, or how many attempts failed before.
    """
    text = "\n".join([str(search_seed), str(attempt), *sorted(group)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def _save(network: keras.Model, file: Path) -> None:
    """Write weights; the file has its name when it is whole."""
    # Of a name that a worker that was believed lost does not use at the same time.
    partial = file.parent / "backup" / f"{uuid.uuid4().hex}.weights.h5"
    partial.parent.mkdir(exist_ok=True)
    network.save_weights(partial)
    sync(partial)
    os.replace(partial, file)
