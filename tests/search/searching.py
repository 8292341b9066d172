"""The search that is killed: `python searching.py FOLDER`. A line for all that it does."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "faults"))

import keras
import runs
import tensorflow as tf
import toys

import keras_tag
from keras_tag.search import resuming


class Say(keras.callbacks.LearningRateScheduler):
    """A line for every step; a kind of callback that does not keep a training from resuming."""

    def __init__(self):
        super().__init__(lambda epoch, rate: rate * 0.9)

    def on_epoch_begin(self, epoch, logs=None):
        super().on_epoch_begin(epoch, logs)
        runs.say(["begins", epoch])

    def on_train_batch_end(self, batch, logs=None):
        runs.say(["step"])

    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, logs)
        runs.say(["epoch"])


def main(folder):
    tf.config.experimental.enable_op_determinism()
    resuming.PATIENCE = 0.0  # A backup after every epoch, so that kills meet them.
    resuming.REMEMBERED[Say] = ()
    x, y = toys.data(128)
    search = keras_tag.GroupSearch(
        toys.compiled(), budget=2, trainings=3, directory=folder, project_name="search"
    )
    stops = [
        keras.callbacks.EarlyStopping(patience=3, restore_best_weights=True),
        keras.callbacks.ReduceLROnPlateau(patience=1),
    ]
    runs.say(["begin"])
    search.search(
        x,
        y,
        batch_size=16,
        epochs=5,
        validation_split=0.25,
        callbacks=[*stops, Say()],
        verbose=0,
    )
    runs.say(["done"])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
