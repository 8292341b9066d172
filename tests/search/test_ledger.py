"""The folder of a search: what is read back, and what is never half there."""

import subprocess
import sys

import made_up
import numpy as np
import pytest

from keras_tag.search.ledger import FolderError, Ledger, Outcome


def test_what_was_written_is_read_back(tmp_path):
    ledger = made_up.write(tmp_path / "search")
    again = Ledger(tmp_path / "search")
    assert again.settings() == made_up.settings()
    assert again.outcomes()[:4] == made_up.outcomes()
    np.testing.assert_array_equal(again.affinity().mean, made_up.AFFINITY.mean)
    assert [o.status for o in ledger.outcomes()[4:]] == ["failed", "running"]


def test_a_round_is_there_whole_or_not_at_all(tmp_path):
    ledger = Ledger(tmp_path)
    joint = Outcome(0, "joint", made_up.TASKS, "done")
    asked = [Outcome(k, "searched", made_up.TASKS[:k], "waiting") for k in (1, 2, 3)]
    ledger.write_round([joint])
    for unwritten in (1, 2):  # Killed before these were written.
        for outcome in reversed(asked[unwritten:]):
            ledger.write(outcome)
        assert ledger.whole_rounds() == [joint]
        assert not list(tmp_path.glob("training_000[123]"))
    ledger.write_round(asked)
    assert ledger.whole_rounds() == [joint, *asked]


def test_a_lost_folder_is_said(tmp_path):
    ledger = Ledger(tmp_path / "gone")
    with pytest.raises(FolderError, match=r"gone.*What was trained so far is kept"):
        ledger.write(Outcome(0, "joint", made_up.TASKS))


def test_a_second_search_in_the_folder_is_refused_while_the_first_runs(tmp_path):
    pytest.importorskip("fcntl")
    code = (
        "import sys; from keras_tag.search.ledger import Ledger\n"
        f"with Ledger({str(tmp_path)!r}).claimed(): pass"
    )
    with Ledger(tmp_path).claimed():
        second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "Expected no other process to search in this folder" in second.stderr
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_disk_without_room_for_the_lock_is_said(tmp_path):
    resource = pytest.importorskip("resource")
    most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    code = (
        "import resource, signal; from keras_tag.search.ledger import Ledger\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (0, {most}))\n"
        f"with Ledger({str(tmp_path)!r}).claimed(): pass"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr
    assert "FolderError" in told.splitlines()[-1]


def test_only_a_search_is_removed(tmp_path):
    (tmp_path / "mine.txt").write_text("not a search")
    Ledger(tmp_path).remove()
    assert (tmp_path / "mine.txt").exists()
    made_up.write(tmp_path / "search").remove()
    assert not (tmp_path / "search").exists()
