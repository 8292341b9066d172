"""The committed results are what the documentation shows, and what the demo is held to."""

import json
from pathlib import Path

import pytest

from benchmarks.demo_comparison.report import describe, verdict
from benchmarks.demo_comparison.result import METHODS, DemoSettings, from_dict

ROOT = Path(__file__).parents[2]
RESULTS = ("loop-prime-composite", "odd-loop-prime")


def committed(name):
    return from_dict(json.loads((ROOT / "benchmarks" / "demo" / f"{name}.json").read_text("utf-8")))


@pytest.mark.parametrize("name", RESULTS)
def test_the_documented_tables_are_those_of_the_committed_results(name):
    text = (ROOT / "docs" / "demo.md").read_text("utf-8")
    result = committed(name)
    for part in (describe(result), verdict(result), str(result.grouping)):
        assert part in text


@pytest.mark.parametrize("name", RESULTS)
def test_the_committed_results_are_of_the_defaults_and_of_every_method_and_seed(name):
    result = committed(name)
    assert result.settings == DemoSettings(tasks=tuple(name.split("-")))
    for method in METHODS:
        draws = result.settings.draws if method == "random" else 1
        seeds = [run.seed for run in result.runs if run.method == method]
        assert sorted(seeds) == sorted(list(range(result.settings.seeds)) * draws)


@pytest.mark.parametrize("name", RESULTS)
def test_selected_groups_beat_one_network_for_everything_and_random_groups(name):
    result = committed(name)
    assert result.mean("selected") < result.mean("all in one")
    assert result.mean("selected") < result.mean("random")


@pytest.mark.parametrize("name", RESULTS)
def test_the_committed_demo_takes_less_than_four_minutes_on_two_cores(name):
    result = committed(name)
    assert result.cpus == 2
    assert result.cpu_seconds < 240
