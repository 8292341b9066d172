"""The table of docs/group_search.md is that of the committed result."""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT))


def test_the_table_of_the_page_is_the_committed_result():
    from benchmarks.group_search import FILE, table_of

    table = table_of(json.loads(FILE.read_text("utf-8")))
    assert table in (ROOT / "docs" / "group_search.md").read_text("utf-8")
