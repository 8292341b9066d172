"""Selection works in the process that trained the model, whichever library was loaded first."""

import subprocess
import sys

import pytest
from quick import quick

SELECT = """
import numpy as np, keras_tag
matrix = np.random.default_rng(0).normal(size=(20, 20)) + 5 * np.eye(20)
affinity = keras_tag.Affinity.from_array(matrix, [f"t{i}" for i in range(20)], rows="source")
for score in ("members", "partners"):
    assert keras_tag.select_groups(affinity, 4, score=score).status == "optimal"
"""


@pytest.mark.parametrize(
    ("before", "after"),
    quick(
        [
            ("import tensorflow", ""),
            ("import keras", ""),
            ("", "import keras; keras.ops.ones(3) + 1"),
        ],
        [("import tensorflow", "")],
    ),
)
def test_select_groups_beside_tensorflow(before, after):
    done = subprocess.run(
        [sys.executable, "-c", f"{before}\n{SELECT}\n{after}"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
