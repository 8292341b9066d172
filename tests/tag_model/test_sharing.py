import keras
import numpy as np
import pytest
from tag_models import LOSS, L, data, mlp, relative

from keras_tag import TAGModel


def partly_shared():
    """A trunk for all, a middle for a and b only, an encoder that only c has."""
    inputs = keras.Input((6,))
    trunk = L.Dense(8, "tanh", name="trunk")(inputs)
    middle = L.Dense(5, "tanh", name="middle")(trunk)
    own = L.Dense(4, "tanh", name="own")(inputs)
    return keras.Model(
        inputs,
        {
            "a": L.Dense(2, name="head_a")(middle),
            "b": L.Dense(1, "sigmoid", name="head_b")(middle),
            "c": L.Dense(1, name="head_c")(L.Concatenate()([trunk, own])),
        },
    )


def paths(variables):
    return [v.path for v in variables]


def probed(model, **kwargs):
    tag = TAGModel(model, **kwargs)
    tag.compile("sgd", loss=LOSS)
    return tag, tag.measure_affinity(*data(dtype="float32"))


def test_shared_is_what_two_tasks_losses_depend_on():
    tag, _ = probed(partly_shared())
    assert paths(tag.shared_variables) == [
        "trunk/kernel",
        "trunk/bias",
        "middle/kernel",
        "middle/bias",
    ]


def test_the_report_names_every_variable_and_its_users():
    tag, _ = probed(partly_shared())
    report = tag.sharing_report()
    assert list(report.loc["middle/kernel", ["a", "b", "c"]]) == [True, True, False]
    assert list(report.loc["own/kernel", ["a", "b", "c"]]) == [False, False, True]
    assert report["parameters"].sum() == tag.model.count_params()
    assert list(report.index[report["shared"]]) == paths(tag.shared_variables)


def test_a_task_does_not_move_what_it_does_not_use():
    """With weight decay in the optimizer, c would otherwise shrink the middle of a and b."""
    model = partly_shared()
    tag = TAGModel(model, lookahead="optimizer", shared=["middle"])
    tag.compile(keras.optimizers.AdamW(0.1, weight_decay=0.9), loss=LOSS)
    z = tag.measure_affinity(*data(dtype="float32"))
    np.testing.assert_array_equal(z[tag.tasks.index("c")], 0.0)
    assert (z[tag.tasks.index("a")][:2] != 0).all()


@pytest.mark.parametrize(
    "choose",
    [
        lambda model: ["middle"],
        lambda model: "middle",
        lambda model: [model.get_layer("middle")],
        lambda model: model.get_layer("middle"),
        lambda model: lambda variable: "middle" in variable.path,
        lambda model: ["middle/kernel", "middle/bias"],
    ],
)
def test_shared_can_be_chosen_by_layer_name_or_predicate(choose):
    model = partly_shared()
    tag, z = probed(model, shared=choose(model))
    assert paths(tag.shared_variables) == ["middle/kernel", "middle/bias"]
    np.testing.assert_array_equal(z[tag.tasks.index("c")], 0.0)


def test_a_choice_of_layers_survives_saving(tmp_path):
    model = partly_shared()
    tag, z = probed(model, shared=[model.get_layer("middle")])
    tag.save(tmp_path / "tag.keras")
    loaded = keras.models.load_model(tmp_path / "tag.keras")
    np.testing.assert_array_equal(loaded.measure_affinity(*data(dtype="float32")), z)


def test_a_frozen_layer_is_not_moved():
    model = partly_shared()
    model.get_layer("trunk").trainable = False
    tag, _ = probed(model)
    assert paths(tag.shared_variables) == ["middle/kernel", "middle/bias"]


def test_separate_networks_are_refused():
    inputs = keras.Input((6,))
    model = keras.Model(
        inputs,
        {
            "a": L.Dense(2)(L.Dense(3)(inputs)),
            "b": L.Dense(1)(L.Dense(3)(inputs)),
            "c": L.Dense(1)(L.Dense(3)(inputs)),
        },
    )
    tag = TAGModel(model)
    tag.compile("sgd", loss=LOSS)
    with pytest.raises(ValueError, match="share trainable variables"):
        tag.fit(*data(dtype="float32"), verbose=0)


def test_a_choice_that_selects_nothing_names_the_candidates():
    with pytest.raises(ValueError, match="trunk/kernel"):
        probed(partly_shared(), shared=["head_a"])


def test_a_choice_of_the_wrong_kind_is_refused():
    with pytest.raises(ValueError, match="Expected `shared`"):
        TAGModel(mlp(), shared=[3])


def test_shared_variables_before_a_probe_say_what_to_do():
    tag = TAGModel(mlp())
    tag.compile("sgd", loss=LOSS)
    with pytest.raises(ValueError, match="measure_affinity"):
        tag.shared_variables  # noqa: B018
    tag, z = probed(tag.model)
    assert relative(z, z) == 0
