"""Trains groups one after another, and is killed: `python grouped.py FOLDER`."""

import sys
from pathlib import Path

import keras
import numpy as np
import runs
import tensorflow as tf

from keras_tag import GroupedModel, Grouping
from keras_tag.callbacks import Backup

EPOCHS = 4


def network(tasks):
    inputs = keras.Input((6,))
    h = keras.layers.Dense(8, "tanh", name="trunk")(inputs)
    h = keras.layers.BatchNormalization(name="norm")(h)
    return keras.Model(inputs, {task: keras.layers.Dense(1, name=task)(h) for task in tasks})


class Say(keras.callbacks.Callback):
    """A line for every step and every backup."""

    def on_train_batch_end(self, batch, logs=None):
        runs.say(["trained"])

    def on_epoch_end(self, epoch, logs=None):
        runs.say(["saved"])


def main(folder):
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(0)
    grouping = Grouping.from_groups([("a", "b"), ("b", "c")])
    model = GroupedModel(grouping, network)
    model.compile(keras.optimizers.Adam(0.01), loss=dict.fromkeys(runs.TASKS, "mse"))
    histories = model.fit_groups(
        folder / "groups",
        runs.batches(0, runs.STEPS),
        epochs=EPOCHS,
        verbose=0,
        callbacks=lambda index: [
            Backup(folder / f"backup_{index}", delete_when_done=False),
            Say(),
        ],
    )
    np.savez(folder / "end.npz", *model.get_weights())
    runs.say([len(history["loss"]) for history in histories])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
