"""The run that is killed: `python training.py FOLDER`. A line for all that it does."""

import sys
from pathlib import Path

import keras
import runs
import tensorflow as tf

import keras_tag

EPOCHS = 30


class Say(keras.callbacks.Callback):
    """Where the run is, and what its weights are."""

    def on_train_begin(self, logs=None):
        self.say("restored")

    def on_train_batch_end(self, batch, logs=None):
        self.say("trained")

    def on_epoch_end(self, epoch, logs=None):
        self.say("saved")

    def say(self, what):
        step = int(self.model.optimizer.iterations.numpy())
        runs.say([what, step, runs.fingerprint(self.model)])


def main(folder):
    tf.config.experimental.enable_op_determinism()
    # Without Dropout: its seeds are not in Keras's weights files.
    tag = runs.compiled(dropout=0.0)
    backup = keras_tag.callbacks.Backup(folder / "backup", keep=EPOCHS, delete_when_done=False)
    runs.say(["begin", 0, ""])
    tag.fit(runs.batches(0, runs.STEPS), epochs=EPOCHS, verbose=0, callbacks=[backup, Say()])
    tag.affinity().save(folder / "affinity.npz")
    runs.say(["done", runs.step(tag), runs.fingerprint(tag)])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
