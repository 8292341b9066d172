"""Every wrong argument has its own message, which says what to do."""

import keras
import numpy as np
import pytest
from tag_models import LOSS, L, data, mlp

from keras_tag import GroupedModel, Grouping, GroupSearch, TAGModel


def compiled(**kwargs):
    tag = TAGModel(mlp(), **kwargs)
    tag.compile("sgd", loss=LOSS)
    return tag


def test_not_a_model():
    with pytest.raises(TypeError, match=r"keras\.Model. Received: str"):
        TAGModel("resnet")


@pytest.mark.parametrize("every", [0, -1, 1.5, "10", True])
def test_every_out_of_range(every):
    with pytest.raises(ValueError, match="Expected `every`"):
        TAGModel(mlp(), every=every)


@pytest.mark.parametrize("steps", [0, 2.0])
def test_steps_out_of_range(steps):
    with pytest.raises(ValueError, match="Expected `steps`"):
        TAGModel(mlp(), steps=steps)


@pytest.mark.parametrize("missing", ["-1", [-1, -2], {"a": -1}])
def test_a_missing_label_is_a_number(missing, tmp_path):
    groups = Grouping.from_groups([("a", "b", "c")])
    for made in (
        lambda: TAGModel(mlp(), missing=missing),
        lambda: GroupedModel(groups, lambda tasks: mlp(), missing=missing),
        lambda: GroupSearch(compiled(), 2, missing=missing, directory=tmp_path),
    ):
        with pytest.raises(ValueError, match="Expected `missing` to be one number"):
            made()
    for number in (-1, np.float32(-1), np.int64(-1), float("nan"), None):
        assert TAGModel(mlp(), missing=number).missing is number


def test_unknown_lookahead():
    with pytest.raises(ValueError, match="'first_order', 'cosine'"):
        TAGModel(mlp(), lookahead="adam")


@pytest.mark.parametrize("rate", [-0.1, float("nan"), float("inf"), "fast"])
def test_a_rate_that_is_none(rate):
    with pytest.raises(ValueError, match="Expected `lookahead_rate`"):
        TAGModel(mlp(), lookahead_rate=rate)


@pytest.mark.parametrize(
    "options",
    [
        {"lookahead": "optimizer", "lookahead_rate": 0.1},
        {"lookahead": "cosine", "lookahead_rate": 0.1},
        {"lookahead": "first_order", "steps": 2},
        {"lookahead": "cosine", "steps": 2},
    ],
    ids=str,
)
def test_options_that_mean_nothing_together(options):
    with pytest.raises(ValueError, match="with lookahead="):
        TAGModel(mlp(), **options)


def test_a_model_with_a_training_step_of_its_own():
    class Own(keras.Model):
        def train_step(self, data):
            return {}

    with pytest.raises(ValueError, match="Own overrides `train_step`"):
        TAGModel(Own())


def test_one_task_only():
    inputs = keras.Input((6,))
    tag = TAGModel(keras.Model(inputs, {"a": L.Dense(1)(inputs)}))
    tag.compile("sgd", loss={"a": "mse"})
    with pytest.raises(ValueError, match="at least two tasks"):
        tag.fit(np.ones((4, 6)), {"a": np.ones((4, 1))}, verbose=0)


def test_nested_outputs():
    inputs = keras.Input((6,))
    nested = {"u": {"a": L.Dense(1)(inputs), "b": L.Dense(1)(inputs)}, "v": L.Dense(1)(inputs)}
    tag = TAGModel(keras.Model(inputs, nested))
    tag.compile("sgd", loss="mse")
    with pytest.raises(ValueError, match="flat dict"):
        tag.tasks  # noqa: B018


@pytest.mark.parametrize(
    "use",
    [
        lambda tag, x, y: tag.fit(x, y, verbose=0),
        lambda tag, x, y: tag.measure_affinity(x, y),
        lambda tag, x, y: tag.tasks,
    ],
)
def test_not_compiled(use):
    with pytest.raises(ValueError, match="compile"):
        use(TAGModel(mlp()), *data(8))


def test_affinity_before_any_probe():
    with pytest.raises(ValueError, match="call `fit` first"):
        compiled().affinity()


def test_unknown_task_in_the_losses():
    tag = TAGModel(mlp())
    tag.compile("sgd", loss={**LOSS, "depth": "mse"})
    with pytest.raises(ValueError, match=r"unknown names: \['depth'\]"):
        tag.fit(*data(8), verbose=0)


@pytest.mark.parametrize("use", ["fit", "evaluate", "measure_affinity"])
def test_labels_missing_for_a_task(use):
    x, y = data(8)
    del y["b"]
    with pytest.raises(ValueError, match=r"no labels for \['b'\]"):
        getattr(compiled(), use)(x, y)


def test_a_list_of_labels_of_the_wrong_length():
    x, y = data(8)
    with pytest.raises(ValueError, match="Received 2 entries"):
        compiled().measure_affinity(x, [y["a"], y["b"]])


def test_gradient_accumulation_with_optimizer_lookahead():
    tag = TAGModel(mlp(), lookahead="optimizer")
    tag.compile(keras.optimizers.SGD(0.1, gradient_accumulation_steps=2), loss=LOSS)
    with pytest.raises(ValueError, match="gradient_accumulation_steps=2"):
        tag.fit(*data(8), verbose=0)


def test_other_tasks_than_before():
    x, y = data(16, dtype="float32")
    tag = compiled(every=1)
    tag.fit(x, y, verbose=0)
    tag.compile("sgd", loss={"a": "mse", "b": "mse"})
    with pytest.raises(ValueError, match="same tasks for the whole run"):
        tag.fit(x, y, verbose=0)
