"""Labels that are missing for some tasks of some examples."""

import keras
import numpy as np
import pytest
from grouped_networks import dict_network

from keras_tag import GroupedModel, Grouping

MSE = dict.fromkeys("abc", "mse")


@pytest.fixture
def labelled(batch):
    """Which labels are there: a pattern of its own for every task, and few in the last batches."""
    row = np.arange(48)
    return {
        task: (row % 3 != index) & ((row < 20) | (row % 7 == 0)) for index, task in enumerate("abc")
    }


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("missing", [None, -1.0])
def test_loss_is_the_mean_over_the_labelled(batch, labelled, missing):
    x, y = batch
    # Network 1 has a lone task.
    grouping = Grouping.from_groups([("a", "b"), ("c",)])
    model = GroupedModel(grouping, dict_network, missing=missing)
    model.compile("sgd", loss=MSE, weighted_metrics={"c": ["mae"]})
    blank = np.nan if missing is None else missing
    holed = {task: np.where(labelled[task][:, None], values, blank) for task, values in y.items()}
    logs = model.evaluate(x, holed, batch_size=10, verbose=0, return_dict=True)
    served = model.predict(x, verbose=0)
    losses = []
    for task in "abc":
        errors = (y[task] - served[task])[labelled[task]]
        losses.append(np.mean(errors**2))
        assert logs[f"{task}_loss"] == pytest.approx(losses[-1])
        if task == "c":
            assert logs["c_mae"] == pytest.approx(np.mean(np.abs(errors)))
    assert logs["loss"] == pytest.approx(sum(losses))


@pytest.mark.usefixtures("float64")
def test_a_task_without_any_label_moves_nothing(batch):
    x, y = batch
    model = GroupedModel(Grouping.from_groups([("a", "b"), ("c",)]), dict_network)
    model.compile("sgd", loss=MSE)
    before = [network.get_weights() for network in model.networks]
    history = model.fit(x, {**y, "c": np.full((48, 1), np.nan)}, verbose=0).history
    # A mean over nothing is no number, and not the best of all losses.
    assert np.isnan(history.pop("c_loss")).all()
    assert np.isfinite(list(history.values())).all()
    for old, new in zip(before[1], model.networks[1].get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)
    assert np.abs(before[0][0] - model.networks[0].get_weights()[0]).max() > 0


@pytest.mark.usefixtures("float64")
def test_masked_and_weighted_losses_are_means_over_all_batches():
    """Batches of short and of long sequences: every token counts the same."""
    rng = np.random.default_rng(0)
    x = rng.integers(1, 9, size=(12, 6))
    x[:8, 2:] = 0
    y = {"a": rng.normal(size=(12, 6, 1)), "b": rng.normal(size=(12, 1))}
    weight = rng.uniform(size=12)

    def build(tasks):
        inputs = keras.Input((6,), dtype="int32")
        h = keras.layers.Embedding(9, 3, mask_zero=True)(inputs)
        pooled = keras.layers.GlobalAveragePooling1D()(h)
        outputs = {"a": keras.layers.Dense(1)(h), "b": keras.layers.Dense(1)(pooled)}
        return keras.Model(inputs, {task: outputs[task] for task in tasks})

    model = GroupedModel(Grouping.from_groups([("a",), ("b",)]), build)
    mean = keras.losses.MeanSquaredError(reduction="mean_with_sample_weight")
    model.compile("sgd", loss={"a": "mse", "b": mean})
    logs = model.evaluate(
        x, y, sample_weight={"a": None, "b": weight}, batch_size=4, verbose=0, return_dict=True
    )
    squares = {
        task: (out - y[task])[..., 0] ** 2 for task, out in model.predict(x, verbose=0).items()
    }
    assert logs["a_loss"] == pytest.approx(squares["a"][x > 0].mean())
    assert logs["b_loss"] == pytest.approx(np.average(squares["b"], weights=weight))


def test_metrics_that_would_count_missing_labels_are_refused(batch):
    x, y = batch
    model = GroupedModel(Grouping.from_groups([("a", "b", "c")]), dict_network)
    model.compile("sgd", loss=MSE, metrics={"a": ["mae"]})
    y["a"][3] = np.nan
    with pytest.raises(Exception, match="weighted_metrics"):
        model.evaluate(x, y, verbose=0)


def test_sentinel_survives_saving(tmp_path, batch):
    model = GroupedModel(Grouping.from_groups([("a", "b")]), dict_network, missing=-1.0)
    model.save(tmp_path / "served.keras")
    assert keras.models.load_model(tmp_path / "served.keras").missing == -1.0
