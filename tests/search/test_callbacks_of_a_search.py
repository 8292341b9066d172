"""Callbacks of a search: copies of the user's, and those by which a training is watched."""

import time
from pathlib import Path
from types import SimpleNamespace

import keras
import pytest

from keras_tag.search.callbacks import Signs, StopAt, copies
from keras_tag.search.ledger import Ledger
from keras_tag.search.resuming import KeepBest, Resume

GROUP = ("depth", "edges")
RUNS = [Path(search, f"training_{number}") for search in ("faces", "rooms") for number in (0, 1)]


@pytest.mark.parametrize("by_function", [True, False])
def test_no_training_writes_into_anothers_files(tmp_path, by_function):
    def new(group=GROUP):
        return [
            keras.callbacks.CSVLogger(tmp_path / "log.csv", append=True),
            keras.callbacks.ModelCheckpoint(tmp_path / "best.keras"),
            keras.callbacks.TensorBoard(tmp_path / "logs"),
        ]

    given = new if by_function else new()
    made = [copies(given, GROUP, run) for run in RUNS]
    paths = {Path(p) for log, best, tb in made for p in (log.filename, best.filepath, tb.log_dir)}
    assert len(paths) == 3 * len(RUNS)
    assert tmp_path / "logs" / "rooms_training_1" in paths
    log = made[0][0]
    for _ in range(2):  # An attempt that was interrupted, and the one after it.
        log.set_model(SimpleNamespace(stop_training=False))
        log.on_train_begin()
        log.on_epoch_end(0, {"loss": 1.0})
        log.on_train_end()
    assert len(Path(log.filename).read_text().splitlines()) == 2
    assert [one.append for one in new()[:1]] == [True]


@pytest.mark.parametrize("by_function", [True, False])
def test_callbacks_that_restore_or_share_a_folder_are_refused(tmp_path, by_function):
    own = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    with pytest.raises(ValueError, match=r"without backups.*BackupAndRestore"):
        copies((lambda group: [own]) if by_function else own, GROUP, RUNS[0])


def test_what_callbacks_remember_is_not_anothers():
    stop = keras.callbacks.EarlyStopping(restore_best_weights=True)
    first, second = (copies([stop], GROUP, RUNS[0])[0] for _ in range(2))
    first.best_weights = [1.0]
    assert stop.best_weights is second.best_weights is None


def test_a_training_is_not_stopped_before_it_was_validated():
    stop = StopAt(time.time() - 1)
    stop.set_model(SimpleNamespace(stop_training=False))
    stop.on_epoch_end(0, {"loss": 1.0})
    assert not stop.model.stop_training
    stop.on_epoch_end(1, {"loss": 1.0, "val_loss": 1.0})
    assert stop.model.stop_training


def test_a_worker_that_was_believed_lost_writes_nothing_more(tmp_path):
    ledger = Ledger(tmp_path)
    folder = ledger.folder_of(3)
    folder.mkdir()
    with ledger.claimed() as session:
        best = KeepBest(None, lambda logs: None)
        lost, other = (Signs(folder / "history.csv", best, session) for _ in range(2))
        for own in (lost, other):
            own.on_train_begin()
        other.on_epoch_end(0)
        backups = Resume(folder / "backup", best, [], lost.check)
        backups.set_model(SimpleNamespace(stop_training=False))
        backups.set_params({"epochs": 5})
        for write in (lost.check, lambda: lost.on_epoch_end(0), lambda: backups.on_epoch_end(0)):
            with pytest.raises(RuntimeError, match="another worker"):
                write()
        other.check()
        ledger.forget_backup(3)  # The other has ended, and what it wrote is final.
        with pytest.raises(RuntimeError, match="has ended"):
            other.check()
