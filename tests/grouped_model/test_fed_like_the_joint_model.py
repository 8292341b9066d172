"""Networks take what was given for the joint model: lists, and names of all its tasks."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from grouped_networks import dict_network
from quick import quick

from keras_tag import GroupedModel, Grouping, TAGModel, build_from

L = keras.layers
# Neither sorted nor in the order of the grouping.
NAMES = ("d", "b", "a", "c")


def joint(kind):
    inputs = keras.Input((5,))
    h = L.Dense(6, "tanh", name="trunk")(inputs)
    outputs = {task: L.Dense(1, name=task)(h) for task in NAMES}
    return keras.Model(inputs, list(outputs.values()) if kind == "list" else outputs)


@pytest.fixture
def fed():
    """Inputs, labels and weights by name, all different."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(24, 5))
    y = {task: rng.normal(k, 1, size=(24, 1)) for k, task in enumerate(NAMES)}
    return x, y, {task: rng.random(24) for task in NAMES}


def in_order(kind, by_name):
    """The list that plain Keras pairs with the outputs."""
    return [by_name[task] for task in (NAMES if kind == "list" else sorted(NAMES))]


LOSSES = {"d": "mse", "b": "mae", "a": "huber", "c": "log_cosh"}
WEIGHTS = {"d": 2.0, "b": 0.5, "a": 1.0, "c": 3.0}
METRICS = {"d": ["mae"], "b": ["mse"], "a": ["mae"], "c": ["mse"]}


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("kind", quick(["list", "dict"], ["list"]))
@pytest.mark.parametrize(
    "groups",
    [[("a", "b"), ("c", "d")], pytest.param([("b", "d")], marks=pytest.mark.nightly), [("c",)]],
)
def test_lists_are_in_the_joint_models_order(kind, groups, fed, tmp_path):
    """The oracle is plain Keras, fed by the same lists."""
    x, y, weight = fed
    listed, weights = in_order(kind, y), in_order(kind, weight)
    model = joint(kind)
    given = {
        "loss": in_order(kind, LOSSES),
        "loss_weights": in_order(kind, WEIGHTS),
        "weighted_metrics": in_order(kind, METRICS),
    }
    # Plain Keras itself pairs lists with the outputs.
    if kind == "dict":
        model.compile(
            "sgd", **{k: dict(zip(sorted(NAMES), v, strict=True)) for k, v in given.items()}
        )
        data = dict(zip(sorted(NAMES), listed, strict=True))
        right = model.evaluate(
            x,
            data,
            sample_weight=dict(zip(sorted(NAMES), weights, strict=True)),
            verbose=0,
            return_dict=True,
        )
    else:
        model.compile("sgd", **given)
        right = model.evaluate(x, listed, sample_weight=weights, verbose=0, return_dict=True)
    grouping = Grouping.from_groups(groups)
    some = GroupedModel(grouping, build_from(model, start="all", verbose=False))
    some.compile("sgd", **given)
    logs = some.evaluate(
        x, tuple(listed), sample_weight=tuple(weights), verbose=0, return_dict=True
    )
    for task in some.tasks:
        assert logs[f"{task}_loss"] == pytest.approx(right[f"{task}_loss"], rel=1e-9)
        name = f"{task}_{METRICS[task][0]}"
        metric = logs[name] if len(some.tasks) > 1 else logs[METRICS[task][0]]
        assert metric == pytest.approx(right[name], rel=1e-9)
    expected = sum(WEIGHTS[task] * right[f"{task}_loss"] for task in some.tasks)
    assert logs["loss"] == pytest.approx(expected, rel=1e-9)
    # So does what was saved, and every network on its own.
    some.save(tmp_path / "some.keras")
    loaded = keras.models.load_model(tmp_path / "some.keras")
    again = loaded.evaluate(x, listed, sample_weight=weights, verbose=0, return_dict=True)
    assert again["loss"] == pytest.approx(logs["loss"], rel=1e-9)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("build", ["from the joint model", "of the user"])
def test_names_of_the_joint_models_other_tasks_change_nothing(build, fed):
    x, y, weight = fed
    runs = []
    for names in (NAMES, "ab"):
        keras.utils.set_random_seed(0)
        builder = build_from(joint("dict"), verbose=False) if build[0] == "f" else dict_network
        some = GroupedModel(Grouping.from_groups([("a",), ("b",)]), builder)
        some.compile(
            "sgd",
            loss={task: LOSSES[task] for task in names},
            loss_weights={task: WEIGHTS[task] for task in names},
            metrics={task: METRICS[task] for task in names},
        )
        own_y, own_weight = ({t: v[t] for t in names} for v in (y, weight))
        history = some.fit(x, own_y, sample_weight=own_weight, shuffle=False, verbose=0).history
        runs.append((history, some.predict(x, verbose=0)["a"].tolist()))
    assert runs[0] == runs[1]


@pytest.mark.slow
def test_fit_groups_and_report_take_them_too(fed, tmp_path):
    x, y, weight = fed
    model = joint("list")
    grouping = Grouping.from_groups([("a", "b"), ("c",)])
    some = GroupedModel(grouping, build_from(model, start="all", verbose=False))
    some.compile("sgd", loss=in_order("list", LOSSES), metrics=METRICS)
    listed, weights = in_order("list", y), in_order("list", weight)
    histories = some.fit_groups(tmp_path, x, listed, sample_weight=weights, verbose=0)
    assert "a_loss" in histories[0]
    frame = some.report((x, listed, weights))
    assert np.isfinite(frame["loss"]).all()


# A function of the user's does not tell the other tasks: only the joint model's builder can refuse.
UNKNOWN_LOSS = ({"loss": {**LOSSES, "bb": "mse"}}, {}, "other names: .*bb")
CERTAINLY_WRONG = [
    ({"loss": LOSSES, "metrics": {"aa": ["mae"]}}, {}, "other names: .*aa"),
    ({"loss": LOSSES}, {"sample_weight": "aa"}, "other names: .*aa"),
    ({"loss": ["mse"] * 3}, {}, "a list `loss` to have an entry for each of"),
    ({"loss": LOSSES}, {"y": 3}, "a list `y` to have an entry for each of"),
]


@pytest.mark.parametrize(
    ("from_joint", "compiled", "data", "message"),
    [(True, *case) for case in (UNKNOWN_LOSS, *CERTAINLY_WRONG)]
    + [(False, *case) for case in CERTAINLY_WRONG],
)
def test_what_is_certainly_wrong_is_refused(from_joint, compiled, data, message, fed):
    x, y, _ = fed
    builder = build_from(joint("dict"), verbose=False) if from_joint else dict_network
    some = GroupedModel(Grouping.from_groups([("a", "b")]), builder)
    weight = {**dict.fromkeys(NAMES, np.ones(24)), "aa": np.ones(24)}
    fed_data = (x, y, weight) if "sample_weight" in data else (x, y)
    if "y" in data:
        fed_data = (x, tuple(y.values())[: data["y"]])

    def train():
        some.compile("sgd", **compiled)
        some.fit(tf.data.Dataset.from_tensors(fed_data), verbose=0)

    with pytest.raises(ValueError, match=message):
        train()


def factors(kind):
    """Two loss weights, the first of which can be changed where it is a variable."""
    if kind == "keras variable":
        return keras.Variable(1.0), 0.5
    if kind == "tf variable":
        return tf.Variable(1.0), tf.constant(0.5)
    return np.array(1.0, "float32"), np.float32(0.5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "as_list"),
    [
        ("keras variable", False),
        ("tf variable", True),
        pytest.param("arrays", False, marks=pytest.mark.nightly),
    ],
)
def test_loss_weights_may_change_while_fit_runs(kind, as_list, fed):
    x, y, _ = fed

    def run(wrap):
        keras.utils.set_random_seed(0)
        model = wrap(joint("list"))
        first, other = factors(kind)
        weights = dict(zip(NAMES, [first, other, other, other], strict=True))
        model.compile(
            "sgd",
            loss=list(LOSSES.values()) if as_list else LOSSES,
            loss_weights=list(weights.values()) if as_list else weights,
        )

        def change(epoch, logs):
            if hasattr(first, "assign"):
                first.assign(10.0)

        callback = keras.callbacks.LambdaCallback(on_epoch_end=change)
        return model.fit(
            x, list(y.values()), epochs=3, shuffle=False, verbose=0, callbacks=[callback]
        ).history["d_loss"]

    plain = run(lambda model: model)
    for wrap in (
        lambda model: TAGModel(model, every=1),
        lambda model: TAGModel(model, every=1, reuse_gradients=True),
        lambda model: GroupedModel(
            Grouping.from_groups([NAMES]), build_from(model, start="all", verbose=False)
        ),
    ):
        assert run(wrap) == pytest.approx(plain, rel=1e-4)


@pytest.mark.slow
def test_one_loss_weight_is_that_of_every_task(fed):
    x, y, _ = fed
    model = joint("dict")
    served = GroupedModel(Grouping.from_groups([("a", "b")]), build_from(model, verbose=False))
    losses = []
    for weight in (None, 3.0):
        served.compile("sgd", loss="mse", loss_weights=weight, run_eagerly=True)
        losses.append(served.evaluate(x, y, verbose=0, return_dict=True)["loss"])
    assert losses[1] == pytest.approx(3 * losses[0], rel=1e-5)
