"""The commands of docs/cli.md, as written."""

import re
import shlex
from pathlib import Path

from keras_tag.command import main as cli

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text("utf-8")


def test_the_commands_of_the_page_run_and_print_what_it_shows(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, text in re.findall(r"```text\n# file: (\S+)\n(.*?)```", PAGE, re.S):
        Path(name).write_text(text, "utf-8")
    blocks = re.findall(r"```bash\n(.*?)```(?:\n\n```text\n(.*?)```)?", PAGE, re.S)
    lines = [line for block, _ in blocks for line in block.splitlines()]
    assert len(lines) == 7
    for block, shown in blocks:
        for line in block.splitlines():
            command, *arguments = shlex.split(line)
            assert command == "keras-tag"
            assert cli.main(arguments) == 0, line
        printed = capsys.readouterr().out
        if shown:
            assert printed == shown
    assert {path.name for path in tmp_path.iterdir()} == {
        "affinity.csv", "groups.json", "affinity.png", "groups.svg", "curve.png",
    }  # fmt: skip


def test_the_page_names_every_kind_of_picture():
    from keras_tag.command.plot import _KINDS

    for kind in _KINDS:
        assert f"| `{kind}`" in PAGE
