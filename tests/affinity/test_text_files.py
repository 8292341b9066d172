import json

import numpy as np
import pytest

from keras_tag.affinity import Affinity
from keras_tag.affinity.text_files import read_affinity

TABLE = np.array([[1.0, 0.25, np.nan], [-0.5, 2.0, 0.125], [0.0, 1e-7, 3.0]])
TASKS = ["depth", "edges", "a, b"]


@pytest.fixture
def affinity():
    return Affinity.from_array(TABLE, TASKS, rows="source")


def write(folder, name, text, encoding="utf-8"):
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def same(affinity, expected):
    assert affinity.tasks == expected.tasks
    np.testing.assert_array_equal(affinity.mean, expected.mean)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_what_pandas_writes_is_read(separator, encoding, line_end, affinity, tmp_path):
    path = tmp_path / "table.csv"
    affinity.to_frame().to_csv(path, sep=separator, encoding=encoding, lineterminator=line_end)
    same(read_affinity(path, "source"), affinity)


def test_rows_that_are_targets_are_turned(affinity, tmp_path):
    path = tmp_path / "table.csv"
    affinity.to_frame().T.to_csv(path)
    same(read_affinity(path, "target"), affinity)


def test_a_decimal_comma_is_read_between_semicolons(tmp_path):
    path = write(tmp_path, "t.csv", ";a;b\na;1,5;0,25\nb;-0,5;2\n")
    np.testing.assert_array_equal(read_affinity(path, "source").mean, [[1.5, 0.25], [-0.5, 2]])


def test_columns_may_come_in_another_order_than_rows(tmp_path):
    path = write(tmp_path, "t.csv", "task,b,a\na,2,1\nb,4,3\n")
    affinity = read_affinity(path, "source")
    assert affinity.tasks == ("a", "b")
    np.testing.assert_array_equal(affinity.mean, [[1, 2], [3, 4]])


def test_a_table_of_pairs_needs_no_orientation(affinity, tmp_path):
    path = tmp_path / "pairs.csv"
    affinity.to_long_frame().to_csv(path, index=False)
    same(read_affinity(path), affinity)


def test_both_forms_of_json_are_read(affinity, tmp_path):
    nested = {
        source: {t: v for t, v in zip(TASKS, row, strict=True) if not np.isnan(v)}
        for source, row in zip(TASKS, TABLE.tolist(), strict=True)
    }
    same(read_affinity(write(tmp_path, "a.json", json.dumps(nested)), "source"), affinity)
    matrix = [[None if np.isnan(v) else v for v in row] for row in TABLE.tolist()]
    whole = {"tasks": TASKS, "matrix": matrix}
    same(read_affinity(write(tmp_path, "b.json", json.dumps(whole)), "source"), affinity)


def test_a_saved_affinity_is_read_as_it_is(affinity, tmp_path):
    affinity.save(tmp_path / "affinity.npz")
    same(read_affinity(tmp_path / "affinity.npz"), affinity)


@pytest.mark.parametrize(
    ("name", "text", "rows", "message"),
    [
        ("t.csv", ",a,b\na,1,2\nb,3,4\n", None, "--rows source or --rows target"),
        ("t.csv", "source,target,mean\na,b,1\n", "target", "leave it out"),
        ("t.csv", "source,target,mean\na,b,1\na,b,2\n", None, "second time in line 3"),
        ("t.csv", ",a,b\na,1,x\nb,3,4\n", "source", "row 'a', column 'b': 'x'"),
        ("t.csv", ",a,b\na,1,2,3\nb,3,4\n", "source", "Expected 3 cells in line 2.*Received: 4"),
        ("t.csv", ",a,a\na,1,2\nb,3,4\n", "source", r"different names. Received: \['a', 'a'\]"),
        ("t.csv", ",a,b\na,1,2\na,3,4\n", "source", r"rows .*different names"),
        ("t.csv", ",a,b\na,1,2\n", "source", "of the same tasks"),
        ("t.csv", "1,2\n3,4\n", "source", "of the same tasks"),
        ("t.csv", "", "source", "Received: 0 lines"),
        ("t.json", "{", "source", "is not JSON"),
        ("t.json", "[1, 2]", "source", "Expected .* to hold"),
        ("t.json", '{"a": {"a": true}}', "source", "row 'a', column 'a': True"),
        ("t.json", '{"a": {"b": 1}}', "source", "one of the rows"),
        ("t.json", '{"tasks": ["a"], "matrix": [[1, 2]]}', "source", "square"),
        (
            "t.json",
            '{"tasks": [1, 2], "matrix": [[1, 2], [3, 4]]}',
            "source",
            r"as strings.*\[1, 2\]",
        ),
        ("t.json", '{"tasks": "ab", "matrix": [[1, 2], [3, 4]]}', "source", "`tasks` .* a list"),
        ("t.csv", "source,target,mean\na,b,x\n", None, "in line 2: 'x'"),
        ("t.csv", "source,target,mean\n,b,1\n", None, r"tasks of .*t\.csv.* as strings"),
        ("t.npz", "no archive", None, "Affinity.save"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(name, text, rows, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        read_affinity(write(tmp_path, name, text), rows)


def test_other_encodings_are_named(tmp_path):
    path = write(tmp_path, "t.csv", ",ä\nä,1\n", "latin-1")
    with pytest.raises(ValueError, match="in UTF-8"):
        read_affinity(path, "source")


def test_a_saved_affinity_refuses_an_orientation(affinity, tmp_path):
    affinity.save(tmp_path / "affinity.npz")
    with pytest.raises(ValueError, match="leave it out"):
        read_affinity(tmp_path / "affinity.npz", "source")
