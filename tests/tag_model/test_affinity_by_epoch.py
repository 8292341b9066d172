"""Affinities are kept by epoch: nothing measured is lost, and nothing counts twice."""

import keras
import numpy as np
import pytest
from tag_models import LOSS, data, mlp

from keras_tag import TAGModel

STEPS = 4  # per epoch, all of them probed


def compiled():
    keras.utils.set_random_seed(0)
    tag = TAGModel(mlp(), every=1)
    tag.compile(keras.optimizers.Adam(0.01), loss=LOSS)
    return tag


def fit(tag, epochs=2, **kwargs):
    x, y = data(8 * STEPS)
    return tag.fit(x, y, batch_size=8, epochs=epochs, shuffle=False, verbose=0, **kwargs)


def probes_by_row(tag):
    history = tag.affinity().history
    return [int(history.probes[history.row == row].sum()) for row in range(history.row.max() + 1)]


def epochs_of_rows(tag):
    history = tag.affinity().history
    return [int(history.epoch[history.row == row][0]) for row in range(history.row.max() + 1)]


class Stop(Exception):
    pass


class RaiseAt(keras.callbacks.Callback):
    def __init__(self, epoch, batch):
        super().__init__()
        self.at = (epoch, batch)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == self.at:
            raise Stop


def test_a_second_fit_adds_its_epochs():
    tag = compiled()
    fit(tag, epochs=2)
    fit(tag, epochs=3)
    assert probes_by_row(tag) == [STEPS] * 5
    assert epochs_of_rows(tag) == [0, 1, 0, 1, 2]
    history = tag.affinity().history
    total = history.total.sum(0) / history.count.sum(0)
    np.testing.assert_allclose(tag.affinity().mean, total, rtol=1e-12)


def test_the_means_are_those_of_the_probes_one_by_one():
    x, y = data(8 * STEPS)
    single, run = compiled(), compiled()
    matrices = []
    for batch in range(STEPS):
        part = slice(8 * batch, 8 * batch + 8)
        single.reset_affinity()
        single.train_on_batch(x[part], {name: value[part] for name, value in y.items()})
        matrices.append(single.affinity().mean)
        assert set(single.affinity().history.epoch) == {-1}
    fit(run, epochs=1)
    np.testing.assert_allclose(run.affinity().mean, np.mean(matrices, axis=0), rtol=1e-3, atol=1e-7)


def test_best_weights_put_back_keep_every_probe():
    tag = compiled()
    stop = keras.callbacks.EarlyStopping(
        monitor="loss", mode="max", patience=1, restore_best_weights=True
    )
    history = fit(tag, epochs=6, callbacks=[stop])
    assert len(history.epoch) == 2  # The first epoch was "best".
    assert tag.probes == 2 * STEPS
    assert probes_by_row(tag) == [STEPS, STEPS]


def test_an_interrupted_epoch_is_kept_when_training_just_goes_on():
    tag = compiled()
    with pytest.raises(Stop):
        fit(tag, callbacks=RaiseAt(1, 1))
    fit(tag, epochs=2, initial_epoch=1)
    assert probes_by_row(tag) == [STEPS, 2, STEPS]
    assert epochs_of_rows(tag) == [0, 1, 1]


@pytest.mark.slow
def test_an_epoch_repeated_after_a_restore_replaces_what_was_measured_of_it(tmp_path):
    weights = tmp_path / "middle.weights.h5"
    tag = compiled()
    save = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: tag.save_weights(weights) if batch == 1 else None
    )
    with pytest.raises(Stop):
        fit(tag, callbacks=[save, RaiseAt(1, 1)])
    again = compiled()
    again.load_weights(weights)
    assert again.probes == STEPS + 2
    fit(again, epochs=3, initial_epoch=1)
    assert probes_by_row(again) == [STEPS] * 3
    assert epochs_of_rows(again) == [0, 1, 2]
    other = compiled()
    other.load_weights(weights)
    fit(other, epochs=4, initial_epoch=2)  # Not a repetition: both count.
    assert probes_by_row(other) == [STEPS, 2, STEPS, STEPS]


@pytest.mark.slow
def test_kerass_own_backup_restores_affinities(tmp_path):
    def backup():
        return keras.callbacks.BackupAndRestore(str(tmp_path / "backup"), save_freq=1)

    tag = compiled()
    with pytest.raises(Stop):
        fit(tag, callbacks=[backup(), RaiseAt(1, 2)])
    again = compiled()
    fit(again, epochs=3, callbacks=[backup()])
    # It goes on at the beginning of the epoch, with the weights of its middle.
    assert probes_by_row(again) == [STEPS] * 3


def test_resetting_inside_an_epoch_stays_in_that_epoch():
    tag = compiled()
    reset = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: tag.reset_affinity() if batch == 1 else None
    )
    fit(tag, epochs=1, callbacks=[reset])
    assert tag.probes == STEPS - 2
    assert epochs_of_rows(tag) == [0]


@pytest.mark.parametrize(
    "kind",
    ["list", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("none", "one", "tuple"))],
)
def test_callbacks_may_come_as_keras_takes_them(kind):
    tag = compiled()
    given = keras.callbacks.CallbackList(
        [keras.callbacks.History()], model=tag, epochs=1, steps=STEPS
    )
    fit(
        tag,
        epochs=1,
        callbacks={
            "none": None,
            "one": keras.callbacks.TerminateOnNaN(),
            "tuple": (keras.callbacks.TerminateOnNaN(),),
            "list": given,
        }[kind],
    )
    assert epochs_of_rows(tag) == [0]
    if kind == "list":
        fit(tag, epochs=1, callbacks=given)
        assert epochs_of_rows(tag) == [0, 0]
