"""The schedule of probes: by the length of `fit`, or by the clock, which prints its choice."""

import itertools
import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from tag_models import LOSS, data, mlp

from keras_tag import TAGModel
from keras_tag.tag_model.schedule import (
    ENOUGH_PROBES,
    OFTEN,
    PLAIN_PER_PROBE,
    SELDOM,
    TIMED_PROBES,
    OverheadClock,
    every_by_length,
)


class FakeTime:
    """Steps that take what they are said to take."""

    now = 0.0

    def __call__(self):
        return self.now


@pytest.mark.parametrize(
    ("plain", "probed", "overhead", "every"),
    [(1.0, 3.0, 0.1, 20), (1.0, 3.05, 0.1, 21), (2.0, 2.5, 0.5, 1), (1.0, 0.9, 0.1, 1)],
)
def test_the_smallest_number_that_keeps_the_overhead(plain, probed, overhead, every):
    time = FakeTime()
    clock = OverheadClock(overhead, lambda: None, time)
    probes = []
    for step in itertools.count():
        if clock.every is not None:
            break
        probes.append(clock.probes_next())
        with clock.timed():
            # The first of each kind is traced.
            time.now += 100.0 if step < 2 else probed if probes[-1] else plain
    assert clock.every == every
    extra = (probed - plain) / plain
    assert extra / clock.every <= overhead + 1e-9
    assert clock.every == 1 or extra / (clock.every - 1) > overhead
    assert sum(probes) == TIMED_PROBES + 1
    assert len(probes) == 1 + (PLAIN_PER_PROBE + 1) * TIMED_PROBES


def test_fit_finds_a_number_and_prints_it(capsys, tmp_path):
    x, y = data(64)
    tag = TAGModel(mlp(), every="auto", overhead=0.2)
    tag.compile("adam", loss=LOSS)
    tag.fit(x, y, batch_size=8, epochs=1, verbose=0)
    assert tag.every == "auto"  # Eight steps were not enough.
    tag.fit(x, y, batch_size=8, epochs=3, verbose=0)
    printed = re.findall(r"every=(\d+) keeps probing below 20%", capsys.readouterr().out)
    assert printed == [str(tag.every)]
    before = tag.probes
    assert tag.affinity().count.min() >= 1
    steps = int(tag.optimizer.iterations.numpy())
    tag.fit(x, y, batch_size=8, epochs=2, verbose=0)
    probed = [step for step in range(steps, steps + 16) if step % tag.every == 0]
    assert tag.probes == before + len(probed)
    tag.save(tmp_path / "tag.keras")
    assert keras.saving.load_model(tmp_path / "tag.keras").every == tag.every


@pytest.mark.parametrize("overhead", [0, -1, float("inf"), float("nan"), "much"])
def test_an_overhead_that_is_none_is_refused(overhead):
    with pytest.raises(ValueError, match="positive fraction"):
        TAGModel(mlp(), every="auto", overhead=overhead)


def test_refused_where_every_step_must_be_known_beforehand():
    x, y = data(16)
    tag = TAGModel(mlp(), every="auto")
    tag.compile("adam", loss=LOSS, steps_per_execution=2)
    with pytest.raises(ValueError, match="which prints it"):
        tag.fit(x, y, verbose=0)


@pytest.mark.parametrize(
    ("steps", "every"),
    [(None, 10), (1, 10), (999, 10), (1100, 11), (3456, 34), (5000, 50), (10**6, 50)],
)
def test_long_runs_are_probed_less_often(steps, every):
    assert every_by_length(steps) == every
    for executed in (1, 3, 8, 64):
        together = every_by_length(steps, executed)
        assert together % executed == 0
        assert every <= together < every + executed


def test_the_page_says_how_often():
    page = Path(__file__).parents[2] / "docs" / "tag_model.md"
    text = " ".join(page.read_text("utf-8").split())
    assert f"{OFTEN} up to {OFTEN * ENOUGH_PROBES:,} steps" in text
    assert f"{SELDOM} from {SELDOM * ENOUGH_PROBES:,} steps on" in text


def numbered_steps(steps):
    """Data of a known number of steps."""
    x, y = data(4)
    return tf.data.Dataset.from_tensors((x, y)).repeat(steps)


def test_unless_told_fit_goes_by_its_length():
    tag = TAGModel(mlp())
    tag.compile("adam", loss=LOSS)
    tag.fit(numbered_steps(20), verbose=0)
    assert (tag.probes_every, tag.probes) == (10, 2)
    # 2 epochs of 600 steps; the steps are numbered on from the 20 before.
    tag.fit(numbered_steps(600), epochs=2, verbose=0)
    assert tag.probes_every == 12
    assert tag.probes == 2 + sum(step % 12 == 0 for step in range(20, 1220))
    assert tag.affinity().metadata["settings"]["every"] == 12
    tag.fit(numbered_steps(20), verbose=0)
    assert tag.probes_every == 10


def test_a_run_of_one_step_is_probed_and_longer_ones_from_the_second():
    x, y = data(8)
    for batch_size, probed in ((8, [0]), (4, [1])):
        tag = TAGModel(mlp())
        tag.compile("sgd", loss=LOSS)
        steps = []
        watch = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda step, logs, tag=tag, steps=steps: (
                steps.append(step) if tag.last_step_probed else None
            )
        )
        tag.fit(x, y, batch_size=batch_size, callbacks=[watch], verbose=0)
        assert steps == probed


@pytest.mark.slow
def test_data_that_do_not_say_how_long_they_are():
    x, y = data(4)

    def endless():
        while True:
            yield x, y

    tag = TAGModel(mlp())
    tag.compile("adam", loss=LOSS)
    tag.fit(endless(), steps_per_epoch=1100, verbose=0)
    assert tag.probes_every == 11
    unknown = numbered_steps(30).filter(lambda *batch: True)
    tag.fit(unknown, epochs=2, verbose=0)
    assert tag.probes_every == 10


@pytest.mark.parametrize(("told", "every"), [({"steps": 600, "epochs": 2}, 12), ({}, 10)])
def test_a_callback_list_says_how_long(told, every):
    tag = TAGModel(mlp())
    tag.compile("adam", loss=LOSS)
    given = keras.callbacks.CallbackList(add_history=True, model=tag, **told)
    tag.fit(numbered_steps(24), verbose=0, callbacks=given)
    assert tag.probes_every == every
    assert tag.probes == len(range(0, 24, every))


def test_steps_executed_together_are_probed_together(tmp_path):
    tag = TAGModel(mlp())
    tag.compile("adam", loss=LOSS, steps_per_execution=4)
    tag.fit(numbered_steps(24), verbose=0)
    assert tag.probes_every == 12
    assert tag.probes == 8
    tag.save(tmp_path / "tag.keras")
    loaded = keras.saving.load_model(tmp_path / "tag.keras")
    assert loaded.every is None
    assert loaded.probes == 8


def test_a_number_given_is_kept_whatever_the_length():
    tag = TAGModel(mlp(), every=np.int64(7))
    tag.compile("adam", loss=LOSS)
    tag.fit(numbered_steps(1200), verbose=0)
    assert tag.every == tag.probes_every == 7
    assert tag.probes == 172


@pytest.mark.parametrize(("verbose", "times"), [(2, 1), (0, 0)])
def test_the_progress_output_says_that_a_probe_is_built(verbose, times, capsys):
    x, y = data(64)
    tag = TAGModel(mlp(), every=2)
    tag.compile("adam", loss=LOSS)
    tag.fit(x, y, batch_size=16, verbose=verbose)
    said = re.findall(
        r"keras_tag: building the probe \(once\) \.\.\. \d+ s\n", capsys.readouterr().out
    )
    assert len(said) == times
    assert tag.probes == 2
