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
    """Kills a worker of a pool, or a node of Ray, in the middle of a training, as a host may.

    Args:
        folder: Where the processes of nodes are noted, as `node_<IP address>`.
    """

    def __init__(self, folder):
        super().__init__()
        self.folder = Path(folder)

    def on_epoch_end(self, epoch, logs=None):
        if len(self.model.output_names) == 4:  # The joint run, which is in no worker.
            return
        killed = [os.getpid()]
        if "ray" in sys.modules:
            here = os.environ.get("SECOND_NODE")
            if here is None:
                return
            killed = [os.getpid(), *map(int, (self.folder / "second").read_text().split())]
        try:
            (self.folder / "kill").touch(exist_ok=False)
        except FileExistsError:
            return
        for process in reversed(killed):
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


def search_in(folder, name, executor=None, callbacks=(), **arguments):
    import keras_tag

    model, digits = network()
    search = keras_tag.GroupSearch(
        model, **{"budget": 2, "trainings": 2, **arguments}, directory=folder, project_name=name
    )
    search.search(
        digits.images,
        digits.labels,
        validation_split=0.4,
        epochs=2,
        verbose=2,
        executor=executor,
        callbacks=callbacks,
    )
    return search


def pool():
    return ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))


def main(folder, stages):
    import tensorflow as tf

    import keras_tag

    tf.config.experimental.enable_op_determinism()
    pools = []
    for stage in stages:
        kill = [KillOnce(folder)] if stage.endswith("killed") else ()
        if stage == "here":
            executor = None
        elif stage == "pool":
            executor = pool()
            pools.append(executor)
        elif stage == "pool_killed":

            def executor():
                # The pool that there is, and another when it is broken.
                return pools.pop() if pools else pool()
        else:
            import ray

            if not ray.is_initialized():
                ray.init(address=os.environ["RAY_HEAD"], log_to_driver=False)
            executor = keras_tag.RayExecutor()
            print("workers", executor.max_workers, flush=True)
        search_in(folder, stage, executor, kill)
        print(stage, "done", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
