"""`split_outputs`: the columns of one multi-label head are tasks, and labels stay one array."""

import keras
import numpy as np
import pytest

import keras_tag
from keras_tag import GroupedModel, Grouping, TAGModel, build_from, split_outputs

L = keras.layers
NAMES = ["smiling", "young", "hat"]
GROUPS = Grouping.from_groups([("smiling", "hat"), ("young",)])
RNG = np.random.default_rng(0)
X = RNG.normal(size=(48, 6)).astype("float32")
Y = (X @ RNG.normal(size=(6, 3)) > 0).astype("float32")


BIASES = keras.initializers.Constant([-1.0, -2.0, -3.0])


def attributes(last="dense"):
    keras.utils.set_random_seed(3)
    heads = {
        "dense": [L.Dense(3, "sigmoid")],
        "activation": [L.Dense(3), L.Activation("sigmoid")],
        "no_bias": [L.Dense(3, "sigmoid", use_bias=False, kernel_regularizer="l2")],
        # Log odds of rare labels, another constant for every column.
        "biases": [L.Dense(3, "sigmoid", bias_initializer=BIASES)],
    }
    return keras.Sequential([keras.Input((6,)), L.Dense(4, "tanh", name="trunk"), *heads[last]])


@pytest.mark.parametrize("last", ["dense", "activation", "no_bias", "biases"])
def test_outputs_are_the_columns_and_training_is_that_of_the_one_head(last):
    plain = attributes(last)
    split = split_outputs(attributes(last), NAMES)
    assert split.output_names == NAMES
    columns = np.hstack(split.predict(X, verbose=0))
    np.testing.assert_allclose(columns, plain.predict(X, verbose=0), rtol=1e-5)
    plain.compile(keras.optimizers.SGD(0.5), loss="binary_crossentropy")
    right = plain.fit(X, Y, shuffle=False, epochs=2, verbose=0).history["loss"]
    tag = TAGModel(split, every=1)
    tag.compile(
        keras.optimizers.SGD(0.5), loss=["binary_crossentropy"] * 3, loss_weights=[1 / 3] * 3
    )
    ours = tag.fit(X, Y, shuffle=False, epochs=2, verbose=0).history["loss"]
    np.testing.assert_allclose(ours, right, rtol=1e-5)
    assert tag.tasks == tuple(NAMES)
    assert all("trunk" in variable.path for variable in tag.shared_variables)
    assert np.isfinite(tag.affinity().mean).all()


def test_labels_stay_one_array_all_the_way_with_labels_missing_by_column(tmp_path):
    y = Y.copy()
    y[::2, 1] = np.nan
    tag = TAGModel(split_outputs(attributes(), NAMES), every=1)
    tag.compile("sgd", loss="binary_crossentropy", weighted_metrics=[["accuracy"]] * 3)
    logs = tag.evaluate(X, y, batch_size=48, verbose=0, return_dict=True)
    young = np.asarray(tag(X)[1])[1::2, 0]
    right = keras.losses.binary_crossentropy(Y[1::2, 1], young)
    assert logs["young_loss"] == pytest.approx(float(right), rel=1e-5)
    assert logs["young_accuracy"] == pytest.approx(np.mean((young > 0.5) == Y[1::2, 1]))
    tag.fit(X, y, verbose=0)

    served = GroupedModel(GROUPS, build_from(tag, start="all", verbose=False))
    served.compile("sgd", loss="binary_crossentropy")
    before = served.predict(X, verbose=0)
    np.testing.assert_allclose(before["young"], tag.predict(X, verbose=0)[1], rtol=1e-6)
    one = served.evaluate(X, y, batch_size=48, verbose=0, return_dict=True)
    columns = {name: y[:, [i]] for i, name in enumerate(NAMES)}
    by_task = served.evaluate(X, columns, batch_size=48, verbose=0, return_dict=True)
    assert one == pytest.approx(by_task)
    served.fit(X, y, verbose=0)
    served.save(tmp_path / "served.keras")
    again = keras.models.load_model(tmp_path / "served.keras")
    again.fit(X, y, verbose=0)
    only = GroupedModel(Grouping.from_groups([("young",)]), build_from(tag, verbose=False))
    only.compile("sgd", loss="binary_crossentropy")
    assert [head.name for head in only.networks[0].layers][-1] == "young"
    only.fit(X, y, verbose=0)


def test_sample_weights_are_one_for_all_or_have_a_column_per_task():
    tag = TAGModel(split_outputs(attributes(), NAMES), every=1)
    weights = RNG.uniform(size=(48, 3)).astype("float32")
    single = [weights[:, i] for i in range(3)]
    logs = []
    for given in (weights, single):
        tag.compile("sgd", loss="binary_crossentropy")
        y = Y if given is weights else [Y[:, [i]] for i in range(3)]
        logs.append(
            tag.evaluate(X, y, sample_weight=given, batch_size=48, verbose=0, return_dict=True)
        )
    assert logs[0] == pytest.approx(logs[1])


def test_fresh_networks_start_with_the_constants_of_their_columns():
    build = build_from(split_outputs(attributes("biases"), NAMES), verbose=False)
    head = build(("hat",)).get_layer("hat")
    np.testing.assert_array_equal(head.bias, [-3.0])


def test_labels_may_stand_under_the_name_of_the_head():
    plain = attributes()
    model = split_outputs(keras.Model(plain.inputs, {"attributes": plain.outputs[0]}), NAMES)
    tag = TAGModel(model)
    served = GroupedModel(GROUPS, build_from(model, verbose=False))
    for given in (tag, served):
        given.compile("sgd", loss="binary_crossentropy", run_eagerly=True)
        named = {"attributes": Y}, {"attributes": np.arange(48.0)}
        logs = [
            given.evaluate(X, y, sample_weight=weight, verbose=0, return_dict=True)
            for y, weight in ((Y, np.arange(48.0)), named)
        ]
        assert logs[0] == pytest.approx(logs[1])


def test_weights_per_position_are_no_columns():
    inputs = keras.Input((3, 6))
    model = split_outputs(keras.Model(inputs, L.Dense(3, "sigmoid")(inputs)), NAMES)
    x, y = X[:45].reshape(15, 3, 6), Y[:45].reshape(15, 3, 3)
    weights = RNG.uniform(size=(15, 3)).astype("float32")
    tag = TAGModel(model)
    tag.compile("sgd", loss="mse", run_eagerly=True)
    logs = tag.evaluate(x, y, sample_weight=weights, verbose=0, return_dict=True)
    for i, name in enumerate(NAMES):
        right = np.mean(weights * (np.asarray(model(x)[i])[..., 0] - y[..., i]) ** 2)
        assert logs[f"{name}_loss"] == pytest.approx(right, rel=1e-5)


@pytest.mark.parametrize(
    ("model", "names", "message"),
    [
        (attributes, ["a", "b"], "3 different names"),
        (attributes, ["a", "b", "a"], "3 different names"),
        (attributes, ["a", "trunk", "b"], r"Received: \['trunk'\]"),
        (lambda: keras.Sequential([L.Dense(3)]), NAMES, "has been built"),
        (
            lambda: keras.Sequential([keras.Input((6,)), L.Dense(3, "softmax")]),
            NAMES,
            "the classes of one task",
        ),
        (
            lambda: keras.Sequential([keras.Input((6,)), L.Dense(3), L.Dropout(0.1)]),
            NAMES,
            "ends in Dropout",
        ),
        (
            lambda: keras.Model(i := keras.Input((6,)), [L.Dense(3)(i), L.Dense(1)(i)]),
            NAMES,
            "one head per column",
        ),
    ],
)
def test_refuses_other_models_and_names(model, names, message):
    with pytest.raises(ValueError, match=message):
        split_outputs(model(), names)


def test_refuses_labels_with_other_columns_and_names_the_way_from_one_output():
    tag = TAGModel(split_outputs(attributes(), NAMES))
    tag.compile("sgd", loss="binary_crossentropy", run_eagerly=True)
    with pytest.raises(ValueError, match="labels with 3 columns"):
        tag.fit(X, Y[:, :2], verbose=0)
    one = TAGModel(attributes())
    one.compile("sgd", loss="binary_crossentropy")
    with pytest.raises(ValueError, match=r"keras_tag\.split_outputs"):
        one.fit(X, Y, verbose=0)
    assert keras_tag.split_outputs is split_outputs
