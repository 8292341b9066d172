"""The run that is killed: `python training.py FOLDER EPOCHS`. A line for all that it does."""

import json
import sys
from pathlib import Path

import keras
import runs
import tensorflow as tf

import keras_tag


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
        print(json.dumps([what, step, runs.fingerprint(self.model)]), flush=True)


def main(folder, epochs):
    tf.config.experimental.enable_op_determinism()
    # Without Dropout: its seeds are not in Keras's weights files.
    tag = runs.compiled(dropout=0.0)
    backup = keras_tag.callbacks.Backup(
        folder / "backup", keep=max(2, epochs), delete_when_done=False
    )
    print(json.dumps(["begin"]), flush=True)
    tag.fit(runs.batches(0, runs.STEPS), epochs=epochs, verbose=0, callbacks=[backup, Say()])
    tag.affinity().save(folder / "affinity.npz")
    print(json.dumps(["done", runs.step(tag), runs.fingerprint(tag)]), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
