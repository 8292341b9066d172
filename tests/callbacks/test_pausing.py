import keras
import numpy as np
from probed_model import BATCH, data, probed


class Note(keras.callbacks.Callback):
    """Which steps were probed; pauses and resumes before the given steps."""

    def __init__(self, pause=(), resume=()):
        super().__init__()
        self.pause, self.resume, self.probed, self.step = pause, resume, [], 0

    def on_train_batch_begin(self, batch, logs=None):
        if self.step in self.pause:
            self.model.pause_probing()
        if self.step in self.resume:
            self.model.resume_probing()

    def on_train_batch_end(self, batch, logs=None):
        self.probed.append(self.model.last_step_probed)
        self.step += 1


def test_paused_steps_are_not_probed_and_the_rhythm_goes_on():
    tag, note = probed(every=2), Note(pause=[3], resume=[7])
    x, y = data(steps=10)
    tag.fit(x, y, batch_size=BATCH, verbose=0, callbacks=[note])
    assert np.flatnonzero(note.probed).tolist() == [1, 2, 8]
    assert tag.probes == 3
    assert not tag.probing_paused


def test_training_is_the_same_with_and_without_a_pause():
    x, y = data()
    with_probes, without = probed(), probed()
    without.pause_probing()
    for tag in (with_probes, without):
        tag.fit(x, y, batch_size=BATCH, epochs=2, verbose=0, shuffle=False)
    assert without.probes == 0
    for a, b in zip(with_probes.model.weights, without.model.weights, strict=True):
        np.testing.assert_array_equal(a, b)
