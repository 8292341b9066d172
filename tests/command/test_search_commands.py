"""`keras-tag status` and `keras-tag report` on the folder of a search."""

import subprocess
import sys
from pathlib import Path

import pytest

from keras_tag.command import main as cli

sys.path.append(str(Path(__file__).parents[1] / "search"))

import made_up


@pytest.fixture
def folder(tmp_path):
    made_up.write(tmp_path / "search")
    return tmp_path / "search"


def test_status_says_what_is_done_fails_and_runs(folder, capsys):
    assert cli.main(["status", str(folder)]) == 0
    text = capsys.readouterr().out
    assert "3 of at most 6 groups trained" not in text
    assert "4 of at most 6 groups trained" in text  # One of them failed.
    running = next(line for line in text.splitlines() if "running" in line)
    assert running.split()[3] == "2"  # Epochs so far.
    assert "Failed: depth, edges <b>&$x$</b> (ValueError: <oh>)" in text
    best = made_up.total(list(made_up.REACHED)[1:3])
    assert f"Best total so far: {best:.4f}" in text
    assert "4.0 joint runs in 5 trainings" in text


def test_report_is_written_into_the_folder_or_where_it_is_told(folder, tmp_path, capsys):
    assert cli.main(["report", str(folder)]) == 0
    assert cli.main(["report", str(folder), "--out", str(tmp_path / "r.html")]) == 0
    assert "r.html" in capsys.readouterr().out
    assert (folder / "report.html").read_bytes() == (tmp_path / "r.html").read_bytes()


@pytest.mark.parametrize("command", ["status", "report"])
def test_a_folder_without_a_search_is_an_error_that_says_so(command, tmp_path, capsys):
    assert cli.main([command, str(tmp_path)]) == 1
    assert "Expected the folder of a GroupSearch" in capsys.readouterr().err


def test_both_answer_without_tensorflow(folder):
    code = (
        "import sys; from keras_tag.command import main as cli\n"
        f"assert cli.main(['status', {str(folder)!r}]) == 0\n"
        f"assert cli.main(['report', {str(folder)!r}]) == 0\n"
        "sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
