"""A `compile` that changes what is measured begins a part of the record, and says so once."""

import warnings
from contextlib import nullcontext
from unittest.mock import Mock

import keras
import numpy as np
import pytest
from quick import quick

from keras_tag import TAGModel
from keras_tag.callbacks import Backup
from keras_tag.tag_model import prober
from keras_tag.tag_model.metadata import part_settings
from keras_tag.tag_model.probe_record import ProbeRecord

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 8)).astype("float32")
Y = {task: X[:, [k]] for k, task in enumerate("abc")}


def network():
    inputs = keras.Input((8,))
    h = keras.layers.Dense(16, "tanh", name="backbone")(inputs)
    h = keras.layers.Dense(8, "tanh", name="neck")(h)
    return keras.Model(inputs, {task: keras.layers.Dense(1, name=task)(h) for task in Y})


def compiled(tag, rate=1e-2, **kwargs):
    tag.compile(keras.optimizers.SGD(rate), loss="mse", **kwargs)
    return tag


def fit(tag, epochs=2, **kwargs):
    return tag.fit(X, Y, batch_size=16, epochs=epochs, verbose=0, **kwargs)


def freeze_more(tag):
    tag.model.get_layer("backbone").trainable = False
    compiled(tag)


CHANGES = {
    "the rate": lambda tag: compiled(tag, 1e-4),
    "what is shared": freeze_more,
    "the loss weights": lambda tag: compiled(tag, loss_weights={"a": 2.0}),
    "the kind": lambda tag: (setattr(tag, "lookahead", "first_order"), compiled(tag)),
    "the optimizer": lambda tag: tag.compile(keras.optimizers.Adam(1e-2), loss="mse"),
    "the losses": lambda tag: tag.compile(keras.optimizers.SGD(1e-2), loss="mae"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_begins_a_part_of_which_affinity_is_the_mean(change):
    tag = compiled(TAGModel(network(), every=1))
    fit(tag)
    first = tag.affinity()
    CHANGES[change](tag)
    with pytest.warns(UserWarning, match="A new part"):
        fit(tag)
    # Only once.
    fit(tag)
    last, pooled = tag.affinity(), tag.affinity(parts="all")
    assert first.count.max() == 8
    assert last.count.max() == 16
    assert pooled.count.max() == 24 == tag.probes
    np.testing.assert_allclose(
        pooled.mean, (8 * first.mean + 16 * last.mean) / 24, rtol=1e-9, atol=1e-12
    )
    assert list(np.unique(last.history.row)) == [0, 1, 2, 3]
    assert pooled.metadata["parts"] == 2


@pytest.mark.parametrize(
    "how",
    quick(
        ["the same again", "the same optimizer object", "metrics only"],
        ["the same optimizer object"],
    ),
)
def test_a_compile_that_changes_nothing_begins_no_part(how):
    tag = compiled(TAGModel(network(), every=1))
    fit(tag)
    if how == "the same again":
        compiled(tag)
    elif how == "metrics only":
        compiled(tag, metrics={"a": ["mae"]})
    else:
        tag.compile(tag.optimizer, loss="mse")
    fit(tag)
    assert tag.affinity().count.max() == 16


SETTINGS = {
    "reduction": ("gradient", lambda k: ("sgd", keras.losses.Huber(reduction=("mean", "sum")[k]))),
    "delta": ("gradient", lambda k: ("sgd", keras.losses.Huber((1.0, 0.1)[k]))),
    "beta": ("gradient", lambda k: (keras.optimizers.Adam(beta_1=(0.9, 0.5)[k]), "mse")),
    "clipnorm": ("optimizer", lambda k: (keras.optimizers.SGD(clipnorm=(None, 0.1)[k]), "mse")),
    # A gradient step has no momentum.
    "none": ("gradient", lambda k: (keras.optimizers.SGD(momentum=(0.0, 0.9)[k]), "mse")),
}


@pytest.mark.parametrize("setting", quick(SETTINGS, ["reduction", "none"]))
def test_another_setting_begins_a_part_where_it_is_one_of_the_step(setting):
    kind, make = SETTINGS[setting]
    tag = TAGModel(network(), every=1, lookahead=kind)
    for k in (0, 1):
        optimizer, loss = make(k)
        tag.compile(optimizer, loss=loss, run_eagerly=True)
        told = pytest.warns(UserWarning, match="A new part")
        with told if k == 1 and setting != "none" else nullcontext():
            fit(tag, epochs=1)
    assert tag.affinity().count.max() == (8 if setting == "none" else 4)


@pytest.mark.slow
def test_parts_are_told_apart_in_train_on_batch():
    tag = compiled(TAGModel(network(), every=1))
    for _ in range(3):
        tag.train_on_batch(X, Y)
    compiled(tag, 1e-4)
    with pytest.warns(UserWarning, match="learning_rate"):
        tag.train_on_batch(X, Y)
    assert tag.affinity().count.max() == 1
    assert tag.affinity(parts="all").count.max() == 4


@pytest.mark.slow
def test_a_saved_model_goes_on_with_its_part_and_keeps_the_parts_before(tmp_path):
    tag = compiled(TAGModel(network(), every=1))
    fit(tag)
    compiled(tag, 1e-3)
    with pytest.warns(UserWarning, match="A new part"):
        # A callback lowers the rate in the meantime: the file's optimizer has the lowered one.
        fit(tag, callbacks=[keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)])
    tag.save(tmp_path / "tag.keras")
    loaded = keras.saving.load_model(tmp_path / "tag.keras")
    np.testing.assert_array_equal(loaded.affinity().mean, tag.affinity().mean)
    fit(loaded)
    assert loaded.affinity().count.max() == 16
    assert loaded.affinity(parts="all").count.max() == 24
    compiled(loaded, 1e-5)
    with pytest.warns(UserWarning, match="A new part"):
        fit(loaded)
    assert loaded.affinity().count.max() == 8


@pytest.mark.slow
def test_a_second_phase_in_a_process_of_its_own_begins_a_part(tmp_path):
    tag = compiled(TAGModel(network(), every=1))
    fit(tag)
    tag.save_weights(tmp_path / "first.weights.h5")
    second = compiled(TAGModel(network(), every=1))
    second.load_weights(tmp_path / "first.weights.h5")
    compiled(second, 1e-4)
    with pytest.warns(UserWarning, match="A new part"):
        fit(second)
    assert second.affinity().count.max() == 8


@pytest.mark.slow
def test_a_run_that_goes_on_from_a_weights_file_begins_no_part(tmp_path):
    tag = compiled(TAGModel(network(), every=1))
    lower = keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.5 * rate)
    fit(tag, callbacks=[lower])
    tag.save_weights(tmp_path / "first.weights.h5")
    again = compiled(TAGModel(network(), every=1))
    again.load_weights(tmp_path / "first.weights.h5")
    assert float(again.optimizer.learning_rate) == pytest.approx(2.5e-3)  # Keras restores it.
    fit(again)
    assert again.affinity().count.max() == 16


def test_a_resumed_run_begins_no_part(tmp_path):
    def run(epochs, **kwargs):
        tag = compiled(TAGModel(network(), every=1))
        backup = Backup(tmp_path / "backup", delete_when_done=False)
        lower = keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.5 * rate)
        fit(tag, epochs, callbacks=[backup, lower], **kwargs)
        return tag

    run(2)
    assert run(3).affinity().count.max() == 12


@pytest.mark.slow
def test_a_reset_keeps_what_the_present_part_is_of():
    tag = compiled(TAGModel(network(), every=1))
    fit(tag)
    tag.reset_affinity()
    fit(tag)
    compiled(tag, 1e-4)
    with pytest.warns(UserWarning, match="A new part"):
        fit(tag)
    assert tag.affinity().count.max() == 8
    tag.reset_affinity()
    compiled(tag, 1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Nothing was measured before: no part precedes this one.
        fit(tag)
    assert tag.affinity(parts="all").count.max() == 8


def test_an_interrupt_after_the_first_step_leaves_its_probe_in_the_new_part(monkeypatch):
    tag = compiled(TAGModel(network(), every=1))
    fit(tag, epochs=1)
    compiled(tag, 1e-4)
    told = pytest.warns(UserWarning, match="A new part")
    with monkeypatch.context() as patch:
        patch.setattr(ProbeRecord, "note", Mock(side_effect=KeyboardInterrupt))
        with told, pytest.raises(KeyboardInterrupt):
            fit(tag, epochs=1)
    assert tag.affinity().count.max() == 1
    fit(tag, epochs=1)
    assert tag.affinity().count.max() == 5
    assert tag.affinity(parts="all").count.max() == 9


@pytest.mark.parametrize("form", ["{}", "{} {{'delta': 1.0}}"])
def test_a_file_of_an_earlier_version_goes_on_with_its_part(form, monkeypatch, tmp_path):
    def old_settings(*args):
        settings = part_settings(*args)
        for later in ("loss_settings", "optimizer_settings"):
            settings.pop(later)
        return {**settings, "losses": {task: form.format("huber_loss") for task in Y}}

    def tag_with(loss):
        tag = TAGModel(network(), every=1)
        tag.compile("sgd", loss=loss)
        return tag

    before = tag_with(keras.losses.Huber())
    with monkeypatch.context() as patch:
        patch.setattr(prober, "part_settings", old_settings)
        fit(before, epochs=1)
    before.save_weights(tmp_path / "old.weights.h5")

    tag = tag_with(keras.losses.Huber())
    tag.load_weights(tmp_path / "old.weights.h5")
    fit(tag, epochs=1)
    assert tag.affinity().count.max() == 8
    # From here on the part has all settings.
    tag.compile("sgd", loss=keras.losses.Huber(0.1))
    with pytest.warns(UserWarning, match="changed loss_settings"):
        fit(tag, epochs=1)

    other = tag_with("mae")
    other.load_weights(tmp_path / "old.weights.h5")
    with pytest.warns(UserWarning, match="changed losses"):
        fit(other, epochs=1)


def test_affinity_refuses_other_parts():
    with pytest.raises(ValueError, match="'last' or 'all'"):
        TAGModel(network()).affinity(parts="first")
