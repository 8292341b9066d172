"""Files of affinities with histories and errors, and files of earlier formats."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from streams import recorded

from keras_tag.affinity import Affinity

# Written by keras_tag 0.1.0 when the format was 1. Never to be written anew.
FORMAT_1 = Path(__file__).parent / "files" / "format_1.npz"


def measured(seed=0):
    probes = np.random.default_rng(seed).normal(size=(60, 2, 2))
    affinity = Affinity.from_history(("a", "b"), recorded(probes, 7))
    return replace(affinity, metadata={"seed": seed, "settings": {"lookahead": "gradient"}})


@pytest.mark.parametrize(
    "affinity",
    [
        measured(),
        Affinity.combine([measured(1), measured(2)]),
        measured(1).merge(measured(2)),
    ],
    ids=["run", "combined", "merged"],
)
def test_everything_is_bit_identical_when_loaded(affinity, tmp_path):
    affinity.save(tmp_path / "z.npz")
    loaded = Affinity.load(tmp_path / "z.npz")
    assert loaded.tasks == affinity.tasks
    assert loaded.between_runs == affinity.between_runs
    assert loaded.metadata == affinity.metadata
    pairs = [(loaded, affinity), (loaded.history, affinity.history)]
    for got, expected in [*pairs, (loaded.errors, affinity.errors)]:
        for name, value in vars(expected).items():
            if isinstance(value, np.ndarray):
                np.testing.assert_array_equal(getattr(got, name), value, strict=True)
    np.testing.assert_array_equal(
        loaded.over(slice(3)).standard_error, affinity.over(slice(3)).standard_error
    )


def test_a_file_of_format_1_is_read():
    with np.load(FORMAT_1) as file:
        assert int(file["format_version"]) == 1
    affinity = Affinity.load(FORMAT_1)
    assert affinity.tasks == ("depth", "edges", "normals")
    nan = float("nan")
    np.testing.assert_array_equal(
        affinity.mean, [[0.5, 0.1, -0.3], [0.2, nan, 0.0], [-0.1, 0.7, 0.9]]
    )
    assert affinity.count.tolist() == [[40, 40, 38], [40, 0, 39], [40, 40, 40]]
    assert affinity.history is None
    assert affinity.metadata == {}
    assert np.isnan(affinity.standard_error).all()


def test_a_file_that_lacks_a_part_is_named(tmp_path):
    measured().save(tmp_path / "z.npz")
    arrays = dict(np.load(tmp_path / "z.npz"))
    del arrays["history_total"]
    np.savez(tmp_path / "half.npz", **arrays)
    with pytest.raises(ValueError, match=r"half\.npz.*lacks \['history_total'\]"):
        Affinity.load(tmp_path / "half.npz")


def test_a_history_of_other_tasks_is_refused():
    with pytest.raises(ValueError, match=r"`history` to be of the 1 tasks.*\[2, 2\]"):
        Affinity(("a",), np.ones((1, 1)), np.ones((1, 1), int), measured().history)
