"""Outputs of one name are refused before training; a dict of outputs tells them apart."""

import keras
import numpy as np
import pytest
from quick import quick

from keras_tag import GroupedModel, Grouping, TAGModel, build_from

L = keras.layers


def called_twice(outputs=lambda first, second: [first, second]):
    inputs = keras.Input((6,))
    h = L.Dense(4, name="trunk")(inputs)
    head = L.Dense(1, name="out")
    return keras.Model(inputs, outputs(head(h), head(L.Dense(4, name="more")(h))))


def same_names():
    """Two submodels whose last layers have one name, in a list of outputs."""
    inputs = keras.Input((6,))
    h = L.Dense(4)(inputs)
    part = keras.Model(x := keras.Input((4,)), L.Dense(1)(x), name="head")
    return keras.Model(inputs, (part(h), part(L.Dense(4)(h)), L.Dense(1, name="other")(h)))


@keras.saving.register_keras_serializable(package="tests")
class TwoOutputs(keras.Model):
    output_names = ("y", "y")

    def __init__(self):
        super().__init__()
        self.trunk, self.first, self.second = L.Dense(4), L.Dense(1), L.Dense(1)

    def call(self, x):
        h = self.trunk(x)
        return [self.first(h), self.second(h)]


@pytest.mark.parametrize("make", [called_twice, same_names])
def test_two_outputs_of_one_name_are_refused_when_wrapped(make):
    with pytest.raises(ValueError, match=r"Name them with a dict: keras.Model"):
        TAGModel(make())
    with pytest.raises(ValueError, match="different names"):
        build_from(make())


def test_a_subclassed_model_with_them_is_refused_before_a_step():
    x = np.ones((4, 6))
    tag = TAGModel(TwoOutputs())
    tag.compile("sgd", loss="mse")
    with pytest.raises(ValueError, match="different names"):
        tag.fit(x, [x[:, :1], x[:, :1]], verbose=0)


@pytest.mark.usefixtures("float64")
def test_a_dict_of_the_same_outputs_trains_as_plain_keras_does():
    """The way out that the error names, also for a model whose layers' names collide."""
    x = np.random.default_rng(0).normal(size=(32, 6))
    y = {"a": x[:, :1], "b": -3 * x[:, 1:2]}
    histories = []
    for wrap in (
        lambda model: model,
        lambda model: TAGModel(model, every=1),
        lambda model: GroupedModel(
            Grouping.from_groups([("a", "b")]), build_from(model, start="all", verbose=False)
        ),
    ):
        keras.utils.set_random_seed(1)
        model = called_twice()
        model = wrap(keras.Model(model.inputs, dict(zip("ab", model.outputs, strict=True))))
        model.compile("sgd", loss={"a": "mse", "b": "mse"}, metrics={"b": ["mae"]})
        histories.append(model.fit(x, y, epochs=2, shuffle=False, verbose=0).history)
    assert histories[0] == histories[1]
    for name, values in histories[0].items():
        assert values == pytest.approx(histories[2][name], rel=1e-9), name


def test_names_are_strings():
    inputs = keras.Input((4,))
    tag = TAGModel(keras.Model(inputs, {k: L.Dense(1)(L.Dense(3)(inputs)) for k in (0, 1)}))
    tag.compile("sgd", loss="mse")
    x = np.ones((4, 4))
    with pytest.raises(ValueError, match=r"named by strings. Received: \[0, 1\]"):
        tag.measure_affinity(x, {0: x[:, :1], 1: x[:, :1]})


def outputs_of(kind, inputs):
    hidden = L.Dense(6, "tanh", name="trunk")(inputs)
    if kind == "keys that are other heads' names":
        return {"a": L.Dense(1, name="b")(hidden), "b": L.Dense(1, name="a")(hidden)}
    if kind == "one tensor twice":
        head = L.Dense(1)(hidden)
        return {"a": head, "b": head}
    if kind == "a nested model's dict":
        j = keras.Input((6,))
        return keras.Model(j, {"a": L.Dense(1)(j), "b": L.Dense(1)(j)}, name="heads")(hidden)
    if kind == "slices of one head":
        both = L.Dense(2)(hidden)
        return {"a": both[:, :1], "b": both[:, 1:]}
    if kind == "a tuple":
        return L.Dense(1, name="b")(hidden), L.Dense(1, name="a")(hidden)
    head = L.Dense(1, name="head")
    return {"a": head(hidden), "b": head(L.Dense(6)(hidden))}


KINDS = (
    "keys that are other heads' names",
    "one tensor twice",
    "a nested model's dict",
    "slices of one head",
    "a tuple",
    "one head twice",
)


@pytest.mark.parametrize("kind", quick(KINDS, ["keys that are other heads' names"]))
def test_outputs_are_paired_with_labels_as_in_plain_keras(kind):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(12, 4))
    y = {task: rng.normal(size=(12, 1)) for task in "ab"}
    loss = {"a": "mse", "b": "mae"}
    ends = []
    for wrap in (lambda model: model, lambda model: TAGModel(model, every=2)):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((4,))
        model = keras.Model(inputs, outputs_of(kind, inputs))
        outer = wrap(model)
        outer.compile(keras.optimizers.SGD(0.1), loss=loss, run_eagerly=True)
        outer.fit(x, y, batch_size=4, shuffle=False, verbose=0)
        ends.append(model.get_weights())
    for ours, theirs in zip(*ends, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    named = model(x)
    named = named if isinstance(named, dict) else dict(zip(model.output_names, named, strict=True))
    build = build_from(model, start="all", verbose=False)
    for task in "ab":
        np.testing.assert_allclose(build((task,))(x)[task], named[task], rtol=1e-6)
