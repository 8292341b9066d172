"""One `fit` of all groups equals a `fit` of every group alone.

The oracle is plain Keras: every group's network, compiled and fitted by itself from the same
initial weights and seed states.
"""

import keras
import numpy as np
import pytest
from grouped_networks import dict_network
from quick import quick

from keras_tag import GroupedModel, Grouping

LOSS = {"a": "mse", "b": "huber", "c": keras.losses.mean_absolute_error}
WEIGHTS = {"a": 1.0, "b": 0.5, "c": 3.0}
GROUPS = [("a", "b"), ("c", "a")]
SERVES = {"a": 1, "b": 0, "c": 1}

# Between them: per-variable steps, a schedule, averages of weights, clipping by global norm, a
# product over all variables' steps (Nadam), and accumulation.
OPTIMIZERS = {
    "momentum": lambda: keras.optimizers.SGD(
        keras.optimizers.schedules.CosineDecay(0.1, 15), momentum=0.9
    ),
    "adam": lambda: keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.9),
    "nadam": lambda: keras.optimizers.Nadam(0.01, global_clipnorm=0.05),
    "accumulation": lambda: keras.optimizers.SGD(0.1, gradient_accumulation_steps=2),
}


def network(tasks):
    return dict_network(tasks, dropout=0.3, regularizer="l2", batch_norm=True)


def separately(grouped, compiled, x, y, weight=None, build=dict_network, eagerly=True, **fit):
    """Fit copies of the networks one by one with plain Keras, from where they are now."""
    alone = []
    for index, tasks in enumerate(grouped.grouping.groups):
        model = build(tasks)
        copy_variables(grouped.networks[index], model)
        model.compile(
            compiled(index),
            loss={task: LOSS[task] for task in tasks},
            loss_weights={task: WEIGHTS[task] for task in tasks},
            run_eagerly=eagerly,
        )
        model.optimizer.build(model.trainable_variables)  # Or its first step is traced twice.
        model.fit(
            x,
            {task: y[task] for task in tasks},
            sample_weight=weight and {task: weight[task] for task in tasks},
            shuffle=False,
            verbose=0,
            **fit,
        )
        alone.append(model)
    return alone


def copy_variables(source, target):
    """Weights, moving statistics and the seeds of the dropout layers."""
    for ours, theirs in zip(source.variables, target.variables, strict=True):
        theirs.assign(ours)


def assert_equal_networks(grouped, alone):
    for index, model in enumerate(alone):
        for ours, theirs in zip(grouped.networks[index].variables, model.variables, strict=True):
            np.testing.assert_allclose(
                ours, theirs, rtol=1e-9, atol=1e-9, err_msg=f"network {index}, {ours.path}"
            )


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", quick(OPTIMIZERS, ["adam"]))
def test_joint_fit_equals_separate_fits(name, batch):
    x, y = batch
    build = network if name in ("momentum", "adam") else dict_network
    grouped = GroupedModel(Grouping.from_groups(GROUPS, SERVES), build)
    fit = {"batch_size": 12, "epochs": 5}
    alone = separately(
        grouped, lambda _: OPTIMIZERS[name](), x, y, build=build, eagerly=False, **fit
    )
    before = [net.get_weights() for net in grouped.networks]
    grouped.compile(OPTIMIZERS[name](), loss=LOSS, loss_weights=WEIGHTS)
    grouped.fit(x, y, shuffle=False, verbose=0, **fit)
    assert_equal_networks(grouped, alone)
    moved = [net.get_weights() for net in grouped.networks]
    assert all(np.abs(b[0] - m[0]).max() > 1e-3 for b, m in zip(before, moved, strict=True))
    assert int(grouped.optimizer.iterations) == 20 // (2 if name == "accumulation" else 1)


@pytest.mark.usefixtures("float64")
def test_sample_weights_by_task_reach_their_task_in_every_network(batch):
    x, y = batch
    rng = np.random.default_rng(1)
    weight = {task: rng.uniform(0, 2, size=len(x)) for task in "abc"}
    grouped = GroupedModel(Grouping.from_groups(GROUPS, SERVES), dict_network)
    alone = separately(grouped, lambda _: "sgd", x, y, weight, batch_size=12, epochs=2)
    grouped.compile("sgd", loss=LOSS, loss_weights=WEIGHTS)
    grouped.fit(x, y, sample_weight=weight, batch_size=12, epochs=2, shuffle=False, verbose=0)
    assert_equal_networks(grouped, alone)


@pytest.mark.usefixtures("float64")
def test_learning_rate_callbacks_reach_every_network(batch):
    x, y = batch

    def callbacks():
        return [keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / (1 + epoch))]

    grouped = GroupedModel(Grouping.from_groups(GROUPS, SERVES), dict_network)
    alone = separately(
        grouped, lambda _: "sgd", x, y, batch_size=12, epochs=3, callbacks=callbacks()
    )
    grouped.compile("sgd", loss=LOSS, loss_weights=WEIGHTS)
    grouped.fit(x, y, batch_size=12, epochs=3, shuffle=False, verbose=0, callbacks=callbacks())
    assert_equal_networks(grouped, alone)


@pytest.mark.usefixtures("float64")
def test_compiling_again_with_the_same_optimizer_goes_on(batch):
    x, y = batch
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    grouped = GroupedModel(Grouping.from_groups(GROUPS, SERVES), dict_network)
    alone = separately(grouped, lambda _: keras.optimizers.SGD(0.1, momentum=0.9), x, y, epochs=4)
    for _ in range(2):
        grouped.compile(optimizer, loss=LOSS, loss_weights=WEIGHTS, run_eagerly=True)
        grouped.fit(x, y, epochs=2, shuffle=False, verbose=0)
    assert_equal_networks(grouped, alone)


def test_mixed_precision_gives_every_network_its_own_loss_scale(batch):
    x, y = batch
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        grouped = GroupedModel(Grouping.from_groups(GROUPS, SERVES), dict_network)
        for _ in range(2):
            grouped.compile("sgd", loss=LOSS, run_eagerly=True)
            grouped.fit(x, y, verbose=0)
    finally:
        keras.config.set_dtype_policy(before)
    optimizers = grouped.optimizer.by_network
    assert [type(optimizer).__name__ for optimizer in optimizers] == ["LossScaleOptimizer"] * 2
    assert len({id(optimizer.dynamic_scale) for optimizer in optimizers}) == 2
    assert all(np.isfinite(weight).all() for weight in grouped.get_weights())
