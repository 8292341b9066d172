"""The examples of the user's page run, and print what they say."""

import re
from pathlib import Path

import pytest
from page_blocks import blocks, run_page

PAGE = Path(__file__).parents[2] / "docs" / "grouped_model.md"


@pytest.mark.slow
def test_every_example_runs(tmp_path):
    printed = run_page(PAGE, tmp_path)
    for expected in re.findall(r"^print\(.*\)  # (.*)$", "\n".join(blocks(PAGE)), re.MULTILINE):
        assert expected in printed
    assert "networks start with 8 of the joint model's 8 weights, 0 are fresh" in printed
