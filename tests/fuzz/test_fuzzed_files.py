"""Files of affinities and groups: damaged, of other versions, forged, or bombs.

Nothing in a file is executed, and reading writes nothing. What is answered is what an independent
reading of the same bytes says.
"""

import contextlib
import io
import json
import math
import os
import pickle
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from fuzzing import ANSWERED, REFUSED, fuzz, refused
from hostile_names import NAMES, names
from hypothesis import strategies as st

from keras_tag import Affinity, Grouping
from keras_tag.affinity.history import AffinityHistory
from keras_tag.affinity.text_files import read_affinity

RNG = np.random.default_rng(0)


def measured():
    count = np.full((20, 2, 2), 3)
    epoch = np.arange(20) // 4
    history = AffinityHistory(epoch, epoch, RNG.normal(size=(20, 2, 2)), count, np.full(20, 3))
    return Affinity.from_history(("a", "b"), history)


class Bomb:
    """Unpickled, it makes a file where the test looks."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (Path(self.path),))


def saved(thing):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        thing.save(path)
        return path.read_bytes()


AFFINITY = measured()
NPZ = saved(AFFINITY)
GROUPING = Grouping.from_groups([("a", "b"), ("c", "b")])
JSON = saved(GROUPING)
with zipfile.ZipFile(io.BytesIO(NPZ)) as _archive:
    MEMBERS = {name: _archive.read(name) for name in _archive.namelist()}


@st.composite
def damages(draw, whole):
    """Bytes cut, flipped, doubled, inserted."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(content) - 1)))
        kind = draw(st.sampled_from(["cut", "flip", "flip", "insert", "delete", "repeat"]))
        if kind == "cut":
            del content[at:]
        elif kind == "flip" and content:
            content[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "insert":
            content[at:at] = draw(st.binary(max_size=8))
        elif kind == "delete":
            del content[at : at + draw(st.integers(1, 40))]
        else:
            content += content[at : at + 100]
    return bytes(content)


def array_bytes(array, **options):
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asanyarray(array), **options)
    return file.getvalue()


def header_bytes(text):
    """An array's file of any header, and no data."""
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def forged(value):
    return st.just(lambda bomb: array_bytes(np.array(value)))


# What else may stand where an array is expected.
FORGERIES = st.one_of(
    st.just(lambda bomb: array_bytes(np.array([bomb], dtype=object), allow_pickle=True)),
    st.just(lambda bomb: pickle.dumps(bomb)),
    *map(forged, [0, -1, 3, 1e9, np.nan, "x", b"x", True, [], [[1.0]], [[1, 2], [3, 4]], 2**62]),
    *map(forged, [np.full((2, 2), np.inf), np.eye(3), np.zeros((20, 2, 2)), np.arange(20), 1j]),
    *map(forged, [np.datetime64("2020"), np.zeros(2, "f4,i4"), np.zeros((0, 2, 2)), -np.eye(2)]),
    forged(np.frombuffer(b'["a", "b"', "uint8")),
    forged(np.frombuffer(b"[" * 5000, "uint8")),
    *(forged(np.frombuffer(json.dumps(t).encode(), "uint8")) for t in (["a"], ["a", "a"], {}, 3)),
    st.binary(max_size=40).map(lambda b: lambda bomb: b),
    st.sampled_from(
        [
            b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000)}\n",
            b"{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 2)}\n",
            b"{'descr': '<f8', 'fortran_order': 1, 'shape': 2}\n",
            b"{'descr': '|O', 'fortran_order': False, 'shape': (1,)}\n",
            b"__import__('os').abort()\n",
            b"(" * 3000 + b"\n",
            b"{'descr': [('a', '<f8')",
        ]
    ).map(lambda text: lambda bomb: header_bytes(text)),
)


def read_alone(read, content, name="file.npz"):
    """What `read` makes of these bytes, in a folder where it can leave nothing unseen."""
    with tempfile.TemporaryDirectory() as outer:
        # Its own parent and working directory: what other processes write is not looked at.
        folder = Path(outer) / "inner"
        folder.mkdir()
        path = folder / name
        path.write_bytes(content(folder / "bomb") if callable(content) else content)
        try:
            with contextlib.chdir(folder):
                return read(path)
        finally:
            written = os.listdir(outer), os.listdir(folder)
            assert written == (["inner"], [name]), "reading wrote, or a pickle was executed"


@fuzz(1_500, content=damages(NPZ), least=0.01, slow=False)
def test_a_damaged_affinity_is_refused_or_whole(content):
    """Bytes of the archive changed: checksums keep what is read."""
    try:
        affinity = read_alone(Affinity.load, content)
    except ValueError as error:
        return refused(error, "file.npz")
    assert affinity.tasks == AFFINITY.tasks
    np.testing.assert_array_equal(affinity.mean, AFFINITY.mean)
    np.testing.assert_array_equal(affinity.count, AFFINITY.count)
    return ANSWERED


@fuzz(
    1_500,
    slow=False,
    forgeries=st.dictionaries(st.sampled_from([*MEMBERS]), FORGERIES, max_size=2),
    dropped=st.sets(st.sampled_from([*MEMBERS]), max_size=1),
    others=st.dictionaries(
        st.sampled_from([*NAMES, "../../x.npy", "/x.npy", "mean"]), FORGERIES, max_size=2
    ),
    method=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA]),
    least=0.01,
)
def test_a_forged_affinity_is_refused_or_read_as_arrays(forgeries, dropped, others, method):
    """Members of the archive replaced, left out and added, with names of any kind."""

    def content(bomb):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method) as archive:
            for name, whole in MEMBERS.items():
                if name not in dropped:
                    part = forgeries.get(name)
                    archive.writestr(name, whole if part is None else part(Bomb(bomb)))
            for name, part in others.items():
                archive.writestr(name.replace("\0", "?"), part(Bomb(bomb)))
        return file.getvalue()

    try:
        affinity = read_alone(Affinity.load, content)
    except ValueError as error:
        return refused(error)
    assert {"tasks.npy", "mean.npy", "count.npy"}.isdisjoint(dropped)
    assert affinity.mean.dtype == np.float64
    assert affinity.mean.shape == affinity.count.shape == (len(affinity.tasks),) * 2
    return ANSWERED


PLAIN = json.loads(JSON)
VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers(-3, 3) | st.just(10**400) | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=5,
)


@fuzz(
    1_500,
    slow=False,
    content=st.one_of(
        damages(JSON),
        st.dictionaries(st.sampled_from([*PLAIN]), VALUES, min_size=1, max_size=2).map(
            lambda changes: json.dumps({**PLAIN, **changes}).encode()
        ),
        VALUES.map(lambda value: json.dumps(value).encode()),
        st.just(b"[" * 10_000),
    ),
    least=0.01,
)
def test_a_file_of_groups_is_refused_or_says_what_was_read(content):
    """Groups and indices of any kind in the JSON of a grouping."""
    try:
        grouping = read_alone(Grouping.load, content)
    except ValueError as error:
        return refused(error)
    read = json.loads(content)
    assert [list(group) for group in grouping.groups] == read["groups"]
    assert dict(grouping.serves) == read["serves"]
    assert {task for group in grouping.groups for task in group} == set(grouping.serves)
    return ANSWERED


@st.composite
def tables(draw):
    """A table as a person may write it, and what it says; None if nobody can tell."""
    n = draw(st.integers(1, 3))
    tasks = draw(st.lists(st.sampled_from(NAMES), min_size=n, max_size=n, unique=True))
    cell = st.one_of(
        st.floats(-9, 9).map(repr), st.sampled_from(["", "nan", "-", "x", "1e999", "1_0"])
    )
    rows = [[draw(cell) for _ in tasks] for _ in tasks]
    kind = draw(st.sampled_from([".json", ".csv", ".tsv"]))
    if kind == ".json":
        table = {a: dict(zip(tasks, row, strict=True)) for a, row in zip(tasks, rows, strict=True)}
        text = json.dumps(table)
    else:
        separator = draw(st.sampled_from(",;\t"))
        lines = [["", *tasks], *([a, *row] for a, row in zip(tasks, rows, strict=True))]
        text = "\n".join(separator.join(line) for line in lines)
    content = text.encode("utf-8")
    hurt = draw(st.booleans())
    return {
        "kind": kind,
        "content": draw(damages(content)) if hurt else content,
        "tasks": tasks,
        "rows": None if hurt else rows,
    }


@fuzz(1_500, table=tables(), slow=False)
def test_a_table_is_refused_or_holds_the_numbers_that_are_written(table):
    """CSV, TSV and JSON, whole and damaged."""
    try:
        affinity = read_alone(
            lambda path: read_affinity(path, "source"), table["content"], f"file{table['kind']}"
        )
    except ValueError as error:
        return refused(error)
    if table["rows"] is None:
        return ANSWERED if np.isfinite(affinity.mean).any() else REFUSED
    strip = str if table["kind"] == ".json" else str.strip
    assert affinity.tasks == tuple(map(strip, table["tasks"]))
    for row, written in zip(affinity.mean.tolist(), table["rows"], strict=True):
        for value, cell in zip(row, written, strict=True):
            assert math.isnan(value) if cell in ("", "nan", "-") else value == float(cell)
    return ANSWERED
