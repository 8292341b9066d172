"""The tables of the pages about searches are those of the committed results."""

import importlib
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT))


@pytest.mark.parametrize("name", ["group_search", "cluster"])
def test_the_table_of_the_page_is_the_committed_result(name):
    benchmark = importlib.import_module(f"benchmarks.{name}")
    table = benchmark.table_of(json.loads(benchmark.FILE.read_text("utf-8")))
    assert table in (ROOT / "docs" / f"{name}.md").read_text("utf-8")
