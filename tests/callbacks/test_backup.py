"""`Backup`: killed at any moment, the same command again loses at most the epoch in progress."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from tag_models import LOSS, data, mlp
from workers import python_path, run_workers, script

from keras_tag import TAGModel
from keras_tag.callbacks import Backup

# A run of 4 epochs of 8 steps, probed at every second: 4 probes an epoch. It kills itself where
# it is told to, once: what it did so far is gone but for its files.
RUN = """
    import os, signal, sys
    from pathlib import Path
    import keras, numpy as np
    from tag_models import LOSS, data, mlp
    from keras_tag import TAGModel
    from keras_tag.callbacks import Backup
    import keras_tag.callbacks.backup as backup_module

    moment, folder = sys.argv[1], Path(sys.argv[2])

    def kill(here):
        if here == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    class Killer(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = epoch

        def on_train_batch_end(self, batch, logs=None):
            kill(f"epoch {self.epoch} batch {batch}")

        def on_epoch_end(self, epoch, logs=None):
            kill(f"epoch {epoch} end")

    save_weights = TAGModel.save_weights
    def killed_while_saving(self, filepath, **kwargs):
        save_weights(self, filepath, **kwargs)
        if moment == "in the file" and int(self.optimizer.iterations) == 16:
            content = Path(filepath).read_bytes()
            Path(filepath).write_bytes(content[: len(content) // 2])
            kill(moment)
    TAGModel.save_weights = killed_while_saving

    sync = backup_module.sync
    def killed_before_the_rename(path):
        sync(path)
        if Path(path).suffix == ".json" and "epoch_000002" not in os.listdir(folder / "backup"):
            kill("before the rename" if "epoch_000001" in os.listdir(folder / "backup") else "")
    backup_module.sync = killed_before_the_rename

    keras.utils.set_random_seed(0)
    x, y = data(64)
    tag = TAGModel(mlp(), every=2)
    tag.compile(keras.optimizers.Adam(0.01), loss=LOSS)
    tag.fit(x, y, batch_size=8, epochs=4, shuffle=False, verbose=0,
            callbacks=[Backup(folder / "backup"), Killer()])
    tag.affinity().save(folder / "affinity.npz")
    history = tag.affinity().history
    np.savez(folder / "end.npz", *tag.model.get_weights(), row=history.row, epoch=history.epoch,
             mean=tag.affinity().mean, count=tag.affinity().count, probes=tag.probes)
"""


def finish(folder, moment):
    """The run's files; killed at the moment, it is started again without being killed."""
    program = script(folder, RUN)
    for when in (moment, "never"):
        done = subprocess.run(
            [sys.executable, program, when, str(folder)],
            env={**os.environ, **python_path()},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == (-signal.SIGKILL if when != "never" else 0), done.stderr[-3000:]
        if when == "never":
            break
    with np.load(folder / "end.npz") as end:
        return dict(end)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return finish(tmp_path_factory.mktemp("uninterrupted"), "never")


@pytest.mark.parametrize(
    "moment",
    [
        *(pytest.param(at, marks=pytest.mark.slow) for at in ("epoch 2 batch 4", "in the file")),
        *(
            pytest.param(at, marks=pytest.mark.nightly)
            for at in ("epoch 0 batch 3", "epoch 1 end", "before the rename")
        ),
    ],
)
def test_a_killed_run_ends_as_an_uninterrupted_one(moment, tmp_path, uninterrupted):
    end = finish(tmp_path, moment)
    assert end.keys() == uninterrupted.keys()
    # Nothing was lost and nothing counted twice: 4 probes in each of 4 epochs.
    np.testing.assert_array_equal(np.unique(end["epoch"]), range(4))
    np.testing.assert_array_equal(end["count"], 16)
    assert end["probes"] == 16
    for name, value in uninterrupted.items():
        # Keras itself is not always bit-identical from run to run.
        np.testing.assert_allclose(end[name], value, rtol=1e-4, atol=1e-6, err_msg=name)
    assert not list((tmp_path / "backup").glob("epoch_*"))


def fitted(epochs, folder, **kwargs):
    keras.utils.set_random_seed(0)
    x, y = data(32)
    tag = TAGModel(mlp(), every=1)
    tag.compile("adam", loss=LOSS)
    backup = Backup(folder, **kwargs)
    tag.fit(x, y, batch_size=8, epochs=epochs, verbose=0, callbacks=[backup])
    return tag


def test_keeps_what_it_is_told_to_keep(tmp_path):
    fitted(4, tmp_path, keep=3, delete_when_done=False)
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == ["epoch_000002", "epoch_000003", "epoch_000004"]
    # The same again finds nothing left to train, and has all that was measured.
    assert fitted(4, tmp_path, delete_when_done=False).probes == 16


def test_more_epochs_go_on(tmp_path):
    fitted(1, tmp_path, delete_when_done=False)
    tag = fitted(3, tmp_path)
    assert tag.probes == 12
    np.testing.assert_array_equal(np.unique(tag.affinity().history.row), range(3))
    assert not list(tmp_path.iterdir())


def test_keeps_at_least_two():
    with pytest.raises(ValueError, match="at least 2"):
        Backup("folder", keep=1)


@pytest.mark.slow
def test_workers_with_disks_of_their_own_go_on_from_the_newest_backup_that_all_have(tmp_path):
    program = script(
        tmp_path,
        """
    import json, os, sys
    import keras, numpy as np, tensorflow as tf
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
    import one_device
    from keras_tag.callbacks import Backup

    x, y = one_device.data(32)
    tag = one_device.made(strategy.scope(), "adam", every=2)
    tag.fit(x, y, batch_size=8, epochs=int(sys.argv[1]), shuffle=False, verbose=0,
            callbacks=[Backup(f"disk_{index}", delete_when_done=False)])
    affinity = tag.affinity()
    np.savez(f"end_{index}.npz", mean=affinity.mean, count=affinity.count,
             epoch=affinity.history.epoch, step=tag.optimizer.iterations.numpy())
    """,
    )
    run_workers(2, [program, "2"], tmp_path)
    # As if worker 1 had been killed after worker 0's rename and before its own.
    shutil.rmtree(tmp_path / "disk_1" / "worker_1" / "epoch_000002")
    run_workers(2, [program, "3"], tmp_path)
    ends = [dict(np.load(tmp_path / f"end_{index}.npz")) for index in range(2)]
    for name in ends[0]:
        np.testing.assert_array_equal(ends[0][name], ends[1][name])
    np.testing.assert_array_equal(ends[0]["count"], 6)
    np.testing.assert_array_equal(np.unique(ends[0]["epoch"]), range(3))
    assert ends[0]["step"] == 12


def test_half_a_deleted_backup_is_none(tmp_path, monkeypatch):
    """Killed while the last backup is removed, the same again trains nothing on top of it."""

    def killed(folder, ignore_errors=False):
        if not ignore_errors:
            (Path(folder) / "training_metadata.json").unlink()
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            fitted(1, tmp_path)
    assert fitted(1, tmp_path).probes == 4
    assert not list(tmp_path.iterdir())
