"""The script of the paper's experiment, whole, on drawn faces."""

import importlib.util
import json
from pathlib import Path

import celeb_a_likeness as likeness
import keras
import numpy as np
import pytest

from keras_tag import Affinity
from keras_tag.selection import Grouping

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "celeba.py"
TASKS = ["Black_Hair", "Wearing_Hat", "Mustache"]


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("celeba_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Interrupted(Exception):
    """The power is gone."""


def interrupt_at(epoch):
    class Interrupting(keras.callbacks.LearningRateScheduler):
        def on_epoch_begin(self, at, logs=None):
            if at == epoch:
                raise Interrupted
            super().on_epoch_begin(at, logs)

    return Interrupting


@pytest.mark.slow
def test_the_whole_experiment_also_after_interruptions(script, tmp_path, monkeypatch, capsys):
    likeness.write_files(tmp_path / "files", {"train": 48, "validation": 16, "test": 16})
    likeness.prepare(tmp_path / "files", tmp_path / "data")
    out = tmp_path / "run"
    arguments = [
        *("--out", str(out), "--data-dir", str(tmp_path / "data"), "--tasks", *TASKS),
        *("--image-size", "16", "--batch-size", "16", "--filters", "4", "--epochs", "3"),
        *("--learning-rate", "0.02", "--every", "1", "--budgets", "2", "--score", "members"),
        *("--halve-every", "2"),
    ]
    plain = keras.callbacks.LearningRateScheduler
    # In the third epoch of the joint network: two are kept.
    monkeypatch.setattr(keras.callbacks, "LearningRateScheduler", interrupt_at(2))
    with pytest.raises(Interrupted):
        script.main(arguments)
    probes = Affinity.load(out / "joint" / "affinity.npz").count.max()
    assert probes in (3, 6)  # Of the epochs up to the best: three steps each.
    assert json.loads((out / "joint" / "stopping.json").read_text())["seen"] == 1

    # The joint network goes on with its third epoch; then the first group's begins.
    started = []

    class Watching(plain):
        def on_epoch_begin(self, at, logs=None):
            if at == 0:
                raise Interrupted
            started.append(at)
            super().on_epoch_begin(at, logs)

        def on_epoch_end(self, at, logs=None):
            super().on_epoch_end(at, logs)
            # The rate of the schedule, not of a fresh start: halved once since epoch 1.
            assert logs["learning_rate"] == pytest.approx(0.01)

    monkeypatch.setattr(keras.callbacks, "LearningRateScheduler", Watching)
    with pytest.raises(Interrupted):
        script.main(arguments)
    assert started == [2]

    monkeypatch.setattr(keras.callbacks, "LearningRateScheduler", plain)
    table = script.main(arguments)
    grouping = Grouping.load(out / "groups_tag_2.json")
    assert set(grouping.serves) == set(TASKS)
    assert list(table.index) == ["all in one", "tag, 2 networks"]
    assert table["networks"].tolist() == [1, len(grouping.groups)]
    # The error is the share of wrong answers, so a multiple of 1 / 16 per task.
    errors = {}
    for index, group in enumerate(grouping.groups):
        found = json.loads((out / "networks" / "+".join(sorted(group)) / "test.json").read_text())
        errors |= {t: found["error"][t] for t in group if grouping.serves[t] == index}
    assert table["total error"]["tag, 2 networks"] == pytest.approx(sum(errors.values()))
    for error in errors.values():
        assert error / 100 * 16 == pytest.approx(round(error / 100 * 16), abs=1e-4)
    assert np.isfinite(table.to_numpy()).all()

    # All is done: nothing is trained again, and the table is the same.
    monkeypatch.setattr(keras.Model, "fit", None)
    assert script.main(arguments).equals(table)
    assert script.main([*arguments[:2], "--table"]).equals(table)
    assert "total error" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"other options.*'filters': \(4, 5\)"):
        script.main([*arguments, "--filters", "5"])


def test_the_defaults_are_the_papers(script):
    options = script.parse([])
    assert len(options.tasks) == 9
    assert (options.image_size, options.batch_size, options.epochs) == (64, 256, 100)
    assert (options.learning_rate, options.momentum) == (0.0005, 0.9)
    assert (options.halve_every, options.patience) == (15, 10)
    assert options.budgets == [2, 3, 4]
    network = script.build_network(options.tasks, (64, 64, 3), options.filters, 0)
    # One head of the notebook's network sees 15 x 15 x 64 numbers.
    assert network.get_layer("Goatee").kernel.shape == (15 * 15 * 64, 1)
