"""Outputs of one name are refused before training; a dict of outputs tells them apart."""

import keras
import numpy as np
import pytest

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
