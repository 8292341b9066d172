"""The README is short, its blocks and commands run, and its figures are those of result files."""

import json
import re
import shlex
from pathlib import Path

import pytest
from page_blocks import run_page

from benchmarks.group_search import FILE, table_of
from benchmarks.group_search import README as METHODS
from benchmarks.grouping_quality.report import (
    compared,
    load_results,
    matters,
    reproducible_gain,
)
from keras_tag.command.main import main

README = Path(__file__).parent.parent / "README.md"
# "Your compiled Keras model", which the README's blocks begin with, and its data.
YOURS = """
import keras
import numpy as np
import tensorflow as tf

rng = np.random.default_rng(0)
x = rng.normal(size=(192, 8)).astype("float32")
first, second = np.tanh(x[:, :4].sum(1, keepdims=True)), np.tanh(x[:, 4:].sum(1, keepdims=True))
y = {"depth": first, "normals": first + 0.1, "edges": second, "objects": second - 0.1}
data = tf.data.Dataset.from_tensor_slices((x, y))
train, valid = data.take(128).batch(32), data.skip(128).batch(32)
inputs = keras.Input((8,))
trunk = keras.layers.Dense(4, activation="tanh", name="trunk")(inputs)
model = keras.Model(inputs, {task: keras.layers.Dense(1, name=task)(trunk) for task in y})
model.compile("adam", loss="mse")
"""
# What the blocks left behind.
HOLDS = """
again = keras.models.load_model("served.keras")
predicted = served.predict(x, verbose=0)
assert set(predicted) == set(y)
for task, ours in again.predict(x, verbose=0).items():
    np.testing.assert_array_equal(ours, predicted[task])
assert "<svg" in open("report.html", encoding="utf-8").read()
"""


def test_the_readme_has_at_most_900_words():
    assert len(README.read_text("utf-8").split()) <= 900


def test_the_first_table_is_that_of_the_result_file():
    text, results = README.read_text("utf-8"), load_results()
    file = json.loads(FILE.read_text("utf-8"))
    assert table_of(file, words=METHODS) in text
    page = (README.parent / "docs" / "group_search.md").read_text("utf-8")
    assert table_of(file) in page
    assert file["searches"]["GroupSearch"].keys() == compared(results).keys()
    gains = [reproducible_gain(entry)[0] for entry in compared(results).values() if matters(entry)]
    low, high = (round(100 * gain) for gain in (min(gains), max(gains)))
    assert len(gains) == 15
    assert len(compared(results)) == 15 + 9
    assert f"groups have {low} to {high} % less loss than random ones" in text


def test_the_commands_of_the_readme_exist(capsys):
    for line in re.findall(r"^keras-tag (.*)$", README.read_text("utf-8"), re.M):
        with pytest.raises(SystemExit) as stopped:
            main([shlex.split(line)[0], "--help"])
        assert stopped.value.code == 0
        offered = capsys.readouterr().out
        for option in re.findall(r"--[a-z-]+", line):
            assert option in offered


@pytest.mark.slow
def test_the_blocks_and_commands_of_the_readme_run_with_a_compiled_model(tmp_path, monkeypatch):
    run_page(README, tmp_path, before=YOURS, after=HOLDS)
    monkeypatch.chdir(tmp_path)
    for line in re.findall(r"^keras-tag (?!demo)(.*)$", README.read_text("utf-8"), re.M):
        assert main(shlex.split(line)) == 0, line
    assert (tmp_path / "affinity.png").read_bytes().startswith(b"\x89PNG")
