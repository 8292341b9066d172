"""Ctrl-C at random moments of `fit`: the model that stays alive is whole, and training goes on."""

import json
import random
import signal

import pytest
import runs
from interrupted import STEPS
from killing import live


def interrupt(folder, seed, signals):
    """So many signals to one run; how many of them `fit` raised."""
    draw = random.Random(seed)
    moments = [(draw.randint(1, 8), draw.uniform(0, 0.02)) for _ in range(signals)]
    life = live([runs.HERE / "interrupted.py", folder], folder, moments, signal.SIGINT)
    assert life.code == 0
    events = list(map(json.loads, life.lines))
    looks = [event for event in events if event[0] in ("interrupted", "done")]
    for what, step, weights, probes, counts in looks:
        assert weights, (what, step)
        assert probes, (what, step)
        assert counts, (what, step)
    assert looks[-1][:2] == ["done", STEPS]
    assert events[-1][1] < 1e-12  # Sums of the same numbers, in other blocks.
    return len(looks) - 1


@pytest.mark.slow
def test_a_few_interrupts(tmp_path):
    assert interrupt(tmp_path, seed=0, signals=6)


@pytest.mark.nightly
def test_many_interrupts(tmp_path, record_property):
    raised = interrupt(tmp_path, seed=1, signals=40)
    record_property("interrupts (Ctrl-C) of fit", raised)
    assert raised >= 20
