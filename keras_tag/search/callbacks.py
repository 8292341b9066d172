"""The callbacks of a training: the user's, copied, and those of the search."""

import copy
import csv
import io
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import keras

from keras_tag.atomic_files import write_atomically
from keras_tag.callbacks.backup import Backup
from keras_tag.search.ledger import session_of
from keras_tag.search.resuming import KeepBest

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
# They write into a folder that was opened when they were made, or restore from it.
_BACKUPS = (keras.callbacks.BackupAndRestore, keras.callbacks.OrbaxCheckpoint, Backup)
_SECONDS_BETWEEN_SIGNS = 2.0


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
        self._every = fit.pop("validation_freq", 1)
        fit.pop("validation_data")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add to the logs what Keras's validation would."""
        every = self._every
        due = (epoch + 1) % every == 0 if isinstance(every, int) else epoch + 1 in every
        if due and logs is not None:
            values = self._evaluated.evaluate(self._data, verbose=0, return_dict=True)
            logs.update({f"val_{name}": value for name, value in values.items()})


class NameLoneTask(keras.callbacks.Callback):
    """Gives the logs of a lone task's network the names that they have in other networks.

    Keras leaves the task out of them. Callbacks that watch `val_<task>_<metric>` would do nothing.

    Args:
        task: The task.
    """

    def __init__(self, task: str) -> None:
        super().__init__()
        self._task = task

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Add the names."""
        for name, value in list((logs or {}).items()):
            metric, kind = name.removeprefix("val_"), "val_" * name.startswith("val_")
            if metric not in ("loss", f"{self._task}_loss", "optimized_loss", "learning_rate"):
                logs[f"{kind}{self._task}_{metric}"] = value


class StopAt(keras.callbacks.Callback):
    """Ends a training after some time, at the end of an epoch that was validated.

    Args:
        deadline: By `time.time`.
    """

    def __init__(self, deadline: float) -> None:
        super().__init__()
        self._deadline = deadline

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Look at the clock."""
        validated = any(name.startswith("val_") for name in logs or {})
        if validated and time.time() >= self._deadline:
            self.model.stop_training = True


class Signs(keras.callbacks.Callback):
    """Writes the history every few seconds, for other processes to read.

    In another process it also ends a training whose search was interrupted or was taken up by
    another process, and one whose worker was believed lost: another trains the same group in the
    same folder then.

    Args:
        file: Where to; the folder is the training's.
        best: Has the history.
        session: Of the search that the training is for; None: this process's.
    """

    def __init__(self, file: Path, best: KeepBest, session: str | None = None) -> None:
        super().__init__()
        self._file = file
        self._best = best
        self._session = session
        self._next = 0.0
        # The folder is the last one's that began.
        self._owner, self._name = file.parent / "backup" / "owner", uuid.uuid4().hex

    def on_train_begin(self, logs: Any = None) -> None:
        """Take the folder."""
        if self._session:
            self._owner.parent.mkdir(exist_ok=True)
            self._owner.write_text(self._name, "utf-8")

    def check(self) -> None:
        """See to it that nobody else trains in this folder.

        Raises:
            RuntimeError: Somebody does, or will.
        """
        if not self._session:
            return
        ours = session_of(self._file.parent.parent) in (None, self._session)
        if not ours or not self._owner.is_file() or self._owner.read_text("utf-8") != self._name:
            raise RuntimeError(
                "The search that asked for this training has ended, or has given it to another "
                "worker."
            )

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Write, if it is time."""
        if time.monotonic() >= self._next:
            self.check()
            self.write()
            self._next = time.monotonic() + _SECONDS_BETWEEN_SIGNS

    def write(self) -> None:
        """Write the file anew."""
        names = list(dict.fromkeys(name for logs in self._best.history for name in logs))
        text = io.StringIO()
        table = csv.DictWriter(text, ["epoch", *names])
        table.writeheader()
        table.writerows({"epoch": e, **logs} for e, logs in enumerate(self._best.history))
        write_atomically(self._file, lambda opened: opened.write(text.getvalue().encode()))


def copies(
    callbacks: Callbacks, group: tuple[str, ...], training: Path
) -> list[keras.callbacks.Callback]:
    """Return the callbacks of one training.

    What writes files gets a folder of its own, named by the training, beside or in the given one.

    Args:
        callbacks: To be copied, or a function of the group that returns new ones.
        group: The training's.
        training: Its folder, in that of the search.

    Raises:
        ValueError: One can't be copied, or keeps backups in a folder of its own.
    """
    new = callable(callbacks)
    given = callbacks(group) if callable(callbacks) else callbacks
    several = [given] if isinstance(given, keras.callbacks.Callback) else list(given)
    if any(isinstance(one, _BACKUPS) for one in several):
        raise ValueError(
            "Expected callbacks without backups: the search keeps its own, and one training would "
            f"go on from another's. Received: {[type(one).__name__ for one in several]}. Leave "
            "BackupAndRestore and the like out."
        )
    made = several if new else [_copy(one) for one in several]
    for own in made:
        for kind, attribute in _PATHS.items():
            if isinstance(own, kind):
                path = Path(getattr(own, attribute))
                inside = isinstance(own, keras.callbacks.TensorBoard)
                name = f"{training.parent.name}_{training.name}"
                folder = (path if inside else path.parent) / name
                setattr(own, attribute, str(folder if inside else folder / path.name))
                folder.mkdir(parents=True, exist_ok=True)
        if isinstance(own, keras.callbacks.CSVLogger):
            own.append = False  # What is there was left by an attempt that was interrupted.
    return made


def _copy(callback: keras.callbacks.Callback) -> keras.callbacks.Callback:
    try:
        return copy.deepcopy(callback)
    except Exception as error:
        raise ValueError(
            f"Expected callbacks that can be copied, one for every training. {callback!r} can't be "
            f"({error}). Give a function: callbacks=lambda group: [...]."
        ) from error
