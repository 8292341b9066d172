"""`Backup`: after an interruption, training goes on after the last whole epoch."""

import os
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_tag.atomic_files import sync
from keras_tag.training.distributed_model import num_workers
from keras_tag.training.workers import worker_name

_UNFINISHED = "unfinished"
_REMOVED = "removed"


class Backup(keras.callbacks.Callback):
    """Saves the state of training after every epoch, and goes on from it when `fit` starts again.

    What it saves and restores is what `keras.callbacks.BackupAndRestore` does: weights, optimizer,
    epoch; with a `TAGModel` also the affinities measured so far. But a backup is there whole or
    not at all: it is written aside, flushed to the disk, and gets its name by one rename. A process
    killed at any moment, also while it saves, loses the epoch in progress and nothing else.

    On several workers each has a folder of its own, so it works with and without a shared file
    system; all go on from the newest epoch that every one of them has.

    What is not restored: the order in which a dataset shuffles, and the random state of layers.

    Args:
        folder: Where the backups are kept, one subfolder each. Made if it is not there.
        keep: How many backups are kept, at least 2: between two workers' renames there may be a
            kill, and then they have one epoch in common, the last but one.
        delete_when_done: Whether to remove the backups when `fit` ends as it should. If they are
            kept, the same `fit` called again finds nothing left to train.

    Raises:
        ValueError: `keep` is below 2; on several workers some have backups and some have none.

    Example:
        >>> backup = keras_tag.callbacks.Backup("backup")
        >>> tag.fit(train, epochs=20, callbacks=[backup])
    """

    def __init__(
        self, folder: str | os.PathLike[str], *, keep: int = 2, delete_when_done: bool = True
    ) -> None:
        super().__init__()
        if keep < 2:
            raise ValueError(f"Expected `keep` to be at least 2. Received: keep={keep!r}.")
        self.folder = Path(folder)
        self.keep = keep
        self.delete_when_done = delete_when_done

    def on_train_begin(self, logs: Any = None) -> None:
        """Go on after the newest backup, if there is one."""
        name = worker_name() if num_workers(self.model.distribute_strategy) > 1 else None
        self._own = self.folder / (name or "")
        unfinished = self._own / _UNFINISHED
        for left in (unfinished, self._own / _REMOVED):
            shutil.rmtree(left, ignore_errors=True)
        self._own.mkdir(parents=True, exist_ok=True)
        newest = self._newest()
        if newest is not None:
            shutil.copytree(newest, unfinished)
        self._keras = keras.callbacks.BackupAndRestore(str(unfinished), delete_checkpoint=False)
        self._keras.set_model(self.model)
        self._keras.on_train_begin(logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Save."""
        self._keras.on_epoch_end(epoch, logs)
        unfinished = self._own / _UNFINISHED
        for file in unfinished.iterdir():
            sync(file)
        final = self._own / f"epoch_{epoch + 1:06d}"
        # There is one of this name if its epoch was trained before another worker lost it.
        if final.exists():
            _remove(final)
        unfinished.rename(final)
        sync(self._own)
        for old in _backups(self._own)[: -self.keep]:
            _remove(old)

    def on_train_end(self, logs: Any = None) -> None:
        """Remove the backups, if they are not to be kept."""
        if self.delete_when_done:
            for backup in _backups(self._own):
                _remove(backup)

    def _newest(self) -> Path | None:
        """Return the newest backup; on several workers, the newest that all of them can read."""
        readable = _backups(self._own)
        if self._own != self.folder:
            # A mirrored model is the same on every worker: another's backup is as good.
            readable = sorted(
                (b for worker in self.folder.iterdir() for b in _backups(worker)),
                key=lambda backup: (backup.name, backup.parent != self._own),
            )
        epochs = _gather(self.model.distribute_strategy, _epoch(readable[-1]) if readable else 0)
        newest = int(epochs.min())
        if not newest and epochs.any():
            raise ValueError(
                "Expected every worker to find a backup, or none. Received: the newest epochs "
                f"{epochs.tolist()} by worker, 0 for none, in {str(self.folder)!r}. Copy a "
                "worker's folder to those without, or delete all of them to start anew."
            )
        return next((b for b in readable if _epoch(b) == newest), None)


def _epoch(backup: Path) -> int:
    return int(backup.name.removeprefix("epoch_"))


def _backups(folder: Path) -> list[Path]:
    """Return the whole backups, the oldest first."""
    return sorted(folder.glob("epoch_*"), key=_epoch)


def _remove(backup: Path) -> None:
    """Rename a backup, then delete it: half a deleted one must not be taken for a backup."""
    removed = backup.with_name(_REMOVED)
    backup.rename(removed)
    shutil.rmtree(removed)


def _gather(strategy: tf.distribute.Strategy, value: int) -> np.ndarray:
    """Return the values of all workers; in a single process, its own."""
    if num_workers(strategy) == 1:
        return np.array([value])
    values = strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant([value], "int64")
    )
    gathered: np.ndarray = strategy.gather(values, axis=0).numpy()
    return gathered
