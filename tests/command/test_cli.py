import json
import subprocess
import sys
from pathlib import Path

import pytest

import keras_tag
from keras_tag.affinity import Affinity
from keras_tag.command import main as cli
from keras_tag.selection.grouping import Grouping

TINY = "demo --seeds 1 --epochs 2 --positions 2 --tasks loop,odd --budget 2 --train-size 130"


@pytest.fixture(scope="module")
def tiny_demo(tmp_path_factory):
    """The command's result, what it printed and its folder."""
    folder = tmp_path_factory.mktemp("demo") / "report"
    results, lines = [], []
    patch = pytest.MonkeyPatch()
    run_demo = cli.run_demo

    def remembering(*args, **kwargs):
        results.append(run_demo(*args, **kwargs))
        return results[0]

    patch.setattr(cli, "run_demo", remembering)
    patch.setattr("builtins.print", lambda *args, **_: lines.append(" ".join(map(str, args))))
    try:
        code = cli.main([*TINY.split(), "--draws", "2", "--out", str(folder)])
    finally:
        patch.undo()
    assert code == 0
    return results[0], "\n".join(lines), folder


@pytest.mark.slow
def test_the_demo_trains_every_method_on_every_seed(tiny_demo):
    result, _, _ = tiny_demo
    trained = [(run.method, run.seed) for run in result.runs]
    assert sorted(trained) == sorted(
        [("all in one", 0), ("selected", 0), ("single task", 0), ("random", 0), ("random", 0)]
    )
    for run in result.runs:
        assert tuple(run.task_losses) == result.affinity.tasks
        assert 0 < run.total_loss < 10
        assert 1 <= run.epochs <= 2
    networks = {run.method: len(run.grouping.groups) for run in result.runs}
    assert networks["single task"] == 4
    assert networks["all in one"] == 1
    assert networks["random"] == 2
    assert networks["selected"] <= 2


@pytest.mark.slow
def test_the_folder_holds_what_the_demo_found(tiny_demo):
    result, _, folder = tiny_demo
    names = {"affinity.npz", "affinity.png", "groups.json", "groups.png", "report.md"}
    assert {path.name for path in folder.iterdir()} == names | {"result.json"}
    affinity = Affinity.load(folder / "affinity.npz")
    assert (affinity.mean == result.affinity.mean).all()
    assert affinity.tasks == ("left_loop", "left_odd", "right_loop", "right_odd")
    assert Grouping.load(folder / "groups.json") == result.grouping
    for picture in ("affinity.png", "groups.png"):
        assert (folder / picture).read_bytes().startswith(b"\x89PNG")
    stored = json.loads((folder / "result.json").read_text("utf-8"))
    assert stored["total_test_loss"]["selected"] == result.by_seed("selected")


@pytest.mark.slow
def test_report_and_screen_show_the_numbers_of_the_result(tiny_demo):
    result, printed, folder = tiny_demo
    text = (folder / "report.md").read_text("utf-8")
    for method in ("selected", "single task", "all in one", "random"):
        shown = f"{result.by_seed(method)[0]:.3f}"
        for where in (text, printed):
            row = next(line for line in where.splitlines() if line.startswith(f"| {method}"))
            assert shown in row
    assert str(result.grouping) in text
    assert str(result.grouping) in printed
    assert str(result.affinity) in printed


@pytest.mark.slow
def test_progress_counts_to_its_end(tiny_demo):
    result, printed, _ = tiny_demo
    progress = [line for line in printed.splitlines() if line.startswith("[")]
    assert len(progress) == len(result.runs) == 5
    assert "5 of 5" in progress[-1]


def test_help_names_every_option_and_default(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["demo", "--help"])
    assert ended.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for option in ("budget", "seeds", "tasks", "positions", "draws", "epochs", "train-size", "out"):
        assert f"--{option}" in text
    assert "(default: loop,prime,composite)" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "required"),
        ("dance", "invalid choice"),
        ("demo --budget many", "invalid int value"),
        ("demo --budget 0", "Expected `budget` from 1"),
        ("demo --budget 10", "budget=10"),
        ("demo --seeds 0", "Expected `seeds` >= 1"),
        ("demo --tasks loop,even", "'even'"),
        ("demo --positions 0", "Expected `positions` >= 1"),
    ],
)
def test_arguments_that_cannot_be_used_end_with_code_2_and_say_why(arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments.split())
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_found_out_before_training(tmp_path, capsys, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("trained")

    monkeypatch.setattr(cli, "run_demo", never)
    (tmp_path / "file").write_text("in the way")
    assert cli.main(["demo", "--out", str(tmp_path / "file")]) == 1
    assert "keras-tag: error:" in (error := capsys.readouterr().err)
    assert "Traceback" not in error


def test_an_interrupt_ends_with_130(tmp_path, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "run_demo", interrupted)
    assert cli.main(["demo", "--out", str(tmp_path)]) == 130


def test_an_error_of_the_library_ends_with_1_and_its_message(tmp_path, monkeypatch, capsys):
    def refusing(*args, **kwargs):
        raise ValueError("Expected something else.")

    monkeypatch.setattr(cli, "run_demo", refusing)
    assert cli.main(["demo", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "keras-tag: error: Expected something else.\n"


def test_the_module_is_the_command_and_answers_without_tensorflow():
    version = subprocess.run(
        [sys.executable, "-m", "keras_tag", "--version"], check=True, capture_output=True, text=True
    )
    assert version.stdout.strip() == keras_tag.__version__
    code = (
        "import sys; from keras_tag.command import main as cli\n"
        "try: cli.main(['demo', '--budget', '0'])\n"
        "except SystemExit: pass\n"
        "sys.exit('tensorflow' in sys.modules or 'matplotlib' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_the_installed_command_is_the_same_function():
    command = Path(sys.executable).with_name("keras-tag")
    if not command.exists():
        pytest.skip("keras_tag is not installed with its commands")
    shown = subprocess.run([command, "--version"], check=True, capture_output=True, text=True)
    assert shown.stdout.strip() == keras_tag.__version__
