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
        (lambda: Affinity.from_array(np.eye(3), TASKS, rows="source").over(slice(3)), "a history"),
        (
            lambda: Affinity.from_array(np.eye(3), TASKS, rows="source").to_epoch_frame(),
            "a history",
        ),
    ],
)
def test_what_cannot_be_told_is_refused(ask, message):
    with pytest.raises(ValueError, match=message):
        ask()
