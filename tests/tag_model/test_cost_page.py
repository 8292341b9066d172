"""The figures of probes on the pages, of their costs and their steps, are those of result files."""

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def script(name):
    path = ROOT / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def report():
    return script("probe_cost_report")


def test_the_page_shows_what_starts_were_measured():
    start = script("start")
    table = start.table(json.loads(start.RESULT.read_text("utf-8")))
    assert len(table.splitlines()) == 2 + len(start.CASES)
    assert table in (ROOT / "docs" / "cost.md").read_text("utf-8")


def test_the_pages_show_the_tables_of_the_result_files(report):
    for page, tables in report.tables().items():
        for name, table in tables.items():
            assert table in (ROOT / page).read_text("utf-8"), (page, name)


def test_the_page_shows_what_the_length_of_a_step_does():
    step_length = script("step_length")
    page = (ROOT / "docs" / "how_it_works.md").read_text("utf-8")
    for table in step_length.tables(json.loads(step_length.RESULT.read_text("utf-8"))):
        assert table in page


def test_the_figures_of_a_row_belong_together(report):
    for configuration in report.load("probe_cost")["configurations"]:
        where = report.named(configuration)
        for name, row in configuration["variants"].items():
            for middle, low, high in (row["cpu"], row["wall"]):
                assert 0 < low <= middle <= high, (where, name)
        # A probe is extra work, however noisy the machine was.
        assert configuration["variants"]["gradient"]["cpu"][0] > 1, where
        assert report.worth(configuration, "gradient") == 1


def test_a_tenth_of_the_probes_is_a_tenth_of_the_extra_cost(report):
    assert report.every(3.0, 1) == 3
    assert report.every(3.0, 10) == pytest.approx(1.2)
    assert report.every(1.0, 10) == 1
