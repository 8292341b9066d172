"""`AffinityLogger`: what TensorBoard reads from its files."""

import numpy as np
import pytest
import tensorflow as tf
from probed_model import BATCH, TASKS, data, probed

from keras_tag import callbacks


def read(folder):
    """Tag -> [(step, array)], from the only file of the folder `affinity`."""
    (file,) = (folder / "affinity").iterdir()
    found = {}
    for record in tf.data.TFRecordDataset(str(file)):
        event = tf.compat.v1.Event.FromString(record.numpy())
        for value in event.summary.value:
            array = tf.make_ndarray(value.tensor)
            found.setdefault(value.tag, []).append((event.step, array))
    return found


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("logs")
    tag = probed(every=2)
    x, y = data()
    tag.fit(
        x, y, batch_size=BATCH, epochs=4, verbose=0, callbacks=[callbacks.AffinityLogger(folder)]
    )
    return tag, read(folder)


def values(events, name):
    return {step: float(array) for step, array in events[name]}


def test_scalars_are_the_means_of_every_epoch(logged):
    tag, events = logged
    frame = tag.affinity().to_epoch_frame()
    for source in TASKS:
        for target in TASKS:
            written = values(events, f"affinity/{source}/{target}")
            rows = frame.query("source == @source and target == @target")
            assert sorted(written) == rows["epoch"].tolist() == [0, 1, 2, 3]
            np.testing.assert_allclose(list(written.values()), rows["mean"], rtol=1e-5)


def test_errors_are_the_runs(logged):
    tag, events = logged
    written = values(events, "standard_error/a/b")
    assert min(written) == 2  # Three probes an epoch: the first two epochs are too few.
    error = tag.affinity().standard_error[0, 1]
    assert written[3] == pytest.approx(float(error), rel=1e-5)


def test_the_cost_of_probing_is_there(logged):
    _, events = logged
    assert list(values(events, "probes/count").values()) == [3.0] * 4
    assert all(v > 0 for v in values(events, "probes/seconds_per_step").values())
    assert all(0 <= v < 1 for v in values(events, "probes/share_of_time").values())


def test_heatmaps_are_pictures(logged):
    _, events = logged
    for name in ("affinity/epoch", "affinity/run"):
        assert [step for step, _ in events[name]] == [0, 1, 2, 3]
        width, height, png = events[name][-1][1]
        image = tf.io.decode_png(png, channels=3).numpy()
        assert image.shape == (int(height), int(width), 3)
        assert image.std() > 10


def test_nothing_is_drawn_when_nothing_was_probed(tmp_path):
    tag = probed()
    tag.pause_probing()
    x, y = data()
    tag.fit(x, y, batch_size=BATCH, verbose=0, callbacks=[callbacks.AffinityLogger(tmp_path)])
    assert sorted(read(tmp_path)) == ["probes/count", "probes/seconds_per_plain_step"]
