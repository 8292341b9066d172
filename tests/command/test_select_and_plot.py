import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from keras_tag.affinity import Affinity
from keras_tag.affinity.history import HistoryRecorder
from keras_tag.command import main as cli
from keras_tag.selection import Grouping, select_groups

TASKS = ("depth", "edges", "normals", "objects")
MATRIX = [[1.0, 0.1, 0.8, 0.0], [0.0, 1.0, 0.1, 0.7], [0.9, 0.0, 1.0, 0.1], [0.1, 0.6, 0.0, 1.0]]


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "table.csv"
    affinity().to_frame().to_csv(path)
    return str(path)


@pytest.fixture
def measured(tmp_path):
    """A file with a history of several epochs and standard errors."""
    rng, recorder = np.random.default_rng(0), HistoryRecorder(4)
    for epoch in range(4):
        recorder.begin_epoch(epoch)
        for _ in range(8):
            recorder.add(np.array(MATRIX) + rng.normal(0, 0.2, (4, 4)), np.ones((4, 4), int))
    recorder.end_epoch()
    path = tmp_path / "affinity.npz"
    Affinity.from_history(TASKS, recorder.history()).save(path)
    return str(path)


def affinity():
    return Affinity.from_array(MATRIX, TASKS, rows="source")


def run(*arguments):
    try:
        return cli.main(list(map(str, arguments)))
    except SystemExit as ended:
        return ended.code


def test_json_is_the_grouping_of_select_groups(table, capsys):
    assert run("select", table, "--rows", "source", "--budget", 2, "--json") == 0
    found = Grouping.from_dict(json.loads(capsys.readouterr().out))
    assert found == select_groups(affinity(), 2)
    assert found.groups == (("depth", "normals"), ("edges", "objects"))


def test_without_json_the_table_is_for_people(table, tmp_path, capsys):
    out = tmp_path / "groups.json"
    assert run("select", table, "--rows", "source", "--budget", 2, "--out", out) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"{select_groups(affinity(), 2)}\n(in brackets: ")
    assert Grouping.load(out) == select_groups(affinity(), 2)


def test_the_orientation_matters(table, capsys):
    run("select", table, "--rows", "target", "--budget", 2, "--json")
    turned = Affinity.from_array(MATRIX, TASKS, rows="target")
    found = Grouping.from_dict(json.loads(capsys.readouterr().out))
    assert found == select_groups(turned, 2)
    assert found != select_groups(affinity(), 2)


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        ("--budget 2 --score partners", {"score": "partners"}),
        ("--budget 3 --score partners --alone self", {"score": "partners", "alone": "self"}),
        ("--budget 3 --alone 0.4", {"alone": 0.4}),
        ("--budget 2 --no-overlap", {"overlap": False}),
        ("--budget 2 --min-size 2 --max-size 3", {"min_size": 2, "max_size": 3}),
        ("--budget 2 --weight depth=3 --weight edges=0.1", {"weights": {"depth": 3, "edges": 0.1}}),
        ("--budget 2 --must-link depth,edges", {"must_link": [("depth", "edges")]}),
        ("--budget 2 --cannot-link depth,normals", {"cannot_link": [("depth", "normals")]}),
        ("--budget 3 --time-limit 60", {"time_limit": 60.0}),
    ],
)
def test_every_option_is_the_argument_of_that_name(options, arguments, table, capsys):
    assert run("select", table, "--rows", "source", *options.split(), "--json") == 0
    budget = int(re.search(r"--budget (\d)", options)[1])
    expected = select_groups(affinity(), budget, **arguments)
    assert Grouping.from_dict(json.loads(capsys.readouterr().out)) == expected


def test_risk_reads_the_errors_of_a_saved_affinity(measured, capsys):
    assert run("select", measured, "--budget", 2, "--risk", 1, "--json") == 0
    expected = select_groups(Affinity.load(measured), 2, risk=1.0)
    assert Grouping.from_dict(json.loads(capsys.readouterr().out)) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--budget 2", "--rows source or --rows target"),
        ("--budget 0 --rows source", "budget"),
        ("--budget 2 --rows source --risk 1", "standard errors"),
        ("--budget 2 --rows source --must-link depth,dept", "dept"),
        ("--budget 1 --rows source --cannot-link depth,edges", "cannot_link"),
    ],
)
def test_what_cannot_be_solved_ends_with_1_and_one_readable_message(
    options, message, table, capsys
):
    assert run("select", table, *options.split()) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("keras-tag: error: ")
    assert message in printed.err
    assert "Traceback" not in printed.err
    assert not printed.out


def test_a_file_that_is_not_there_is_named(tmp_path, capsys):
    assert run("select", tmp_path / "nothing.csv", "--rows", "source", "--budget", 2) == 1
    assert "nothing.csv" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("select t.csv", "required: --budget"),
        ("select t.csv --budget many", "invalid float value: 'many'"),
        ("select t.csv --budget 2 --rows north", "invalid choice: 'north'"),
        ("select t.csv --budget 2 --must-link depth", "invalid TASK,TASK value: 'depth'"),
        ("select t.csv --budget 2 --weight depth", "invalid TASK=NUMBER value: 'depth'"),
        ("select t.csv --budget 2 --alone never", "invalid forbid|self|NUMBER value: 'never'"),
        ("plot t.csv", "required: --out"),
        ("plot t.csv --out t.png --kind curve", "needs --budget"),
    ],
)
def test_arguments_that_cannot_be_used_end_with_2(arguments, message, capsys):
    assert run(*arguments.split()) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("command", ["select", "plot"])
def test_help_explains_every_option_and_names_the_exit_codes(command, capsys):
    assert run(command, "--help") == 0
    text = capsys.readouterr().out
    assert "Exit codes: 0" in text
    assert "Examples:" in text
    named = {"select": "budget rows score alone no-overlap min-size max-size weight must-link "
             "cannot-link risk time-limit json out", "plot": "out kind rows errors target budget "
             "score dpi"}  # fmt: skip
    for option in named[command].split():
        # The option, what it takes, and a text that says what it is.
        assert re.search(rf"  --{option}( \S+)*\s+\S+ \S+", text), option


@pytest.mark.parametrize(
    "options",
    [
        "",
        "--errors",
        "--kind dynamics",
        "--kind dynamics --target edges",
        "--kind stability --budget 2",
        "--kind curve --budget 4",
        "--kind groups --budget 2 --score partners",
    ],
)
def test_every_kind_of_picture_is_written(options, measured, tmp_path):
    out = tmp_path / "picture.png"
    assert run("plot", measured, "--out", out, "--dpi", 40, *options.split()) == 0
    assert out.read_bytes().startswith(b"\x89PNG")


def test_a_file_of_groups_is_drawn_as_groups(table, tmp_path, capsys):
    groups, out = tmp_path / "groups.json", tmp_path / "groups.svg"
    select_groups(affinity(), 2).save(groups)
    assert run("plot", groups, "--out", out) == 0
    assert "<svg" in out.read_text("utf-8")
    assert capsys.readouterr().out == f"wrote {out}\n"
    assert run("plot", groups, "--out", out, "--kind", "dynamics") == 1
    assert "holds groups" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--out picture.xyz", "xyz"),
        ("--out nowhere/picture.png", "nowhere"),
        ("--out picture.png --kind dynamics", "history"),
        ("--out picture.png --kind stability --budget 2", "standard errors"),
        ("--out picture.png --errors", "standard errors"),
        ("--out picture.png --kind groups", "--budget"),
    ],
)
def test_a_picture_that_cannot_be_drawn_ends_with_1(options, message, table, capsys, monkeypatch):
    monkeypatch.chdir(Path(table).parent)
    assert run("plot", table, "--rows", "source", *options.split()) == 1
    assert message in capsys.readouterr().err


def test_neither_command_imports_tensorflow(table, tmp_path):
    code = (
        "import sys; from keras_tag.command.main import main\n"
        f"main(['select', {table!r}, '--rows', 'source', '--budget', '2'])\n"
        f"main(['plot', {table!r}, '--rows', 'source', '--out', {str(tmp_path / 'a.png')!r}])\n"
        "sys.exit('tensorflow' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
