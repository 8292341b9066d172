"""Networks with optimizers of their own, next to the compiled one."""

import warnings

import keras
import numpy as np
import pytest
from grouped_networks import dict_network

from keras_tag import GroupedModel, Grouping

MSE = dict.fromkeys("abc", "mse")
GROUPS = [("a", "b"), ("c", "a"), ("b", "c")]
SERVES = {"a": 0, "b": 2, "c": 1}
FIT = {"batch_size": 24, "epochs": 2, "shuffle": False, "verbose": 0}


def new(name):
    return {"adam": keras.optimizers.Adam(0.01), "sgd": keras.optimizers.SGD(0.2, momentum=0.9)}[
        name
    ]


def grouped(optimizers):
    return GroupedModel(Grouping.from_groups(GROUPS, SERVES), dict_network, optimizers=optimizers)


def kinds(model):
    return [type(optimizer).__name__ for optimizer in model.optimizer.by_network]


def fitted_alone(network, tasks, optimizer, batch):
    """Plain Keras, from the network's present weights."""
    x, y = batch
    alone = dict_network(tasks)
    alone.set_weights(network.get_weights())
    alone.compile(optimizer, loss={task: "mse" for task in tasks}, run_eagerly=True)
    alone.fit(x, {task: y[task] for task in tasks}, **FIT)
    return alone


def assert_equal(ours, theirs):
    for our, their in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(our, their, rtol=1e-9, atol=1e-9)


@pytest.mark.usefixtures("float64")
def test_every_network_trains_with_its_own_or_a_copy_of_the_compiled_one(tmp_path, batch):
    # The compiled one is for the first and the last network.
    model = grouped([None, new("sgd"), None])
    alone = [
        fitted_alone(network, tasks, new(name), batch)
        for network, tasks, name in zip(
            model.networks, GROUPS, ["adam", "sgd", "adam"], strict=True
        )
    ]
    model.compile(new("adam"), loss=MSE)
    model.fit(*batch, **FIT)
    for network, other in zip(model.networks, alone, strict=True):
        assert_equal(network.weights, other.weights)
    # All of it is saved; loaded, it goes on as if nothing had been.
    model.save(tmp_path / "served.keras")
    loaded = keras.models.load_model(tmp_path / "served.keras")
    assert kinds(loaded) == ["Adam", "SGD", "Adam"]
    assert float(loaded.optimizer.learning_rate) == pytest.approx(0.01)
    assert_equal(loaded.optimizer.variables, model.optimizer.variables)
    for twin in (model, loaded):
        twin.fit(*batch, **FIT)
    for ours, theirs in zip(model.variables, loaded.variables, strict=True):
        np.testing.assert_array_equal(theirs, ours)


def test_a_saved_model_is_loaded_uncompiled_without_a_warning(tmp_path, batch):
    model = grouped(["adam", "sgd", None])
    model.compile("sgd", loss=MSE)
    model.fit(*batch, verbose=0)
    model.save(tmp_path / "served.keras")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = keras.models.load_model(tmp_path / "served.keras", compile=False)
    assert loaded.optimizer is None
    loaded.compile("sgd", loss=MSE)
    assert kinds(loaded) == ["Adam", "SGD", "SGD"]


def test_compiling_again_keeps_the_state_of_what_is_kept(batch):
    model = grouped([None, "adam", None])
    model.compile("sgd", loss=MSE)
    model.optimizer.build(model.trainable_variables)
    first = list(model.optimizer.by_network)
    model.compile("sgd", loss=MSE)  # A new one.
    second = list(model.optimizer.by_network)
    assert [a is b for a, b in zip(first, second, strict=True)] == [False, True, False]
    for same in (model.optimizer, second[0]):
        model.compile(same, loss=MSE)
        assert all(a is b for a, b in zip(second, model.optimizer.by_network, strict=True))


def test_no_compiled_one_is_needed_if_every_network_has_its_own(batch):
    model = grouped(["adam", "sgd", "adam"])
    model.compile(loss=MSE)
    first = model.optimizer
    model.compile(loss=MSE)
    assert model.optimizer is first
    assert kinds(model) == ["Adam", "SGD", "Adam"]
    with pytest.raises(ValueError, match=r"Expected a compiled optimizer whose learning rate"):
        model.optimizer.learning_rate = 0.5
    model.compile(None, loss=MSE)  # As in Keras: only to evaluate.
    with pytest.raises(ValueError, match=r"Expected an optimizer to train with"):
        model.fit(*batch, verbose=0)


def test_a_model_compiled_with_its_own_optimizer_is_saved_too(tmp_path):
    model = grouped([None, "sgd", None])
    model.compile(new("adam"), loss=MSE)
    model.compile(model.optimizer, loss=MSE)
    model.save(tmp_path / "served.keras")
    assert kinds(keras.models.load_model(tmp_path / "served.keras")) == ["Adam", "SGD", "Adam"]


def test_a_learning_rate_that_is_set_is_the_compiled_ones(batch):
    model = grouped([new("sgd"), None, None])
    model.compile(new("adam"), loss=MSE)
    model.optimizer.learning_rate = 0.5
    assert [float(opt.learning_rate) for opt in model.optimizer.by_network] == pytest.approx(
        [0.2, 0.5, 0.5]
    )


def test_refuses_a_wrong_number_and_one_optimizer_for_two_networks():
    with pytest.raises(ValueError, match=r"2 entries for 3 networks"):
        grouped(["adam", None])
    shared = new("adam")
    with pytest.raises(ValueError, match=r"Expected a separate optimizer for every network"):
        grouped([shared, None, shared])
    with pytest.raises(ValueError, match=r"Expected a separate optimizer for every network"):
        grouped([shared, None, None]).compile(shared, loss=MSE)


@pytest.mark.parametrize("callback", ["schedule", "plateau"])
def test_the_log_of_the_learning_rate_has_keras_name_and_own_optimizers_keep_their_rate(
    batch, callback
):
    model = grouped([None, new("sgd"), None])
    model.compile(new("adam"), loss=MSE, run_eagerly=True)
    changes = {
        "schedule": keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2),
        "plateau": keras.callbacks.ReduceLROnPlateau("loss", 0.5, patience=0, min_delta=1e9),
    }
    history = model.fit(*batch, callbacks=[changes[callback]], **FIT).history
    assert [name for name in history if "learning_rate" in name] == ["learning_rate"]
    rates = [float(optimizer.learning_rate) for optimizer in model.optimizer.by_network]
    assert rates[1] == pytest.approx(0.2)
    assert rates[0] < 0.01


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_swapping_in_averages_as_each_network_does_alone(batch):
    def averaging():
        return keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.5)

    x, y = batch
    model = grouped(None)
    alone = []
    for network, tasks in zip(model.networks, GROUPS, strict=True):
        plain = dict_network(tasks)
        plain.set_weights(network.get_weights())
        plain.compile(averaging(), loss="mse")
        swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
        plain.fit(x, {task: y[task] for task in tasks}, callbacks=[swap], **FIT)
        alone.append(plain)
    model.compile(averaging(), loss=MSE)
    model.fit(x, y, callbacks=[keras.callbacks.SwapEMAWeights(swap_on_epoch=True)], **FIT)
    for network, plain in zip(model.networks, alone, strict=True):
        assert_equal(network.weights, plain.weights)
    model.compile(new("adam"), loss=MSE)
    with pytest.raises(ValueError, match="use_ema=True"):
        model.fit(x, y, callbacks=[keras.callbacks.SwapEMAWeights(swap_on_epoch=True)], **FIT)
