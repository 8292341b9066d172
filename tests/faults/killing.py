"""Processes that get signals at random moments, and are started again until they are done."""

import os
import queue
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field

from workers import python_path

PATIENCE = 300  # Seconds without a line before a process counts as hung.


@dataclass
class Life:
    """What one process printed, and how it ended: 0, or minus the signal."""

    lines: list[str] = field(default_factory=list)
    code: int = 0


def live(command, folder, moments=(), kind=signal.SIGKILL):
    """Run a Python program, and send it signals somewhere after a line.

    Args:
        command: Arguments for Python.
        folder: Where it runs.
        moments: When: after how many more lines, and how many seconds after that.
        kind: The signal.
    """
    process = subprocess.Popen(
        [sys.executable, *map(str, command)],
        cwd=folder,
        env={**os.environ, **python_path(), "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A few lines of `runs.say` fill it: the process waits for us, so that we never come late.
        pipesize=4096,
    )
    printed, complaints = queue.Queue(), []
    readers = [
        threading.Thread(target=_pass_on, args=(process.stdout, printed)),
        threading.Thread(target=lambda: complaints.append(process.stderr.read())),
    ]
    life, moments = Life(), iter(moments)
    lines, seconds = next(moments, (0, 0))
    try:
        for reader in readers:
            reader.start()
        while (line := printed.get(timeout=PATIENCE)) is not None:
            life.lines.append(line)
            lines -= 1
            if lines == 0:
                time.sleep(seconds)
                process.send_signal(kind)
                lines, seconds = next(moments, (0, 0))
        life.code = process.wait(PATIENCE)
    finally:
        process.kill()
        for reader in readers:
            reader.join()
    assert life.code in (0, -kind), f"ended with {life.code}\n{complaints[0][-3000:]}"
    return life


def _pass_on(stream, printed):
    for line in stream:
        printed.put(line.rstrip("\n"))
    printed.put(None)


def kill_until_done(command, folder, seed, kills, longest, delay=0.03, after_life=None):
    """Kill it so often, each time at another random moment, then let it end.

    Args:
        command: As in `live`.
        folder: As in `live`.
        seed: Of the moments.
        kills: How often.
        longest: After how many lines a kill comes at most.
        delay: How many seconds after the line at most.
        after_life: Called with every `Life`.

    Returns:
        How many processes were killed; fewer if it was done before.
    """
    draw = random.Random(seed)
    killed = 0
    while True:
        moments = [(draw.randint(1, longest), draw.uniform(0, delay))] if killed < kills else []
        kind = draw.choice([signal.SIGKILL] * 3 + [signal.SIGTERM])
        life = live(command, folder, moments, kind)
        if after_life is not None:
            after_life(life)
        if life.code == 0:
            return killed
        killed += 1
