"""The examples of the user's page run, and print what they say."""

import contextlib
import io
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "grouped_model.md"


@pytest.mark.slow
def test_every_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL))
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, str(PAGE), "exec"), {})
    for expected in re.findall(r"^print\(.*\)  # (.*)$", code, flags=re.MULTILINE):
        assert expected in printed.getvalue()
    assert "0: 6 weights copied, 0 fresh\n1: 6 weights copied, 0 fresh" in printed.getvalue()
