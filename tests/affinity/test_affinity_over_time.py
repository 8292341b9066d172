"""Means over parts of a run, and the table by epoch, against the single probes."""

import numpy as np
import pytest
from streams import recorded

from keras_tag.affinity import Affinity

TASKS = ("a", "b", "c")
PER_EPOCH = 30
PROBES = np.random.default_rng(0).normal(size=(10 * PER_EPOCH, 3, 3))
EPOCH = np.arange(len(PROBES)) // PER_EPOCH
WHOLE = Affinity.from_history(TASKS, recorded(PROBES, PER_EPOCH))


@pytest.mark.parametrize(
    "epochs", [slice(None), slice(3), slice(-4, None), slice(2, 7), slice(0, None, 2)]
)
def test_some_epochs_have_the_mean_of_their_probes(epochs):
    part = WHOLE.over(epochs)
    kept = np.isin(EPOCH, np.arange(10)[epochs])
    np.testing.assert_allclose(part.mean, PROBES[kept].mean(axis=0))
    assert (part.count == kept.sum()).all()


def test_a_part_is_what_a_shorter_run_would_have_measured():
    part = WHOLE.over(slice(4))
    alone = Affinity.from_history(TASKS, recorded(PROBES[: 4 * PER_EPOCH], PER_EPOCH))
    np.testing.assert_array_equal(part.mean, alone.mean)
    np.testing.assert_array_equal(part.standard_error, alone.standard_error)


def test_half_life_halves_the_weight():
    weight = 0.5 ** ((9 - EPOCH) / 2.5)
    expected = np.average(PROBES, axis=0, weights=weight)
    np.testing.assert_allclose(WHOLE.over(half_life=2.5).mean, expected)


def test_a_very_long_half_life_is_none():
    endless = WHOLE.over(half_life=1e9)
    np.testing.assert_allclose(endless.mean, WHOLE.mean)
    np.testing.assert_allclose(endless.standard_error, WHOLE.standard_error, rtol=1e-6)


def test_a_short_half_life_costs_certainty():
    probes = np.random.default_rng(2).normal(size=(300, 20, 20))
    whole = Affinity.from_history([str(i) for i in range(20)], recorded(probes, PER_EPOCH))
    late = whole.over(half_life=1)
    # Ten epochs at weights 1, 1/2, 1/4, ... are worth three.
    ratio = np.mean(late.standard_error**2) / np.mean(whole.standard_error**2)
    assert np.sqrt(ratio) == pytest.approx(np.sqrt(10 / 3), rel=0.15)


def test_weighted_means_are_covered():
    n = 40
    probes = np.random.default_rng(1).normal(size=(600, n, n))
    names = [str(i) for i in range(n)]
    low, high = Affinity.from_history(names, recorded(probes, 30)).over(half_life=4).interval()
    assert 0.92 <= np.mean((low <= 0) & (high >= 0)) <= 0.975


def test_half_life_and_epochs_go_together():
    kept = EPOCH < 5
    weight = 0.5 ** ((4 - EPOCH[kept]) / 1.0)
    expected = np.average(PROBES[kept], axis=0, weights=weight)
    np.testing.assert_allclose(WHOLE.over(slice(5), half_life=1.0).mean, expected)


def test_the_table_by_epoch():
    frame = WHOLE.to_epoch_frame()
    assert list(frame.columns) == [
        "run", "row", "epoch", "source", "target", "mean", "standard_error", "count",
    ]  # fmt: skip
    assert len(frame) == 10 * 9
    cell = frame.query("row == 3 and source == 'b' and target == 'c'").iloc[0]
    assert cell["mean"] == pytest.approx(PROBES[EPOCH == 3, 1, 2].mean())
    assert cell["count"] == PER_EPOCH
    error = PROBES[EPOCH == 3, 1, 2].std(ddof=1) / np.sqrt(PER_EPOCH)
    assert 0.1 * error < cell["standard_error"] < 3 * error


def test_the_long_table_has_what_the_square_has():
    frame = WHOLE.to_long_frame()
    assert list(frame.columns) == ["source", "target", "mean", "standard_error", "count"]
    square = frame.pivot(index="source", columns="target", values="mean")
    np.testing.assert_array_equal(square.to_numpy(), WHOLE.mean)
    np.testing.assert_array_equal(frame["standard_error"], WHOLE.standard_error.ravel())


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: WHOLE.over(slice(20, None)), "10 epochs.*leaves none"),
        (lambda: WHOLE.over(3), "to be a slice. Received: epochs=3"),
        (lambda: WHOLE.over(half_life=0), "positive number of epochs. Received: 0"),
        (lambda: Affinity.from_array(np.eye(3), TASKS, rows="source").over(), "a history"),
        (
            lambda: Affinity.from_array(np.eye(3), TASKS, rows="source").to_epoch_frame(),
            "a history",
        ),
    ],
)
def test_what_cannot_be_told_is_refused(ask, message):
    with pytest.raises(ValueError, match=message):
        ask()
