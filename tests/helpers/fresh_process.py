"""Code in a Python process of its own: devices can be set there, and no other test has run."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path


def run_alone(*parts, cwd=None, timeout=300):
    """Run the parts, dedented and joined, and return what they print.

    What they raise fails the test that calls this.
    """
    environment = dict(os.environ, PYTHONPATH=str(Path(__file__).parent), TF_CPP_MIN_LOG_LEVEL="3")
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(map(textwrap.dedent, parts))],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
