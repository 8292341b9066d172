import os
import subprocess
import sys
from pathlib import Path

import pytest

import keras_tag
from keras_tag.command import main as cli


def test_help_names_every_option_and_default(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["demo", "--help"])
    assert ended.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for option in (
        "budget",
        "trainings",
        "tasks",
        "positions",
        "epochs",
        "train-size",
        "single",
        "out",
    ):
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
        ("demo --epochs 0", "Expected `epochs` >= 1"),
        ("demo --trainings 0", "Expected `trainings` >= 1"),
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


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", ["--help", "select"])
def test_nobody_who_stops_reading_is_told_of_a_broken_pipe(tmp_path, command, unbuffered):
    """`keras-tag select ... | head -1`."""
    file = tmp_path / "affinity.npz"
    affinity = keras_tag.Affinity.from_array([[1.0, 0.5], [0.2, 1.0]], ["a", "b"], rows="source")
    affinity.save(file)
    arguments = [command] if command == "--help" else [command, str(file), "--budget", "1"]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "keras_tag", *arguments],
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert done.stderr == ""
    assert done.returncode in (0, 141)
