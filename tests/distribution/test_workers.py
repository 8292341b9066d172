"""Real worker processes measure what one process measures."""

import pytest
from workers import Finished, run_workers, script

WORKER = """
    import json, os, signal, sys, time
    import keras, numpy as np, tensorflow as tf
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
    import one_device
"""


# Two kinds with one optimizer between workers; two replicas try every kind with every optimizer.
A_FEW = """
    one_device.use("float64")
    one_device.probes_agree(strategy, 1e-9, optimizers=["adam"])
    one_device.whole_runs_agree(strategy, 1e-9, ["gradient", "optimizer"], ["adam"])
    one_device.uneven_fit_counts_every_probe(strategy)
"""
ALL = """
    one_device.use("float64")
    one_device.probes_agree(strategy, 1e-9)
    one_device.whole_runs_agree(strategy, 1e-9)
    one_device.use("float32")
    one_device.probes_agree(strategy, 2e-4, optimizers=["adam"])
    one_device.whole_runs_agree(strategy, 1e-3, optimizers=["adam"])
    one_device.uneven_fit_counts_every_probe(strategy)
"""


@pytest.mark.slow
def test_workers_measure_what_one_process_measures(tmp_path):
    run_workers(2, [script(tmp_path, WORKER, A_FEW)], tmp_path, timeout=1500)


@pytest.mark.nightly
def test_three_workers_measure_it_too(tmp_path):
    run_workers(3, [script(tmp_path, WORKER, ALL)], tmp_path, timeout=1500)


@pytest.mark.parametrize(
    "dies",
    [pytest.param(0, marks=pytest.mark.slow), pytest.param(1, marks=pytest.mark.nightly)],
)
def test_when_a_worker_dies_the_others_end_with_an_error(dies, tmp_path):
    program = script(
        tmp_path,
        WORKER,
        f"""
    class Die(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if index == {dies} and batch == 2:
                os.kill(os.getpid(), signal.SIGKILL)

    x, y = one_device.data(96)
    tag = one_device.made(strategy.scope(), "adam", every=2)
    tag.fit(x, y, batch_size=24, epochs=2, verbose=0, callbacks=[Die()])
    """,
    )
    expected = [None, None]
    expected[dies] = -9
    run_workers(2, [program], tmp_path, timeout=240, expected=expected)


def test_a_cluster_that_hangs_is_ended(tmp_path):
    with pytest.raises(Finished, match="still running"):
        run_workers(2, [script(tmp_path, "import time; time.sleep(60)")], tmp_path, timeout=1)
