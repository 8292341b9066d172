"""Several worker processes on 127.0.0.1, as a cluster of several hosts would run them."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path


class Finished(Exception):
    """What a cluster came to, if it was not what was expected."""


def free_ports(count):
    """Ports that nobody listens on just now."""
    with contextlib.ExitStack() as stack:
        holders = [stack.enter_context(socket.socket()) for _ in range(count)]
        for holder in holders:
            holder.bind(("127.0.0.1", 0))
        return [holder.getsockname()[1] for holder in holders]


def run_workers(count, command, folder, *, timeout=300, expected=None, **environment):
    """Run a command on every worker of a cluster and wait for all of them.

    Args:
        count: How many workers.
        command: Arguments for Python.
        folder: Where the outputs go, and where the workers run.
        timeout: Seconds for all of them together; then all are killed and the test fails.
        expected: Return code per worker, 0 by default; None for one that may be any but 0.
        **environment: More variables.

    Returns:
        Per worker, what it wrote.
    """
    expected = [0] * count if expected is None else expected
    environment = {**os.environ, **python_path(), **environment}
    for _ in range(3):
        codes, texts = _run_once(count, command, Path(folder), timeout, environment)
        # Somebody else may have been given the port in between.
        if not any("Could not start gRPC server" in text for text in texts):
            break
    for code, wanted in zip(codes, expected, strict=True):
        if code == "still running" or (code == 0 if wanted is None else code != wanted):
            tails = "\n".join(f"--- worker {i}\n{text[-3000:]}" for i, text in enumerate(texts))
            raise Finished(f"return codes {codes}, expected {expected}\n{tails}")
    return texts


def _run_once(count, command, folder, timeout, environment):
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(count)]}
    outputs = [folder / f"worker_{index}.txt" for index in range(count)]
    with contextlib.ExitStack() as stack:
        processes = []
        for index, output in enumerate(outputs):
            config = {"cluster": cluster, "task": {"type": "worker", "index": index}}
            process = subprocess.Popen(
                [sys.executable, *command],
                cwd=folder,
                env={**environment, "TF_CONFIG": json.dumps(config)},
                stdout=stack.enter_context(output.open("w")),
                stderr=subprocess.STDOUT,
            )
            stack.callback(process.kill)
            processes.append(process)
        deadline = time.monotonic() + timeout
        codes = []
        for process in processes:
            try:
                codes.append(process.wait(max(0.1, deadline - time.monotonic())))
            except subprocess.TimeoutExpired:
                codes.append("still running")
    return codes, [output.read_text() for output in outputs]


def script(folder, *parts):
    """Write a program of dedented parts; its path."""
    path = Path(folder) / "program.py"
    path.write_text("\n".join(map(textwrap.dedent, parts)))
    return str(path)


def python_path():
    """The tests' helpers and the package that is under test, wherever the workers run."""
    here = Path(__file__).parent
    return {"PYTHONPATH": os.pathsep.join(map(str, (here, here.parents[1])))}
