"""Training, logs, serving and errors of `GroupedModel`."""

import keras
import numpy as np
import pytest
from grouped_networks import SubclassedNetwork, dict_network, sequential_network

from keras_tag import GroupedModel, Grouping

MSE = dict.fromkeys("abc", "mse")


def test_serves_every_task_from_the_network_that_serves_it(grouping, builder, batch):
    x, _ = batch
    model = GroupedModel(grouping, builder)
    served = model.predict(x, verbose=0)
    called = model(x)
    assert list(served) == list(called) == ["a", "b", "c"]
    for task, index in grouping.serves.items():
        alone = model.networks[index](x)
        if not isinstance(alone, dict):
            alone = dict(zip(model.networks[index].output_names, alone, strict=True))
        np.testing.assert_array_equal(called[task], alone[task])
        np.testing.assert_allclose(served[task], alone[task], rtol=1e-5, atol=1e-6)


def test_one_group_logs_what_the_plain_model_logs(batch):
    x, y = batch
    weight = {task: np.linspace(0, 2, 48) for task in "abc"}
    grouped = GroupedModel(Grouping.from_groups([("a", "b", "c")]), dict_network)
    plain = keras.models.clone_model(grouped.networks[0])
    plain.set_weights(grouped.networks[0].get_weights())
    histories = []
    for model in (grouped, plain):
        # The few steps of this and other tests take longer to trace than to run.
        model.compile(
            keras.optimizers.Adam(0.01),
            loss={"a": "mse", "b": keras.losses.Huber(), "c": keras.losses.mean_absolute_error},
            loss_weights={"a": 1.0, "b": 2.0, "c": 0.5},
            metrics={"a": ["mae"], "c": [keras.metrics.RootMeanSquaredError()]},
            weighted_metrics={"b": ["mae"]},
            run_eagerly=True,
        )
        fit = model.fit(
            x,
            y,
            sample_weight=weight,
            batch_size=16,
            epochs=2,
            shuffle=False,
            validation_data=(x, y, weight),
            verbose=0,
        )
        histories.append(fit.history)
    ours, theirs = histories
    assert set(ours) == {*theirs, "optimized_loss", "val_optimized_loss"}
    for name, values in theirs.items():
        np.testing.assert_allclose(ours[name], values, rtol=1e-5, err_msg=name)
    np.testing.assert_allclose(ours["optimized_loss"], theirs["loss"], rtol=1e-5)
    np.testing.assert_allclose(
        grouped.compute_loss(x, y, grouped(x)), plain.compute_loss(x, y, plain(x)), rtol=1e-6
    )


def test_loss_is_what_is_served_and_optimized_loss_what_is_minimised(grouping, batch):
    x, y = batch
    model = GroupedModel(grouping, lambda tasks: dict_network(tasks, regularizer="l2"))
    weights = {"a": 1.0, "b": 2.0, "c": 3.0}
    model.compile("sgd", loss=MSE, loss_weights=weights)
    logs = model.evaluate(x, y, batch_size=32, verbose=0, return_dict=True)
    outputs = [network.predict(x, verbose=0) for network in model.networks]

    def loss(task, index):
        return weights[task] * np.mean((outputs[index][task] - y[task]) ** 2)

    served = loss("a", 0) + loss("b", 0) + loss("c", 1)
    penalties = sum(0.01 * np.sum(net.get_layer("trunk").kernel ** 2) for net in model.networks)
    np.testing.assert_allclose(logs["loss"], served, rtol=1e-5)
    np.testing.assert_allclose(logs["optimized_loss"], served + loss("a", 1) + penalties, rtol=1e-5)
    assert set(logs) == {"loss", "optimized_loss", "a_loss", "b_loss", "c_loss"}


def test_helper_losses_are_logged_under_their_group_if_asked(tmp_path, grouping, batch):
    x, y = batch
    model = GroupedModel(grouping, dict_network, helper_losses=True, serve=["b", "c"])
    model.compile("sgd", loss=MSE, loss_weights={"a": 2.0, "b": 1.0, "c": 1.0})
    model.save(tmp_path / "served.keras")
    logs = keras.models.load_model(tmp_path / "served.keras").evaluate(
        x, y, batch_size=32, verbose=0, return_dict=True
    )
    helpers = {"group_0/a_loss": 0, "group_1/a_loss": 1}
    assert set(logs) == {"loss", "optimized_loss", "b_loss", "c_loss", *helpers}
    for name, index in helpers.items():
        output = model.networks[index](x)["a"]
        assert logs[name] == pytest.approx(np.mean((output - y["a"]) ** 2), rel=1e-5)
    total = logs["loss"] + 2 * sum(logs[name] for name in helpers)
    assert logs["optimized_loss"] == pytest.approx(total, rel=1e-5)


def test_class_weights_are_given_as_sample_weights_by_task(grouping, batch):
    x, _ = batch
    y = {task: (np.arange(48) % 3 == 0).astype("float32") for task in "abc"}
    model = GroupedModel(grouping, dict_network)
    model.compile("sgd", loss="mse")
    # Keras says so before any batch is seen, for every model with several outputs.
    with pytest.raises(ValueError, match="`class_weight` is only supported for Models with a sing"):
        model.fit(x, y, class_weight={0: 1.0, 1: 5.0}, verbose=0)
    weight = {"a": None, "b": np.where(y["b"] == 1, 5.0, 1.0), "c": None}
    errors = (y["b"] - model(x)["b"].numpy()[:, 0]) ** 2
    logs = model.evaluate(x, y, sample_weight=weight, batch_size=48, verbose=0, return_dict=True)
    assert logs["b_loss"] == pytest.approx(np.mean(weight["b"] * errors), rel=1e-5)


def test_cross_entropies_and_integer_labels_as_in_the_plain_model():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(32, 5))
    y = {"a": rng.integers(0, 2, size=32), "b": rng.integers(0, 4, size=32)}

    def build(tasks):
        inputs = keras.Input((5,))
        heads = {
            "a": keras.layers.Dense(1, activation="sigmoid", name="a"),
            "b": keras.layers.Dense(4, activation="softmax", name="b"),
        }
        return keras.Model(inputs, {task: heads[task](inputs) for task in tasks})

    spec = {
        "loss": {"a": "binary_crossentropy", "b": "crossentropy"},
        "metrics": {"a": ["accuracy"], "b": ["accuracy"]},
    }
    grouped = GroupedModel(Grouping.from_groups([("a", "b")]), build)
    grouped.compile("sgd", **spec)
    grouped.networks[0].compile("sgd", **spec)
    ours = grouped.evaluate(x, y, verbose=0, return_dict=True)
    theirs = grouped.networks[0].evaluate(x, y, verbose=0, return_dict=True)
    assert {"a_accuracy", "b_accuracy"} <= set(ours)
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value, rel=1e-5)


def test_one_loss_for_all_tasks(grouping, batch):
    x, y = batch
    model = GroupedModel(grouping, dict_network)
    model.compile("sgd", loss="mse", run_eagerly=True)
    one = model.evaluate(x, y, verbose=0)
    model.compile("sgd", loss=MSE, run_eagerly=True)
    assert model.evaluate(x, y, verbose=0) == pytest.approx(one)


@pytest.mark.parametrize("network", [dict_network, SubclassedNetwork, sequential_network])
def test_every_kind_of_network_learns(network, batch):
    x, y = batch
    model = GroupedModel(Grouping.from_groups([("a", "b"), ("c",)]), network)
    model.compile(keras.optimizers.Adam(0.05), loss=MSE)
    losses = model.fit(x, y, batch_size=48, epochs=10, verbose=0).history["loss"]
    assert losses[-1] < 0.5 * losses[0]


def test_compiling_again_takes_the_new_losses(grouping, batch):
    x, y = batch
    model = GroupedModel(grouping, dict_network)
    model.compile("sgd", loss=MSE, run_eagerly=True)
    before = model.evaluate(x, y, verbose=0, return_dict=True)
    model.compile("sgd", loss=MSE, loss_weights=dict.fromkeys("abc", 2.0), run_eagerly=True)
    after = model.evaluate(x, y, verbose=0, return_dict=True)
    assert after["loss"] == pytest.approx(2 * before["loss"], rel=1e-5)
    assert after["a_loss"] == pytest.approx(before["a_loss"], rel=1e-5)


@pytest.mark.parametrize("grouping", [None, [("a", "b")]])
def test_refuses_what_is_no_grouping(grouping):
    with pytest.raises(ValueError, match=r"Expected `grouping` to be a keras_tag\.Grouping"):
        GroupedModel(grouping, dict_network)


def test_refuses_outputs_that_were_not_asked_for(grouping):
    with pytest.raises(ValueError, match=r"build_model\(\('a', 'b'\)\).*\['a', 'b', 'c'\]"):
        GroupedModel(grouping, lambda tasks: dict_network("abc"))


def test_refuses_outputs_of_a_subclassed_network_when_it_is_called(grouping, batch):
    class Wrong(keras.Model):
        def call(self, inputs):
            return {"a": inputs}

    model = GroupedModel(grouping, lambda tasks: Wrong())
    with pytest.raises(ValueError, match=r"build_model\(\('a', 'b'\)\).*\['a'\]"):
        model(batch[0])


def test_refuses_networks_that_share_layers(grouping):
    trunk = keras.layers.Dense(3, name="trunk")

    def build(tasks):
        inputs = keras.Input((5,))
        hidden = trunk(inputs)
        return keras.Model(inputs, {t: keras.layers.Dense(1, name=t)(hidden) for t in tasks})

    with pytest.raises(ValueError, match=r"Networks 0 and 1 share"):
        GroupedModel(grouping, build)


def test_refuses_a_network_that_is_no_keras_model(grouping):
    with pytest.raises(ValueError, match=r"return a keras\.Model"):
        GroupedModel(grouping, lambda tasks: keras.layers.Dense(1))


@pytest.mark.parametrize("method", ["fit", "evaluate"])
def test_names_the_task_without_labels(grouping, batch, method):
    x, y = batch
    model = GroupedModel(grouping, dict_network)
    model.compile("sgd", loss=MSE)
    del y["c"]
    with pytest.raises(ValueError, match=r"labels for every task.*Missing: \['c'\]"):
        getattr(model, method)(x, y, verbose=0)


@pytest.mark.parametrize(
    ("compiled", "message"),
    [
        ({"loss": {"a": "mse", "b": "mse"}}, r"`loss`.*Missing: \['c'\]"),
        ({"loss": {"a": "mse", "b": "mse", "z": "mse"}}, r"`loss`.*Missing: \['c'\]"),
        ({"loss": None}, r"Expected `loss` to be a dict"),
        ({"loss": MSE, "loss_weights": {"a": 2.0}}, r"`loss_weights`.*Missing: \['b', 'c'\]"),
        ({"loss": MSE, "optimizer": None}, r"Expected an optimizer"),
    ],
)
def test_names_what_compile_lacks(grouping, batch, compiled, message):
    model = GroupedModel(grouping, dict_network)
    model.compile(**compiled)
    with pytest.raises(ValueError, match=message):
        model.fit(*batch, verbose=0)


def test_refuses_to_fit_uncompiled(grouping, batch):
    with pytest.raises(ValueError, match=r"call `compile\(\)`"):
        GroupedModel(grouping, dict_network).fit(*batch, verbose=0)


def test_a_task_that_is_not_served_is_trained_and_never_seen(tmp_path, grouping, batch):
    x, y = batch
    model = GroupedModel(grouping, dict_network, serve=["a", "c"])
    model.compile("sgd", loss=MSE, metrics={"a": ["mae"]}, run_eagerly=True)
    before = model.networks[0].get_layer("b").kernel.numpy()
    history = model.fit(x, y, verbose=0).history
    assert np.abs(model.networks[0].get_layer("b").kernel - before).max() > 0
    assert set(history) == {"loss", "optimized_loss", "a_loss", "c_loss", "a_mae"}
    assert history["optimized_loss"][0] > history["loss"][0]
    model.save(tmp_path / "served.keras")
    for twin in (model, keras.models.load_model(tmp_path / "served.keras")):
        assert list(twin.predict(x, verbose=0)) == ["a", "c"]


@pytest.mark.parametrize("serve", [["a", "z"], ["a", "b"], []])
def test_refuses_to_serve_unknown_tasks_or_none_of_a_network(grouping, serve):
    with pytest.raises(ValueError, match=r"Expected `serve` to name tasks"):
        GroupedModel(grouping, dict_network, serve=serve)


def test_a_single_task_logs_what_the_plain_model_logs(batch):
    x, y = batch
    grouped = GroupedModel(Grouping.from_groups([("a",)]), dict_network)
    grouped.compile("sgd", loss={"a": "mse"}, metrics={"a": ["mae"]})
    plain = grouped.networks[0]
    plain.compile("sgd", loss={"a": "mse"}, metrics={"a": ["mae"]})
    ours = grouped.evaluate(x, {"a": y["a"]}, verbose=0, return_dict=True)
    theirs = plain.evaluate(x, {"a": y["a"]}, verbose=0, return_dict=True)
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value, rel=1e-5)
    assert grouped.evaluate(x, y["a"], verbose=0, return_dict=True) == ours


def test_training_is_restored_after_an_interruption(tmp_path, grouping, batch):
    class Interrupt(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise InterruptedError

    start, ends = None, []
    for interruptions in (1, 0):
        model = GroupedModel(grouping, dict_network)
        start = start or model.get_weights()
        model.set_weights(start)
        model.compile(keras.optimizers.Adam(0.05), loss=MSE, run_eagerly=True)
        folder = tmp_path / str(interruptions)
        fit = {"epochs": 4, "shuffle": False, "verbose": 0}
        if interruptions:
            backup = keras.callbacks.BackupAndRestore(folder)
            with pytest.raises(InterruptedError):
                model.fit(*batch, callbacks=[backup, Interrupt()], **fit)
            model = GroupedModel(grouping, dict_network)
            model.compile(keras.optimizers.Adam(0.05), loss=MSE, run_eagerly=True)
        model.fit(*batch, callbacks=[keras.callbacks.BackupAndRestore(folder)], **fit)
        assert [int(opt.iterations) for opt in model.optimizer.by_network] == [8, 8]
        ends.append(model.get_weights())
    for restored, through in zip(*ends, strict=True):
        np.testing.assert_allclose(restored, through, rtol=1e-5, atol=1e-6)
