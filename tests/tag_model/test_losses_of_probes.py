"""The mean loss of each task before the probes, against plain Keras."""

import keras
import numpy as np
import pytest

import keras_tag

TASKS = ("a", "b")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(48, 5)).astype("float32")
Y = {"a": X[:, :1], "b": X[:, 1:2] - X[:, :1] + 2}


def compiled(every=2, **arguments):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((5,))
    trunk = keras.layers.Dense(4, "tanh")(inputs)
    model = keras.Model(inputs, {task: keras.layers.Dense(1, name=task)(trunk) for task in TASKS})
    tag = keras_tag.TAGModel(model, every=every, **arguments)
    tag.compile("sgd", loss="mse")
    return tag


def losses_by_step(tag, epochs, on=None):
    """What plain Keras has as losses before every step."""
    seen = []

    class Before(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            rows = slice(8 * batch, 8 * batch + 8)
            x, y = (X[rows], {t: Y[t][rows] for t in TASKS}) if on is None else on
            predicted = tag.model(x, training=False)
            seen.append([float(np.mean((predicted[t] - y[t]) ** 2)) for t in TASKS])

    tag.fit(X, Y, batch_size=8, epochs=epochs, shuffle=False, verbose=0, callbacks=[Before()])
    return np.array(seen)


def test_they_are_the_mean_over_the_probed_steps():
    tag = compiled(every=2)
    steps = losses_by_step(tag, epochs=3)
    affinity = tag.affinity()
    np.testing.assert_allclose(
        affinity.losses, steps[[1, *range(2, len(steps), 2)]].mean(axis=0), rtol=1e-5
    )
    last = affinity.over(slice(-1, None))
    np.testing.assert_allclose(last.losses, steps[12::2].mean(axis=0), rtol=1e-5)
    assert affinity.subset(["b"]).losses == affinity.losses[1]


def test_with_probe_data_they_are_of_these_data():
    on = X[:16] + 1, {task: Y[task][:16] for task in TASKS}
    tag = compiled(every=3, probe_data=on)
    steps = losses_by_step(tag, epochs=2, on=on)
    np.testing.assert_allclose(
        tag.affinity().losses, steps[[1, *range(3, len(steps), 3)]].mean(axis=0), rtol=1e-5
    )


def test_a_task_without_labels_in_a_batch_does_not_count_there():
    y = {"a": Y["a"].copy(), "b": Y["b"]}
    y["a"][:8] = np.nan
    tag = compiled(every=1)
    tag.fit(X[:16], {t: v[:16] for t, v in y.items()}, batch_size=8, shuffle=False, verbose=0)
    history = tag.affinity().history
    np.testing.assert_array_equal(history.loss_count.sum(axis=0), [1, 2])
    assert np.isfinite(tag.affinity().losses).all()


@pytest.mark.slow
def test_a_saved_and_loaded_model_goes_on_with_them(tmp_path):
    whole, parted = compiled(), compiled()
    whole.fit(X, Y, batch_size=8, epochs=1, shuffle=False, verbose=0)
    whole.fit(X, Y, batch_size=8, epochs=1, shuffle=False, verbose=0)
    parted.fit(X, Y, batch_size=8, epochs=1, shuffle=False, verbose=0)
    parted.save(tmp_path / "tag.keras")
    loaded = keras.saving.load_model(tmp_path / "tag.keras")
    loaded.fit(X, Y, batch_size=8, epochs=1, shuffle=False, verbose=0)
    np.testing.assert_allclose(loaded.affinity().losses, whole.affinity().losses, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("lookahead", ["first_order", "cosine", "optimizer"])
def test_every_kind_of_probe_keeps_them(lookahead):
    tag, gradient = compiled(lookahead=lookahead), compiled()
    for model in (tag, gradient):
        model.fit(X, Y, batch_size=8, epochs=2, shuffle=False, verbose=0)
    np.testing.assert_allclose(tag.affinity().losses, gradient.affinity().losses, rtol=1e-5)
