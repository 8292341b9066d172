"""The digits search on workers: `python on_workers.py FOLDER STAGE ...`; stages: see `main`."""

import multiprocessing
import os
import signal
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import keras

from keras_tag.datasets.digits import compose_digits

TASKS = ("loop", "odd")


class KillOnce(keras.callbacks.TerminateOnNaN):
    """Kills processes in the middle of a training, once, as the kernel or a host may.

    Args:
        marker: A file that says that it was done.
        others: Numbers of processes that are killed before this one.
        only: A name in the environment of those workers that do it; None: all.
    """

    def __init__(self, marker, others=(), only=None):
        super().__init__()
        self.marker, self.others, self.only = marker, others, only

    def on_epoch_end(self, epoch, logs=None):
        # The joint run, which has four outputs, is in no worker.
        if len(self.model.output_names) == 4 or (self.only and self.only not in os.environ):
            return
        try:
            self.marker.touch(exist_ok=False)
        except FileExistsError:
            return
        for process in (*self.others, os.getpid()):
            os.kill(process, signal.SIGKILL)


def network():
    """Two tasks of two digits; Keras makes a Huber loss anew without its delta."""
    digits = compose_digits(2, TASKS, 0, train_size=160)["train"]
    keras.utils.set_random_seed(1)
    inputs = keras.Input(digits.images.shape[1:])
    h = keras.layers.Dense(12, "relu")(keras.layers.Flatten()(inputs))
    h = keras.layers.Dropout(0.2)(h)
    model = keras.Model(
        inputs, {t: keras.layers.Dense(1, "sigmoid", name=t)(h) for t in digits.labels}
    )
    huber = keras.losses.Huber(delta=0.3)
    model.compile(keras.optimizers.Adam(0.01), loss=dict.fromkeys(digits.labels, huber))
    return model, digits


def search_in(folder, name, executor, callbacks):
    import keras_tag

    model, digits = network()
    search = keras_tag.GroupSearch(
        model, budget=2, trainings=2, directory=folder, project_name=name
    )
    fit = {"epochs": 2, "verbose": 2, "executor": executor, "callbacks": callbacks}
    if name.startswith("pool"):
        # What is sent fits into a pipe: a worker whose search is killed never waits for the rest.
        search.search(train, validation_data=valid, **fit)
    else:
        search.search(digits.images, digits.labels, validation_split=0.4, **fit)


def train():
    return part(slice(96))


def valid():
    return part(slice(96, None))


def part(rows):
    digits = compose_digits(2, TASKS, 0, train_size=160)["train"]
    return digits.images[rows], {task: labels[rows] for task, labels in digits.labels.items()}


def pool():
    return ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))


def main(folder, stages):
    import tensorflow as tf

    import keras_tag

    tf.config.experimental.enable_op_determinism()
    pools = []
    for stage in stages:
        callbacks = []
        if stage == "here":
            executor = None
        elif stage == "pool":
            executor = pool()
            pools.append(executor)
            if "KILL_SEARCH" in os.environ:
                callbacks = [KillOnce(folder / "search killed", [os.getpid()])]
        elif stage == "pool_killed":

            def executor():
                # The pool that there is, and another when it is broken.
                return pools.pop() if pools else pool()

            callbacks = [KillOnce(folder / "worker killed")]
        else:
            import ray

            if not ray.is_initialized():
                ray.init(address=os.environ["RAY_HEAD"], log_to_driver=False)
            executor = keras_tag.RayExecutor()
            print("workers", executor.max_workers, flush=True)
            if stage == "ray_killed":
                node = int((folder / "second node").read_text())
                callbacks = [KillOnce(folder / "node killed", [node], "SECOND_NODE")]
        search_in(folder, stage, executor, callbacks)
        print(stage, "done", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
