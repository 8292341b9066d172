"""A search on a process pool and on a Ray cluster ends as one in a single process does."""

import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import uuid
from pathlib import Path

import psutil
import pytest
from fresh_process import run_alone
from toys import assert_same_weights

from keras_tag.search.ledger import Ledger

pytestmark = pytest.mark.slow
MARK = "TEST_OF_SEARCHES"


def marked(value):
    """The processes that were started with a value in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == value:
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.fixture
def mark():
    """A value for the environment; what has it and is left behind fails the test."""
    value = uuid.uuid4().hex
    yield value
    left = [process for process in marked(value) if process.status() != psutil.STATUS_ZOMBIE]
    _, left = psutil.wait_procs(left, timeout=120)
    names = [" ".join(process.cmdline())[:120] for process in left]
    for process in left:
        process.kill()
    assert not names


def run(folder, *stages, mark, ends=0, **environment):
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("on_workers.py"), folder, *stages],
        env={**os.environ, MARK: mark, **environment},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == ends, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """The folder of the search in a single process."""
    folder = tmp_path_factory.mktemp("here")
    run(folder, "here", mark="here")
    return folder / "here"


def assert_same_end(ours, theirs):
    assert_same_weights(ours, theirs)
    for own, other in zip(*(Ledger(folder).outcomes() for folder in (ours, theirs)), strict=True):
        assert own.status == "done"
        assert (own.number, own.group, own.seed) == (other.number, other.group, other.seed)
        assert own.objective == other.objective
    histories = [sorted(folder.glob("training_*/history.csv")) for folder in (ours, theirs)]
    for own, other in zip(*histories, strict=True):
        assert own.read_text() == other.read_text()


def test_a_process_pool_ends_as_a_single_process_whatever_is_killed(here, tmp_path, mark):
    run(tmp_path, "pool", mark=mark, ends=-signal.SIGKILL, KILL_SEARCH="1")
    left = psutil.wait_procs(marked(mark), timeout=120)[1]
    assert not left  # A pool's own workers would wait for ever.
    run(tmp_path, "pool", "pool_killed", mark=mark)
    assert (tmp_path / "worker killed").exists()
    for stage in ("pool", "pool_killed"):
        assert_same_end(tmp_path / stage, here)


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray")
def test_two_ray_nodes_end_as_a_single_process_also_if_one_is_lost(here, tmp_path, mark):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        head = f"127.0.0.1:{port}"
    start = [str(Path(sys.executable).with_name("ray")), "start", "--node-ip-address=127.0.0.1"]
    start += ["--num-cpus=1", "--num-gpus=0", "--disable-usage-stats"]
    start += ["--object-store-memory=100000000"]
    # It is on where a token was once made for the user.
    first = {**os.environ, MARK: mark, "RAY_AUTH_MODE": "disabled"}
    try:
        command = [*start, "--head", f"--port={port}", "--include-dashboard=false"]
        subprocess.run(command, env=first, check=True, capture_output=True, timeout=1200)
        before = {process.pid for process in marked(mark)}
        second = {**first, "SECOND_NODE": "1"}
        command = [*start, f"--address={head}"]
        subprocess.run(command, env=second, check=True, capture_output=True, timeout=1200)
        node = [process for process in marked(mark) if process.pid not in before]
        raylets = [process.pid for process in node if "raylet" in process.name()]
        assert len(raylets) == 1
        (tmp_path / "second node").write_text(str(raylets[0]))
        printed = run(
            tmp_path, "ray", "ray_killed", mark=mark, RAY_HEAD=head, RAY_AUTH_MODE="disabled"
        )
    finally:
        for process in marked(mark):
            process.kill()
        # The next `ray.init()` of anybody would look for this cluster.
        current = Path("/tmp/ray/ray_current_cluster")
        if current.exists() and current.read_text().strip().endswith(f":{port}"):
            current.unlink()
    assert re.findall(r"^workers (\d)$", printed, re.M) == ["2", "2"]
    assert (tmp_path / "node killed").exists()
    for stage in ("ray", "ray_killed"):
        assert_same_end(tmp_path / stage, here)


@pytest.mark.nightly
def test_a_training_uses_all_devices_of_its_worker(tmp_path):
    run_alone(
        f"""
        import sys

        sys.path.append({str(Path(__file__).parent)!r})
        import tensorflow as tf

        cpu = tf.config.list_physical_devices("CPU")[0]
        logical = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(cpu, logical)
        import keras
        import pytest
        import toys

        import keras_tag

        seen = []

        class Note(keras.callbacks.Callback):
            def on_train_begin(self, logs=None):
                seen.append(self.model.distribute_strategy.num_replicas_in_sync)

        x, y = toys.data(128)
        ends = []
        for strategy in ("mirrored", None):
            model = toys.network(dropout=0.0)
            model.compile("sgd", loss=dict.fromkeys(toys.TASKS, "mse"))
            search = keras_tag.GroupSearch(
                model, 2, trainings=1, directory={str(tmp_path)!r}, project_name=str(strategy)
            )
            fit = dict(validation_split=0.25, batch_size=32, epochs=2, verbose=0)
            search.search(x, y, callbacks=[Note()], strategy=strategy, **fit)
            ends.append(search.results.done)
        assert seen == [1, 2, 1, 1], seen
        for ours, theirs in zip(*ends, strict=True):
            assert ours.group == theirs.group
            assert ours.objective == pytest.approx(theirs.objective, rel=1e-3)
        """
    )
