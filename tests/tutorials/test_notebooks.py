"""The notebooks run, and are what their sources say."""

import ast
import importlib.util
import json
import re
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).parents[2] / "tutorials"


def load_build():
    spec = importlib.util.spec_from_file_location("tutorials_build", FOLDER / "build.py")
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    return build


BUILD = load_build()
NAMES = [source.stem for source in BUILD.SOURCES]


def stored(name):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def test_every_source_has_its_notebook():
    assert len(NAMES) == 6
    assert sorted(path.stem for path in FOLDER.glob("*.ipynb")) == NAMES


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_from_top_to_bottom(name, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_TAG_TUTORIAL", "fast")
    monkeypatch.setenv("PYTHONPATH", str(FOLDER.parent))
    # A figure is made anew in every process of a parallel run; their shared cache would do no good.
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    made = BUILD.run(stored(name), tmp_path)
    outputs = [output for cell in made.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs) or "gpus" in name


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_its_source(name):
    made = BUILD.notebook(FOLDER / "source" / f"{name}.py")
    cells = stored(name).cells
    assert [(c.cell_type, c.source) for c in cells] == [(c.cell_type, c.source) for c in made.cells]


@pytest.mark.parametrize("name", NAMES)
def test_a_stored_notebook_was_run_in_order_without_an_error_and_is_small(name):
    assert (FOLDER / f"{name}.ipynb").stat().st_size < 1_000_000
    made = stored(name)
    counts = []
    for cell in made.cells:
        if cell.cell_type == "code" and "install" not in cell.metadata.get("tags", []):
            counts.append(cell.execution_count)
            assert not [o for o in cell.outputs if o.output_type == "error"]
    assert counts == sorted(counts)
    assert None not in counts


@pytest.mark.parametrize("name", NAMES)
def test_no_path_of_a_machine_is_stored(name):
    text = json.dumps(stored(name))
    assert not re.search(r"/(tmp|home|root|work|usr)/", text)


def test_the_address_of_the_repository_comes_from_one_place():
    for name in NAMES:
        made = BUILD.notebook(FOLDER / "source" / f"{name}.py", "https://github.com/else/where")
        text = json.dumps(made)
        assert "git+https://github.com/else/where" in text
        assert f"github/else/where/blob/main/tutorials/{name}.ipynb" in text
        assert BUILD.REPOSITORY not in text
        assert BUILD.REPOSITORY in json.dumps(stored(name))
        assert BUILD.REPOSITORY not in (FOLDER / "source" / f"{name}.py").read_text("utf-8")


def test_only_fast_settings_differ_in_fast_mode():
    # What a test runs is what a reader runs: no cell may be left out in fast mode.
    for name in NAMES:
        tree = ast.parse((FOLDER / "source" / f"{name}.py").read_text("utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.If):
                assert "FAST" not in ast.unparse(node.test), name
