"""`keras-tag select` and `plot`, pictures, and groups made by hand, of any kind.

A command ends with an exit code that its help explains and a reason on standard error, never with a
traceback, and leaves nothing behind but the file that was asked for.
"""

import contextlib
import io
import json
import os
import tempfile
import warnings
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from fuzzing import ANSWERED, REFUSED, fuzz, refused
from hostile_names import NAMES, names
from hypothesis import strategies as st

from keras_tag import Affinity, Grouping, plotting, select_groups
from keras_tag.command import main as cli

mpl.use("agg")

WORDS = ["", "-1", "0", "1", "2", "2.5", "nan", "inf", "1e400", "x", "a,b", "a=1", ",", "="]
OPTIONS = [
    "--budget", "--score", "--alone", "--min-size", "--max-size", "--weight", "--must-link",
    "--cannot-link", "--risk", "--time-limit", "--kind", "--target", "--rows", "--nonsense",
]  # fmt: skip
GOOD = json.dumps({"a": {"a": 1, "b": 0.5}, "b": {"a": -0.2, "b": 1}})


@st.composite
def commands(draw):
    command = draw(st.sampled_from(["select", "select", "select", "plot"]))
    content = draw(
        st.sampled_from([GOOD] * 6 + ["", "{}", "[]", "a,b", '{"format": "keras_tag.Grouping"}'])
        | st.text(max_size=30)
    )
    extra = draw(st.lists(st.tuples(st.sampled_from(OPTIONS), st.sampled_from(WORDS)), max_size=2))
    return {
        "command": command,
        "content": content,
        "end": draw(st.sampled_from([".json", ".json", ".json", ".csv", ".npz", ""])),
        "usual": draw(st.sampled_from([["--budget", "2", "--rows", "source"]] * 4 + [[]])),
        "extra": [word for pair in extra for word in pair],
        "out": draw(st.sampled_from(["out.png", "out.svg", "out.json", "no/such/folder.png"])),
    }


@fuzz(600, drawn=commands(), least=0.03)
def test_a_command_ends_with_a_code_and_a_reason_and_writes_only_what_was_asked_for(drawn):
    """Arguments and files of any kind."""
    with tempfile.TemporaryDirectory() as folder:
        file, out = Path(folder) / f"given{drawn['end']}", Path(folder) / drawn["out"]
        file.write_text(drawn["content"], "utf-8", "replace")
        before = sorted(os.listdir("."))
        said = io.StringIO()
        arguments = [drawn["command"], str(file), *drawn["usual"], *drawn["extra"]]
        arguments += ["--out", str(out)]
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            try:
                code = cli.main(arguments)
            except SystemExit as ended:
                code = ended.code
        left = set(os.listdir(folder)) - {file.name}
        assert sorted(os.listdir(".")) == before
        if code == 0:
            assert left == {out.name}
            return ANSWERED
        assert code in (1, 2)
        assert "error: " in said.getvalue()
        assert not left
        return REFUSED


@st.composite
def groups(draw):
    tasks = draw(st.lists(names, min_size=1, max_size=4, unique=True))
    group = st.lists(st.sampled_from(tasks), max_size=4)
    odd = st.sampled_from([None, 3, "ab", [None], [1], [[]], ["a", "a"], [("a",), 3]])
    listed = st.lists(group, max_size=3)
    serves = st.dictionaries(st.sampled_from(tasks), st.integers(-1, 3) | st.just(0.5), max_size=4)
    return {
        "groups": draw(listed | st.permutations(tasks).map(lambda g: [g]) | odd | st.lists(odd)),
        "serves": draw(st.none() | serves | st.sampled_from([3, [0], {"a": None}])),
    }


@fuzz(1_000, drawn=groups(), slow=False)
def test_groups_made_by_hand_are_refused_or_kept_as_given(drawn):
    """`Grouping.from_groups` with anything, and through a file."""
    try:
        grouping = Grouping.from_groups(drawn["groups"], drawn["serves"])
    except (ValueError, TypeError) as error:
        return refused(error)
    assert grouping.groups == tuple(map(tuple, drawn["groups"]))
    for task, index in grouping.serves.items():
        assert task in grouping.groups[index]
        first = next(k for k, group in enumerate(grouping.groups) if task in group)
        assert index == (first if drawn["serves"] is None else drawn["serves"][task])
    assert Grouping.from_dict(json.loads(json.dumps(grouping.to_dict()))) == grouping
    return ANSWERED


@fuzz(
    60,
    tasks=st.lists(st.sampled_from(NAMES), min_size=2, max_size=4, unique=True),
    seed=st.integers(0, 99),
    least=0,
)
def test_pictures_and_tables_take_every_task_name(tasks, seed):
    """What a name means to matplotlib, to a file or to HTML is not what is meant here."""
    z = np.random.default_rng(seed).normal(size=(len(tasks),) * 2)
    z[np.diag_indices(len(tasks))] = 1.0
    affinity = Affinity.from_array(z, tasks, rows="source")
    grouping = select_groups(affinity, 2)
    with warnings.catch_warnings():
        # A font may lack a glyph; a name of 300 letters leaves no room for the matrix.
        warnings.filterwarnings("ignore", "Glyph|.*missing from|constrained_layout")
        for ax in (plotting.plot_affinity(affinity), plotting.plot_groups(grouping)):
            for kind in ("png", "svg"):
                ax.figure.savefig(io.BytesIO(), format=kind, dpi=40)
            drawn = [label.get_text() for label in ax.get_yticklabels()]
            assert sorted(name.replace(r"\$", "$") for name in drawn) == sorted(tasks)
            plt.close(ax.figure)
    assert str(affinity)
    assert "<table" in affinity._repr_html_()
    assert str(grouping)
    return ANSWERED
