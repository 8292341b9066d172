"""Networks of one `fit` that stop at different epochs."""

import keras
import numpy as np
import pytest
from grouped_networks import dict_network

from keras_tag import GroupedModel
from keras_tag.callbacks import NetworkEarlyStopping

MSE = dict.fromkeys("abc", "mse")


@pytest.fixture
def halves(batch):
    """Few, noisy labels to train on, so that validation turns up again."""
    x, y = batch
    noise = np.random.default_rng(0)
    train = {task: values[:16] + noise.normal(size=(16, 1)) for task, values in y.items()}
    return x[:16], train, (x[16:], {task: values[16:] for task, values in y.items()})


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_every_network_stops_as_it_would_alone(grouping, halves):
    keras.utils.set_random_seed(1)  # Such that the two stop apart from each other.
    x, y, valid = halves
    grouped = GroupedModel(grouping, dict_network)
    alone, stopped = [], []
    # Network 1 serves only c: a helper's validation loss must not keep it going.
    for index, monitor in enumerate(["val_loss", "val_c_loss"]):
        tasks = grouping.groups[index]
        model = dict_network(tasks)
        for ours, theirs in zip(grouped.networks[index].variables, model.variables, strict=True):
            theirs.assign(ours)
        model.compile(keras.optimizers.Adam(0.05), loss={task: "mse" for task in tasks})
        model.optimizer.build(model.trainable_variables)
        stop = keras.callbacks.EarlyStopping(
            monitor, mode="min", patience=2, restore_best_weights=True
        )
        model.fit(
            x,
            {task: y[task] for task in tasks},
            validation_data=(valid[0], {task: valid[1][task] for task in tasks}),
            epochs=40,
            batch_size=16,
            shuffle=False,
            callbacks=[stop],
            verbose=0,
        )
        alone.append(model)
        stopped.append((stop.stopped_epoch, stop.best_epoch))
    assert 0 < stopped[0][0] != stopped[1][0] > 0, stopped
    callback = NetworkEarlyStopping(patience=2)
    grouped.compile(keras.optimizers.Adam(0.05), loss=MSE)
    history = grouped.fit(
        x,
        y,
        validation_data=valid,
        epochs=40,
        batch_size=16,
        shuffle=False,
        callbacks=[callback],
        verbose=0,
    )
    assert [(s.stopped_epoch, s.best_epoch) for s in callback.stoppers] == stopped
    assert len(history.epoch) == max(epoch for epoch, _ in stopped) + 1
    for network, model in zip(grouped.networks, alone, strict=True):
        for ours, theirs in zip(network.variables, model.variables, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9, err_msg=ours.path)
    assert grouped.trained_networks == (0, 1)


def test_a_network_that_is_not_trained_does_not_change(grouping, batch):
    model = GroupedModel(grouping, lambda tasks: dict_network(tasks, dropout=0.5, batch_norm=True))
    model.compile("adam", loss=MSE, run_eagerly=True)
    model.fit(*batch, verbose=0)
    before = [variable.numpy() for variable in model.networks[0].variables]
    other = model.networks[1].get_weights()
    model.train_only([1])
    model.fit(*batch, verbose=0)
    for variable, value in zip(model.networks[0].variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    assert np.abs(model.networks[1].get_weights()[0] - other[0]).max() > 0


def test_an_epoch_without_validation_stops_nothing(grouping, batch):
    model = GroupedModel(grouping, dict_network)
    model.compile(keras.optimizers.SGD(0.0), loss=MSE, run_eagerly=True)
    history = model.fit(
        *batch,
        validation_data=batch,
        validation_freq=2,
        epochs=6,
        callbacks=[NetworkEarlyStopping(patience=1)],
        verbose=0,
    )
    # Epochs 1 and 3 (from 0) validate; the second of them brings nothing new.
    assert len(history.epoch) == 4


def test_refuses_other_monitors_settings_and_models(batch):
    with pytest.raises(ValueError, match=r"Expected `monitor`"):
        NetworkEarlyStopping("val_accuracy")
    with pytest.raises(TypeError, match="patients"):
        NetworkEarlyStopping(patients=3)
    model = dict_network("abc")
    model.compile("sgd", loss=MSE)
    with pytest.raises(ValueError, match=r"callback of a keras_tag\.GroupedModel"):
        model.fit(*batch, callbacks=[NetworkEarlyStopping()], verbose=0)


def test_refuses_indices_of_no_network(grouping):
    with pytest.raises(ValueError, match=r"0 to 1\. Received: networks=\(2,\)"):
        GroupedModel(grouping, dict_network).train_only([2])
