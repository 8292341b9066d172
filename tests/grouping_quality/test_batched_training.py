"""The batched trainer against plain Keras fits, and against itself."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from benchmarks.grouping_quality.batched_training import batch_order, train_groups
from benchmarks.grouping_quality.deep_trunk import first_weights, trunk_of_recipe
from benchmarks.grouping_quality.group_table import all_groups
from benchmarks.grouping_quality.task_sets import Recipe, Split, TaskSet

pytestmark = pytest.mark.slow
TASKS = ("yes", "value", "rare")
BINARY = np.array([True, False, True])
RECIPE = Recipe(units=(6,), learning_rate=0.02, batch_size=32, epochs=12, patience=2)


@pytest.fixture(scope="module")
def data():
    """Two binary tasks, one of them with missing labels, and a regression; 150 examples."""
    rng = np.random.default_rng(0)
    splits = {}
    for name, size in (("train", 150), ("validation", 90), ("test", 110)):
        x = rng.normal(size=(size, 5)).astype("float32")
        y = np.stack([x[:, 0] > 0, np.tanh(x[:, 1] - x[:, 2]), x[:, 0] + x[:, 3] > 0.5], 1)
        noisy = np.where(BINARY, y, y + rng.normal(size=y.shape) * 0.3)
        labelled = np.ones(y.shape)
        labelled[rng.random(size) < 0.3, 2] = 0
        weight = labelled / labelled.mean(0)
        splits[name] = Split(x, (noisy * labelled).astype("float32"), weight.astype("float32"))
    return TaskSet(TASKS, BINARY, splits)


@pytest.fixture(scope="module")
def trained(data):
    return train_groups(data, all_groups(3), 6, 3, RECIPE, (2, 4))


def keras_losses(data, group, seed):
    """Validation losses by epoch and test losses by epoch, of a Keras network of one group."""
    tasks = [task for task, inside in zip(TASKS, group, strict=True) if inside]
    [(trunk, bias)], heads = first_weights(trunk_of_recipe(RECIPE, 6, 5), TASKS, seed)
    inputs = keras.Input((5,))
    hidden = keras.layers.Dense(6, "relu", name="trunk")(inputs)
    model = keras.Model(
        inputs,
        {
            task: keras.layers.Dense(
                1, "sigmoid" if BINARY[TASKS.index(task)] else None, name=task
            )(hidden)
            for task in tasks
        },
    )
    model.get_layer("trunk").set_weights([trunk, bias])
    for task in tasks:
        model.get_layer(task).set_weights([heads[:, [TASKS.index(task)]], np.zeros(1)])
    model.compile(
        keras.optimizers.Adam(RECIPE.learning_rate),
        loss={
            task: "binary_crossentropy" if BINARY[TASKS.index(task)] else "mse" for task in tasks
        },
    )

    def arrays(split, order=slice(None)):
        columns = {task: TASKS.index(task) for task in tasks}
        return (
            split.x[order],
            {task: split.y[order][:, [t]] for task, t in columns.items()},
            {task: split.weight[order][:, t] for task, t in columns.items()},
        )

    found = {"validation": [], "test": []}
    train = data.splits["train"]
    for epoch in range(RECIPE.epochs):
        x, y, weight = arrays(train, batch_order(seed, epoch, len(train.x)))
        model.fit(x, y, sample_weight=weight, batch_size=32, shuffle=False, verbose=0)
        for split, losses in found.items():
            x, y, weight = arrays(data.splits[split])
            got = model.evaluate(
                x, y, sample_weight=weight, batch_size=len(x), verbose=0, return_dict=True
            )
            losses.append([got["loss"] if len(tasks) == 1 else got[f"{t}_loss"] for t in tasks])
    return np.array(found["validation"]), np.array(found["test"])


@pytest.mark.parametrize("row", [2, 4, 6])  # {rare's neighbours: value}, {yes, rare}, all three.
def test_a_network_is_what_a_plain_keras_fit_gives(data, trained, row):
    group = all_groups(3)[row]
    validation, test = keras_losses(data, group, seed=3)
    total = validation.sum(1)
    # Keras's early stopping by hand: patience 2, the weights of the best epoch.
    best = 0
    for epoch, loss in enumerate(total):
        best = epoch if loss < total[best] else best
        if epoch - best >= RECIPE.patience:
            break
    assert trained.epochs[row] == epoch + 1
    np.testing.assert_allclose(trained.validation[row, group], validation[best], rtol=2e-3)
    np.testing.assert_allclose(trained.test[row, group], test[best], rtol=2e-3)
    for index, checkpoint in enumerate((2, 4)):
        so_far = total[: min(checkpoint, epoch + 1)].argmin()
        np.testing.assert_allclose(trained.early[index, row, group], validation[so_far], rtol=2e-3)


def test_a_network_does_not_depend_on_who_is_trained_beside_it(data, trained):
    few = train_groups(data, all_groups(3)[[6, 1]], 6, 3, RECIPE, (2, 4))
    np.testing.assert_array_equal(few.validation, trained.validation[[6, 1]])
    np.testing.assert_array_equal(few.test, trained.test[[6, 1]])
    np.testing.assert_array_equal(few.epochs, trained.epochs[[6, 1]])


def test_only_the_tasks_of_the_group_have_losses(trained):
    for losses in (trained.validation, trained.test, *trained.early):
        np.testing.assert_array_equal(np.isfinite(losses), all_groups(3))


def test_losses_only_fall_with_the_epochs_that_are_allowed(data, trained):
    total = np.nansum(trained.early, -1)
    assert (total[1] <= total[0]).all()
    assert (np.nansum(trained.validation, -1) <= total[1]).all()
    longer = train_groups(data, all_groups(3), 6, 3, replace(RECIPE, epochs=16))
    stopped = trained.epochs < RECIPE.epochs
    np.testing.assert_array_equal(longer.test[stopped], trained.test[stopped])
