"""Every Python block of the README and the pages runs as written, and so does every example."""

import doctest
import importlib
import re
import runpy
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# Pages whose blocks a test of their own room runs.
ELSEWHERE = {"demo.md", "grouped_model.md"}
MODULES = ["affinity", "tag_model", "selection.grouping"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name not in ELSEWHERE], ids=lambda page: page.name
)
def test_the_blocks_of_a_page_run_from_top_to_bottom(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    keras.utils.set_random_seed(0)
    blocks = re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.S)
    assert blocks
    names: dict = {"__name__": "__page__"}
    for block in blocks:
        exec(compile(block, page.name, "exec"), names)


@pytest.mark.slow
def test_the_quickstart_runs(monkeypatch, capsys):
    script = ROOT / "tutorials" / "quickstart.py"
    monkeypatch.setattr(sys, "argv", [str(script), "--epochs", "2"])
    runpy.run_path(str(script), run_name="__main__")
    assert "total test loss" in capsys.readouterr().out


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_of_a_docstring_hold(module):
    module = importlib.import_module(f"keras_tag.{module}")
    found = doctest.testmod(
        module, extraglobs={"keras": keras, "np": np}, optionflags=doctest.NORMALIZE_WHITESPACE
    )
    assert found.attempted
    assert not found.failed


def test_links_between_pages_lead_somewhere():
    for page in [*PAGES, ROOT / "CONTRIBUTING.md"]:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8")):
            assert (page.parent / link).exists(), (page.name, link)
