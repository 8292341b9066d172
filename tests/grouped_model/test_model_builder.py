"""`build_from` cuts the joint model into networks for some of its tasks."""

import importlib
import pkgutil

import keras
import numpy as np
import pytest
from grouped_networks import SubclassedNetwork, dict_network, list_network, sequential_network

import keras_tag
from keras_tag import GroupedModel, build_from


def names(model):
    """The layers' names; Keras renames an unnamed input when it clones."""
    return {layer.name for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)}


@pytest.mark.parametrize("joint", [dict_network, list_network, sequential_network])
def test_builds_only_what_the_tasks_need(grouping, batch, joint):
    model = joint("abc")
    before = model.get_weights()
    part = build_from(model)(("c", "a"))
    assert names(part) == names(model) - {"b"}
    assert list(part(batch[0])) == ["c", "a"]
    assert not {id(v) for v in part.variables} & {id(v) for v in model.variables}
    for ours, theirs in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_tag_model_stands_for_the_model_in_it(grouping, batch):
    joint = dict_network("abc")
    tag = keras_tag.TAGModel(joint)
    part = build_from(tag)(("c", "a"))
    assert names(part) == names(joint) - {"b"}
    warm = GroupedModel(grouping, build_from(tag, start="all"))
    for task, output in joint(batch[0]).items():
        np.testing.assert_array_equal(warm(batch[0])[task], output)
    with pytest.raises(ValueError, match=r"of type SubclassedNetwork"):
        build_from(keras_tag.TAGModel(SubclassedNetwork("abc")))


def test_weights_are_fresh_on_every_call():
    build_model = build_from(dict_network("abc"))
    kernels = [build_model("ab").get_layer("trunk").kernel.numpy() for _ in range(2)]
    assert np.abs(kernels[0] - kernels[1]).max() > 0.01


def test_cut_network_with_copied_weights_computes_what_the_joint_model_does(grouping, batch):
    joint = dict_network("abc", batch_norm=True)
    joint.get_layer("norm").moving_mean.assign(np.arange(6.0))
    model = GroupedModel(grouping, build_from(joint, start="all"))
    for task, output in joint(batch[0]).items():
        np.testing.assert_array_equal(model(batch[0])[task], output)


def test_keeps_inputs_that_a_group_does_not_need(batch):
    left, right = keras.Input((5,), name="left"), keras.Input((5,), name="right")
    outputs = {
        "a": keras.layers.Dense(1)(left),
        "b": keras.layers.Dense(1)(keras.layers.concatenate([left, right])),
    }
    joint = keras.Model({"left": left, "right": right}, outputs)
    part = build_from(joint)(("a",))
    assert part({"left": batch[0], "right": batch[0]})["a"].shape == (48, 1)


@pytest.mark.parametrize("model", [SubclassedNetwork, keras.Sequential])
def test_refuses_models_without_a_graph(model):
    with pytest.raises(ValueError, match=r"Expected `model` to be a functional"):
        build_from(model("abc") if model is SubclassedNetwork else model())


def test_refuses_unknown_tasks():
    with pytest.raises(ValueError, match=r"unknown: \['z'\]"):
        build_from(dict_network("abc"))(("a", "z"))


def test_model_with_copied_weights_is_saved_and_loaded(tmp_path, grouping, batch):
    joint = dict_network("abc")
    model = GroupedModel(grouping, build_from(joint, start="all"))
    model.save(tmp_path / "served.keras")
    loaded = keras.models.load_model(tmp_path / "served.keras")
    np.testing.assert_array_equal(loaded(batch[0])["c"], joint(batch[0])["c"])


def test_the_public_name_stays_the_function_whatever_is_imported():
    for module in pkgutil.iter_modules(keras_tag.__path__):
        if module.name != "__main__":
            importlib.import_module(f"keras_tag.{module.name}")
    assert keras_tag.build_from is keras_tag.grouped_model.builder.build_from
