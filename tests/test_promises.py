"""The page of promises: its tests exist, and its figures are those of the last nightly run."""

import importlib.util
import json
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "promises.md"


def load_benchmark():
    spec = importlib.util.spec_from_file_location("promises", ROOT / "benchmarks" / "promises.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_figures_are_those_of_the_result_file():
    promises = load_benchmark()
    tests = json.loads(promises.RESULT.read_text("utf-8"))
    text = PAGE.read_text("utf-8")
    assert promises.page(text, tests) == text
    assert all(test["outcome"] == "passed" for test in tests.values())


def test_every_test_that_is_named_exists():
    files = {path.name: path for path in (ROOT / "tests").rglob("*.py")}
    for named in re.findall(r"`([\w/]*test_\w+\.py)`", PAGE.read_text("utf-8")):
        assert files[Path(named).name].as_posix().endswith(named), named
