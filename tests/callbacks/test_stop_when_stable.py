"""`StopWhenStable`: when it decides, what it then does, and that a restored run decides alike."""

import keras
import numpy as np
import pytest
from probed_model import BATCH, data, probed

from keras_tag import callbacks, stability
from keras_tag.affinity import Affinity
from keras_tag.affinity.history import HistoryRecorder

SETTINGS = {"budget": 2, "min_probes": 10, "patience": 2, "replicates": 50}


def fit(tag, stop, epochs=8, **kwargs):
    x, y = data()
    return tag.fit(
        x, y, batch_size=BATCH, epochs=epochs, verbose=0, callbacks=[stop], shuffle=False, **kwargs
    )


@pytest.fixture(scope="module")
def settled():
    """A run whose choice is clear: tasks a and b are one, c another."""
    tag, stop = probed(), callbacks.StopWhenStable(**SETTINGS)
    history = fit(tag, stop)
    return tag, stop, history


def test_probing_ends_and_training_goes_on(settled):
    tag, stop, history = settled
    assert stop.stopped_epoch == 2  # 10 probes are there after two epochs; two must agree.
    assert tag.probing_paused
    assert tag.probes == 6 * (stop.stopped_epoch + 1)
    assert len(history.history["loss"]) == 8
    assert stop.grouping.groups == (("a", "b"), ("c",))
    assert stop.stability.confidence() >= 0.95


def test_training_is_not_disturbed(settled):
    plain = probed()
    plain.pause_probing()
    fit(plain, keras.callbacks.Callback())
    for one, other in zip(settled[0].model.weights, plain.model.weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_decision_is_a_function_of_the_affinities(settled):
    """What a restored run finds: it pauses before its first step."""
    tag, stop, _ = settled
    tag.resume_probing()
    again = callbacks.StopWhenStable(**SETTINGS)
    before = tag.probes
    fit(tag, again, epochs=10, initial_epoch=8)
    assert again.stopped_epoch == 7
    assert tag.probes == before
    assert again.grouping == stop.grouping
    np.testing.assert_array_equal(again.stability.regret, stop.stability.regret)


def test_training_ends_where_asked():
    tag = probed()
    stop = callbacks.StopWhenStable(**SETTINGS, stop_training=True)
    history = fit(tag, stop)
    assert len(history.history["loss"]) == stop.stopped_epoch + 1 == 3


@pytest.mark.parametrize("change", [{"min_probes": 1000}, {"patience": 9}])
def test_it_waits_for_what_was_asked(change):
    tag, stop = probed(), callbacks.StopWhenStable(**{**SETTINGS, **change})
    fit(tag, stop, epochs=5)
    assert stop.stopped_epoch is None
    assert not tag.probing_paused
    assert tag.probes == 30


def measured(friends, noise=0.05):
    """Three tasks over epochs in which the named two help each other."""
    rng, recorder = np.random.default_rng(0), HistoryRecorder(3)
    for epoch, (one, other) in enumerate(friends):
        recorder.begin_epoch(epoch)
        mean = np.eye(3)
        mean[one, other] = mean[other, one] = 0.7
        for _ in range(20):
            probe = mean * 10.0**epoch + noise * rng.normal(size=(3, 3))
            recorder.add(probe, np.ones((3, 3), int))
        recorder.end_epoch()
    return Affinity.from_history(("a", "b", "c"), recorder.history())


@pytest.mark.parametrize(
    ("friends", "expected"), [([(0, 1)] * 3, True), ([(0, 1), (0, 1), (1, 2)], False)]
)
def test_a_choice_that_drifted_has_not_settled(friends, expected):
    stop = callbacks.StopWhenStable(**SETTINGS)
    # Every epoch weighs ten times the one before: the last decides.
    affinity = measured(friends)
    assert [stability(affinity.over(slice(k)), 2).confidence() for k in (2, 3)] == [1.0, 1.0]
    assert stop._settled(affinity) is expected


@pytest.mark.parametrize(("noise", "expected"), [(30.0, False), (0.1, True)])
def test_noise_does_not_settle(noise, expected):
    stop = callbacks.StopWhenStable(**SETTINGS)
    assert stop._settled(measured([(0, 1)] * 3, noise)) is expected


def test_another_model_is_refused():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    model.compile("sgd", "mse")
    for callback in (callbacks.StopWhenStable(2), callbacks.AffinityLogger("nowhere")):
        with pytest.raises(ValueError, match=r"keras_tag\.TAGModel"):
            model.fit(data()[0], data()[1]["a"], verbose=0, callbacks=[callback])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"confidence": 0}, "`confidence` <= 1. Received: 0"),
        ({"tolerance": -1}, "`tolerance` >= 0. Received: -1"),
        ({"patience": 0}, "`patience` to be an integer >= 1. Received: 0"),
        ({"min_probes": 2.5}, "`min_probes` to be an integer >= 1. Received: 2.5"),
    ],
)
def test_bad_arguments(change, message):
    with pytest.raises(ValueError, match=message):
        callbacks.StopWhenStable(**{**SETTINGS, **change})


def test_a_bad_budget_is_not_taken_for_an_unsettled_choice():
    with pytest.raises(ValueError, match="budget=0"):
        fit(probed(), callbacks.StopWhenStable(**{**SETTINGS, "budget": 0}), epochs=3)
