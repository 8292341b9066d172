"""A small training run whose state after every step is known, to be compared with broken ones.

Batch t is a function of t, so that a broken run can go on from the step that it has reached. The
model has all the state that a step can leave half done: statistics, seeds, Adam's slots.
"""

import hashlib
import json
import os
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_tag import TAGModel

HERE = Path(__file__).parent
TASKS = ("a", "b", "c")
EVERY = 2
STEPS = 8  # per epoch
BATCH = 8
LONGEST = 1000  # Steps that there are data for.


def network(dropout=0.2):
    inputs = keras.Input((6,))
    h = keras.layers.Dense(8, "tanh", name="trunk")(inputs)
    h = keras.layers.BatchNormalization(name="norm")(h)
    h = keras.layers.Dropout(dropout, seed=1, name="drop")(h)
    return keras.Model(inputs, {task: keras.layers.Dense(1, name=task)(h) for task in TASKS})


def batches(first, last):
    """Steps `first` up to but not including `last`."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(LONGEST * BATCH, 6)).astype("float32")
    y = {task: (x @ rng.normal(size=(6, 1))).astype("float32") for task in TASKS}
    part = slice(first * BATCH, last * BATCH)
    data = (x[part], {task: labels[part] for task, labels in y.items()})
    return tf.data.Dataset.from_tensor_slices(data).batch(BATCH, drop_remainder=True)


def compiled(loss="mse", dropout=0.2):
    keras.utils.set_random_seed(0)
    tag = TAGModel(network(dropout), every=EVERY)
    losses = loss if isinstance(loss, dict) else dict.fromkeys(TASKS, loss)
    tag.compile(keras.optimizers.Adam(0.01), loss=losses)
    tag.optimizer.build(tag.trainable_variables)
    return tag


def weights(tag):
    """What is trained, and all that training it depends on: slots, statistics, seeds, step."""
    return [np.copy(v.numpy()) for v in (*tag.model.variables, *tag.optimizer.variables)]


def fingerprint(tag):
    """A short name of `weights`."""
    content = hashlib.sha256()
    for array in weights(tag):
        content.update(array.tobytes())
    return content.hexdigest()[:16]


def step(tag):
    return int(tag.optimizer.iterations.numpy())


def say(event):
    """A long line of JSON; a signal comes before or after it."""
    os.write(sys.stdout.fileno(), (json.dumps(event).ljust(511) + "\n").encode())


class Start:
    """The state before the first step, to begin from it again and again."""

    def __init__(self, folder, tag):
        self.file = folder / "start.weights.h5"
        tag.save_weights(self.file)
        # Seeds are not in Keras's weights files.
        self.others = [v.numpy() for v in tag.model.non_trainable_variables]

    def put_into(self, tag):
        tag.load_weights(self.file)
        for variable, value in zip(tag.model.non_trainable_variables, self.others, strict=True):
            variable.assign(value)


class Log(keras.callbacks.Callback):
    """The weights after every step: `states[t]` after t steps."""

    def __init__(self):
        super().__init__()
        self.states = {}

    def note(self):
        self.states[step(self.model)] = weights(self.model)

    def on_train_begin(self, logs=None):
        self.note()

    def on_train_batch_end(self, batch, logs=None):
        self.note()


def probes_of(steps):
    """How many of the first so many steps are probed: the second in place of the first."""
    return 0 if steps == 1 else -(-steps // EVERY)
