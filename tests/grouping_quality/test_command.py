"""The command that rebuilds the yardstick: what it makes and what it leaves alone."""

from dataclasses import replace

import pytest

from benchmarks.grouping_quality import __main__ as command
from benchmarks.grouping_quality import measure_affinities, train_tables
from benchmarks.grouping_quality.affinity_table import load_affinities
from benchmarks.grouping_quality.group_table import FOLDER
from benchmarks.grouping_quality.measure_affinities import RUNS as RUNS_OF_KINDS
from benchmarks.grouping_quality.measure_affinities import missing_runs
from benchmarks.grouping_quality.train_tables import FROM_FILES, SETS

RUNS = {(name, units) for name, (_, recipe) in SETS.items() for units in recipe.units}


@pytest.fixture
def made(monkeypatch, tmp_path):
    """Runs the command in an empty folder; training and evaluation only take note."""
    made = {}
    monkeypatch.setattr(train_tables, "FOLDER", tmp_path)
    for module, kind in ((train_tables, "groups"), (measure_affinities, "affinities")):
        name = module.__name__.rpartition(".")[2]
        monkeypatch.setattr(
            module, name, lambda runs, *_, kind=kind, **__: made.setdefault(kind, set(runs))
        )
    for name in ("evaluate_all", "load_results"):
        monkeypatch.setattr(command, name, dict)
    for name in ("save_results", "plot"):
        monkeypatch.setattr(command, name, lambda *_: None)
    monkeypatch.setattr(command, "tables", lambda _: {})
    return made


def test_missing_leaves_tables_alone_that_are_there(made, tmp_path):
    (tmp_path / "planted-values-24.groups.npz").touch()
    command.main(["--missing", "--data", "files"])
    assert made["groups"] == RUNS - {("planted-values", 24)}
    # Which kinds of affinity are missing is looked at set by set.
    assert made["affinities"] == RUNS


def test_kinds_of_affinity_that_a_table_has_are_not_measured_again():
    known = load_affinities(FOLDER / "planted-values-48.affinities.npz")
    # The second trunk size has fewer kinds, and these are all there.
    assert missing_runs("planted-values", 48, known) == []
    without = replace(known, means={"gradient-10": known.means["gradient-10"]})
    kinds = [run[0] for run in missing_runs("planted-values", 48, without)]
    assert kinds == ["validation", "cosine"]
    assert len(missing_runs("planted-values", 24, None)) == len(RUNS_OF_KINDS)


def test_without_missing_every_table_is_made_anew(made, tmp_path):
    (tmp_path / "planted-values-24.groups.npz").touch()
    command.main(["--data", "files"])
    assert made == {"groups": RUNS, "affinities": RUNS}


def test_what_comes_from_files_is_left_out_without_them(made):
    command.main(["--missing"])
    assert made["groups"] == {(name, units) for name, units in RUNS if name not in FROM_FILES}
