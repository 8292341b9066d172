"""A run that gets Ctrl-C, looks at itself, and goes on: `python interrupted.py FOLDER`."""

import signal
import sys
from pathlib import Path

import keras
import runs
import tensorflow as tf

STEPS = 400


class Say(keras.callbacks.Callback):
    """A line for every step."""

    def on_train_batch_end(self, batch, logs=None):
        runs.say(["trained"])


class Fingerprints(keras.callbacks.Callback):
    """What the weights are after every step."""

    def __init__(self):
        super().__init__()
        self.after = {}

    def on_train_batch_end(self, batch, logs=None):
        self.after[runs.step(self.model)] = runs.fingerprint(self.model)


def look(tag, unbroken, what):
    """A line about where a run is, and whether an unbroken one was there too."""
    step = runs.step(tag)
    right = [
        runs.fingerprint(tag) == unbroken[step],
        tag.probes == runs.probes_of(step),
        not tag.probes or (tag.affinity().count == tag.probes).all(),
    ]
    runs.say([what, step, *map(bool, right)])


def main(folder):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tf.config.experimental.enable_op_determinism()
    tag = runs.compiled()
    tag.fit(runs.batches(0, 2), verbose=0)  # Tracing is not what is interrupted.
    start, unbroken = runs.Start(folder, runs.compiled()), Fingerprints()
    start.put_into(tag)
    unbroken.after[0] = runs.fingerprint(tag)
    tag.fit(runs.batches(0, STEPS), callbacks=[unbroken], verbose=0)
    means = tag.affinity().mean
    start.put_into(tag)
    while runs.step(tag) < STEPS:
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            tag.fit(runs.batches(runs.step(tag), STEPS), callbacks=[Say()], verbose=0)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            if runs.step(tag):
                look(tag, unbroken.after, "interrupted")
    look(tag, unbroken.after, "done")
    error = float(abs(tag.affinity().mean - means).max())
    runs.say(["error", error])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
