"""A search on a process pool and on a Ray cluster ends as one in a single process does."""

import importlib.util
import os
import re
import socket
import subprocess
import sys
import uuid
from pathlib import Path

import psutil
import pytest
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
    _, left = psutil.wait_procs(left, timeout=30)
    names = [" ".join(process.cmdline())[:120] for process in left]
    for process in left:
        process.kill()
    assert not names


def run(folder, *stages, mark, **environment):
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("on_workers.py"), folder, *stages],
        env={**os.environ, MARK: mark, **environment},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
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


def test_a_process_pool_ends_as_a_single_process_also_if_a_worker_is_killed(here, tmp_path, mark):
    run(tmp_path, "pool", "pool_killed", mark=mark)
    assert (tmp_path / "kill").exists()
    for stage in ("pool", "pool_killed"):
        assert_same_end(tmp_path / stage, here)


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray")
def test_two_ray_nodes_end_as_a_single_process_also_if_one_is_lost(here, tmp_path, mark):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        head = f"127.0.0.1:{free.getsockname()[1]}"
    start = [str(Path(sys.executable).with_name("ray")), "start", "--node-ip-address=127.0.0.1"]
    start += ["--num-cpus=1", "--num-gpus=0", "--disable-usage-stats"]
    start += ["--object-store-memory=100000000"]
    first = {**os.environ, MARK: mark}
    try:
        command = [*start, "--head", f"--port={head.split(':')[1]}", "--include-dashboard=false"]
        subprocess.run(command, env=first, check=True, capture_output=True, timeout=300)
        before = {process.pid for process in marked(mark)}
        second = {**first, "SECOND_NODE": "1"}
        command = [*start, f"--address={head}"]
        subprocess.run(command, env=second, check=True, capture_output=True, timeout=300)
        node = [process for process in marked(mark) if process.pid not in before]
        raylets = [process.pid for process in node if "raylet" in process.name()]
        assert len(raylets) == 1
        (tmp_path / "second").write_text(str(raylets[0]))
        printed = run(tmp_path, "ray", "ray_killed", mark=mark, RAY_HEAD=head)
    finally:
        for process in marked(mark):
            process.kill()
        # The next `ray.init()` of anybody would look for this cluster.
        current = Path("/tmp/ray/ray_current_cluster")
        if current.exists() and current.read_text().strip() == head:
            current.unlink()
    assert re.findall(r"^workers (\d)$", printed, re.M) == ["2", "2"]
    assert (tmp_path / "kill").exists()
    for stage in ("ray", "ray_killed"):
        assert_same_end(tmp_path / stage, here)
