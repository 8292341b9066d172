"""The commands of docs/distributed.md run as written, on ports that are free."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from workers import free_ports, python_path

from keras_tag import Affinity

PAGE = Path(__file__).parents[2] / "docs" / "distributed.md"


@pytest.mark.slow
def test_the_cluster_of_the_page_trains_and_saves(tmp_path):
    text = PAGE.read_text("utf-8")
    program = re.search(r"```python\n# file: train.py\n(.*?)```", text, re.S)[1]
    (tmp_path / "train.py").write_text(program)
    commands = re.search(r"```bash\n(.*?)```", text, re.S)[1]
    for written, free in zip(("12345", "12346"), free_ports(2), strict=True):
        assert written in commands
        commands = commands.replace(written, str(free))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", commands],
        cwd=tmp_path,
        env={**os.environ, **python_path(), "PATH": path},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    affinity = Affinity.load(tmp_path / "affinity.npz")
    np.testing.assert_array_equal(affinity.count, 1)
    assert (tmp_path / "joint.keras").exists()
