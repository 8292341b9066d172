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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_tag.affinity import Affinity
from keras_tag.atomic_files import sync
from keras_tag.search.callbacks import Callbacks, NameLoneTask, Signs, StopAt, Validate, copies
from keras_tag.search.data import Position, Source, zeros
from keras_tag.search.ledger import KEPT, Outcome, is_of_the_disk, session_of
from keras_tag.search.loss_states import changed_by_losses
from keras_tag.search.multiply_adds import multiply_adds
from keras_tag.search.networks import Networks
from keras_tag.search.proposals import Problem
from keras_tag.search.recipes import Recipe
from keras_tag.search.resuming import KeepBest, Resume, can_resume
from keras_tag.tag_model import TAGModel

# Seeds are a process's: two trainings in threads of one would draw from one stream.
_ONE_AT_A_TIME = threading.Lock()


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
class FitSettings:
    """What all trainings of a search have in common. It can be pickled.

    Args:
        problem: Objectives and weights of the tasks.
        train: Training data.
        valid: Validation data.
        fit: Arguments of `fit`: epochs and the like.
        callbacks: The user's, to be copied; or a function of the group that returns new ones.
    """

    problem: Problem
    train: Source
    valid: Source
    fit: Mapping[str, Any]
    callbacks: Callbacks


@dataclass(frozen=True)
class Training:
    """All that a training needs. It can be pickled.

    Args:
        outcome: Number, group, kind, attempt and seed.
        folder: The training's own, in the search's.
        recipe: Makes the network.
        settings: Of all trainings.
        deadline: When to stop at the end of an epoch, by `time.time`; None: never.
        scope: Gives the scope in which the network is made.
        session: Of the search; None: this process's.
        networks: Build the model of the joint run, which measures affinities; None for any other.
    """

    outcome: Outcome
    folder: Path
    recipe: Recipe
    settings: FitSettings
    deadline: float | None = None
    scope: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext
    session: str | None = None
    networks: Networks | None = None

    def run(self) -> Result:
        """Train, and write the best weights into the folder.

        Raises:
            FailedTraining: An objective is not finite, or the logs don't have it.
        """
        outcome, group, settings = self.outcome, self.outcome.group, self.settings
        keras.utils.set_random_seed(outcome.seed)
        batches = settings.train.batches(outcome.seed)
        valid = settings.valid.batches(outcome.seed).data
        own = copies(settings.callbacks, group, self.folder)
        fit = {**settings.fit, "validation_data": valid}
        if self.session is not None:
            fit["verbose"] = 0
        first: list[keras.callbacks.Callback] = []
        # What comes after what restores a run.
        last: list[keras.callbacks.Callback] = []
        with self.scope():
            if self.networks is None:
                model = evaluated = self.recipe.model()
            else:
                probe_data = self.networks.probe_data
                if probe_data is None:
                    last = [Position(valid)]
                    probe_data = last[0].data
                model, evaluated = self.networks.joint(probe_data)
                first = [Validate(evaluated, valid, fit)]
        network = evaluated.networks[0]
        best = KeepBest(network, self._objective)
        signs = Signs(self.folder / "history.csv", best, self.session)
        resumed: list[keras.callbacks.Callback] = []
        whole_epochs = fit.get("steps_per_epoch") is None
        resumes = batches.repeatable and whole_epochs and can_resume(own)
        # What losses keep from one batch to the next is in no backup.
        if resumes and changed_by_losses(evaluated, settings.train.first_batch) == set():
            resumed = [Resume(self.folder / "backup", best, own, signs.check)]
        stop = [] if self.deadline is None else [StopAt(self.deadline)]
        model.fit(
            batches.data,
            # Keras shuffles a PyDataset's batches; a dataset's order is its own.
            shuffle=settings.train.shuffle and not isinstance(batches.data, tf.data.Dataset),
            callbacks=[
                *batches.callbacks,
                *first,
                *([NameLoneTask(group[0])] if len(group) == 1 else []),
                *own,
                *stop,
                best,
                signs,
                *resumed,
                *last,
            ],
            **fit,
        )
        if best.best_epoch is None:
            raise FailedTraining(
                f"The logs have no objective for {list(group)}: expected "
                f"{[settings.problem.objectives[task].name for task in group]}. They have: "
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
            # Those of attempts that failed before are counted, too.
            seconds=round(outcome.seconds + best.seconds, 3),
            parameters=int(network.count_params()),
            multiply_adds=multiply_adds(network, zeros(self.recipe.inputs)),
        )
        return Result(done, model.affinity() if isinstance(model, TAGModel) else None)

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
                kept = {name: (own / name).read_bytes() for name in KEPT}
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
        problem, total = self.settings.problem, 0.0
        values: dict[str, float] = {}
        for task in self.outcome.group:
            objective = problem.objectives[task]
            if objective.name not in logs:
                return None
            value = values[task] = float(logs[objective.name])
            if not np.isfinite(value):
                raise FailedTraining(
                    f"{objective.name} is {value}: the loss is not finite, or the validation data "
                    f"have no label of task {task!r}."
                )
            total += problem.weights[task] * objective.inside(value)
        return total, values


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
