import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from keras_tag import Affinity

TASKS = ("depth", "edges", "normals")
Z = np.array([[0.5, 0.1, -0.3], [0.2, 0.4, 0.0], [-0.1, 0.7, 0.9]])

finite = st.floats(-1e300, 1e300, allow_nan=False)


@st.composite
def affinities(draw):
    n = draw(st.integers(1, 6))
    tasks = draw(st.lists(st.text(min_size=1), min_size=n, max_size=n, unique=True))
    mean = draw(arrays(float, (n, n), elements=st.one_of(finite, st.just(float("nan")))))
    return Affinity.from_array(mean, tasks, rows="source")


@given(affinity=affinities())
@example(affinity=Affinity.from_array([[0.5]], ["ends in NUL \0"], rows="source"))
def test_a_saved_affinity_is_bit_identical_when_loaded(affinity, tmp_path_factory):
    path = tmp_path_factory.mktemp("affinity") / "z.npz"
    affinity.save(path)
    loaded = Affinity.load(path)
    assert loaded.tasks == affinity.tasks
    np.testing.assert_array_equal(loaded.mean, affinity.mean)
    np.testing.assert_array_equal(loaded.count, affinity.count)


@given(affinity=affinities())
def test_rows_as_targets_are_read_without_a_silent_transposition(affinity):
    again = Affinity.from_array(affinity.mean.T, affinity.tasks, rows="target")
    np.testing.assert_array_equal(again.mean, affinity.mean)


@given(affinity=affinities())
def test_frames_go_round(affinity):
    again = Affinity.from_frame(affinity.to_frame(), rows="source")
    assert again.tasks == affinity.tasks
    np.testing.assert_array_equal(again.mean, affinity.mean)


def test_the_frame_says_which_axis_is_which():
    frame = Affinity.from_array(Z, TASKS, rows="source").to_frame()
    assert (frame.index.name, frame.columns.name) == ("source", "target")
    assert frame.loc["depth", "normals"] == -0.3


def test_columns_of_a_frame_may_be_in_another_order():
    frame = pd.DataFrame(Z, index=list(TASKS), columns=list(TASKS))[["normals", "depth", "edges"]]
    affinity = Affinity.from_frame(frame, rows="source")
    np.testing.assert_array_equal(affinity.mean, Z)


def test_a_mapping_is_read_in_either_orientation():
    table = {"a": {"a": 1.0, "b": 2.0}, "b": {"a": 3.0, "b": 4.0}}
    assert Affinity.from_dict(table, rows="source").mean[0, 1] == 2.0
    assert Affinity.from_dict(table, rows="target").mean[0, 1] == 3.0


def test_what_is_absent_is_unmeasured_and_named():
    affinity = Affinity.from_dict({"a": {"a": 1.0}, "b": {"a": 3.0, "b": 4.0}}, rows="source")
    assert affinity.unmeasured == [("a", "b")]
    assert affinity.count.tolist() == [[1, 0], [1, 1]]
    assert "1 pairs unmeasured" in repr(affinity)


def test_an_affinity_is_printed_in_one_unit_with_two_digits():
    table = [[0.0123, -0.0000004], [0.00192, 0.5]]
    affinity = Affinity.from_array(table, ["a", "b"], rows="source")
    for text in (repr(affinity), affinity._repr_html_()):
        assert "in units of 1e-3" in text
        assert re.findall(r"-?\d+\.\d+", text) == ["12.30", "0.00", "1.92", "500.00"]
    # Between 0.1 and 999 numbers are written as they are.
    plain = Affinity.from_array([[1.0, 0.25], [np.nan, 2.0]], ["a", "b"], rows="source")
    assert "units" not in repr(plain)
    assert re.findall(r"-?\d+\.\d+|-", repr(plain)) == ["1.00", "0.25", "-", "2.00"]


def test_an_affinity_is_frozen():
    affinity = Affinity.from_array(Z, TASKS, rows="source")
    with pytest.raises(AttributeError):
        affinity.mean = Z
    with pytest.raises(ValueError, match="read-only"):
        affinity.mean[0, 0] = 1.0


def test_the_given_array_is_copied():
    given_array = Z.copy()
    affinity = Affinity.from_array(given_array, TASKS, rows="source")
    given_array[0, 0] = 99.0
    assert affinity.mean[0, 0] == 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"matrix": Z[:2], "tasks": TASKS, "rows": "source"}, "square"),
        (
            {"matrix": Z, "tasks": ("a", "b"), "rows": "source"},
            r"\[2, 2\]. Received: shape \[3, 3\]",
        ),
        ({"matrix": Z, "tasks": ("a", "b", "a"), "rows": "source"}, "unique.*'a'"),
        ({"matrix": Z, "tasks": ("a", "", "b"), "rows": "source"}, "non-empty"),
        ({"matrix": Z, "tasks": "abc", "rows": "source"}, "sequence of non-empty strings"),
        ({"matrix": Z, "tasks": ("a", 2, "b"), "rows": "source"}, "strings"),
        ({"matrix": Z * np.inf, "tasks": TASKS, "rows": "source"}, "finite"),
        ({"matrix": Z, "tasks": TASKS, "rows": "columns"}, "'source'.*'target'"),
        ({"matrix": [["x"] * 3] * 3, "tasks": TASKS, "rows": "source"}, "numbers"),
        ({"matrix": [], "tasks": (), "rows": "source"}, "at least one task"),
    ],
)
def test_bad_tables_have_their_own_message(arguments, message):
    with (
        np.errstate(invalid="ignore"),
        pytest.raises(ValueError, match=message),
    ):
        Affinity.from_array(**arguments)


def test_a_frame_with_other_columns_than_rows():
    with pytest.raises(ValueError, match="same task names"):
        Affinity.from_frame(pd.DataFrame(Z, index=list("abc"), columns=list("abd")), rows="source")


def test_a_mapping_with_an_unknown_column():
    with pytest.raises(ValueError, match=r"row 'a' with columns \['c'\]"):
        Affinity.from_dict({"a": {"c": 1.0}, "b": {}}, rows="source")


def test_counts_and_gaps_must_agree():
    with pytest.raises(ValueError, match="count"):
        Affinity(("a", "b"), np.array([[1.0, np.nan], [1.0, 1.0]]), np.ones((2, 2), int))


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04 truncated"])
def test_a_damaged_file_is_named(tmp_path, content):
    path = tmp_path / "broken.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"broken\.npz"):
        Affinity.load(path)


def test_a_pickle_is_never_run(tmp_path):
    path = tmp_path / "evil.npz"
    np.savez(path, tasks=np.array([{"an": "object"}], dtype=object))
    with pytest.raises(ValueError, match="can't be read"):
        Affinity.load(path)


def test_another_archive_is_refused(tmp_path):
    path = tmp_path / "other.npz"
    np.savez(path, weights=Z)
    with pytest.raises(ValueError, match=r"holds \['weights'\]"):
        Affinity.load(path)


@pytest.mark.parametrize(
    "changed",
    [{}, {"tasks": np.array(["a", "b"])}, {"metadata": np.array([{"an": "object"}], dtype=object)}],
)
def test_a_newer_format_asks_for_an_update(changed, tmp_path):
    path = tmp_path / "newer.npz"
    Affinity.from_array(Z, TASKS, rows="source").save(path)
    arrays_ = dict(np.load(path)) | {"format_version": np.array(99)} | changed
    np.savez(path, **arrays_)
    with pytest.raises(ValueError, match="Update keras_tag"):
        Affinity.load(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        Affinity.load(tmp_path / "nowhere.npz")
    with pytest.raises(FileNotFoundError, match="Create"):
        Affinity.from_array(Z, TASKS, rows="source").save(tmp_path / "no" / "folder.npz")


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "z.npz"
    affinity = Affinity.from_array(Z, TASKS, rows="source")
    affinity.save(path)
    before = path.read_bytes()

    def fail(file, **_arrays):
        file.write(b"half of it")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez_compressed", fail)
    with pytest.raises(OSError, match="disk full"):
        affinity.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["z.npz"]


def test_affinity_and_selection_never_load_tensorflow():
    code = (
        "import sys, numpy as np, keras_tag\n"
        "a = keras_tag.Affinity.from_array(np.eye(4) + 0.1, list('abcd'), rows='source')\n"
        "keras_tag.select_groups(a, 2)\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize(
    ("matrix", "tasks", "message"),
    [
        (np.eye(2), {"a", "b"}, "`tasks` to be a sequence"),
        (np.eye(2), 3, "`tasks` to be a sequence"),
        (np.eye(1), ["\ud800"], "`tasks` to be a sequence"),
        (np.eye(2) + 1j, ["a", "b"], "complex128"),
        (np.zeros((2, 2), "m8[s]"), ["a", "b"], "timedelta64"),
        ([[10**400]], ["a"], "too large"),
    ],
    ids=["a set has no order", "number", "half a surrogate", "complex", "times", "long integer"],
)
def test_what_would_be_read_wrongly_is_refused(matrix, tasks, message):
    with pytest.raises(ValueError, match=message):
        Affinity.from_array(matrix, tasks, rows="source")


def test_masked_entries_are_unmeasured():
    matrix = np.ma.array(np.eye(2), mask=[[False, True], [False, False]])
    assert Affinity.from_array(matrix, ["a", "b"], rows="source").unmeasured == [("a", "b")]


def test_counts_that_are_no_whole_numbers_are_refused():
    with pytest.raises(ValueError, match="count"):
        Affinity(("a",), np.eye(1), np.array([[1.5]]))
