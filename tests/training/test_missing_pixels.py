"""Labels that are missing inside one example, such as pixels, are left out of a task's loss."""

import keras
import numpy as np
import pytest

from keras_tag import GroupedModel, TAGModel
from keras_tag.selection import Grouping

rng = np.random.default_rng(0)
X = rng.normal(size=(6, 4, 4, 2)).astype("float32")
Y = {
    "normal": rng.normal(size=(6, 4, 4, 3)).astype("float32"),
    "depth": rng.normal(size=(6, 4, 4, 1)).astype("float32"),
    "kind": rng.integers(0, 5, (6, 4, 4)).astype("float32"),
}
ABSENT = rng.random((6, 4, 4)) < 0.4
ABSENT[2] = True  # One image has no label at all.
GAPS = {
    "normal": np.where(ABSENT[..., None], np.nan, Y["normal"]),
    "depth": np.where(ABSENT[..., None], np.nan, Y["depth"]),
    "kind": np.where(ABSENT, np.nan, Y["kind"]),
}
LOSSES = {
    "normal": "mae",
    "depth": "mae",
    "kind": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
}


def network(seed=0):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((4, 4, 2))
    h = keras.layers.Conv2D(4, 3, padding="same", activation="tanh")(inputs)
    sizes = {"normal": 3, "depth": 1, "kind": 5}
    return keras.Model(inputs, {t: keras.layers.Conv2D(n, 1, name=t)(h) for t, n in sizes.items()})


def by_hand(outputs):
    """The mean over the labelled pixels, in NumPy."""
    logits = outputs["kind"] - outputs["kind"].max(-1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    picked = np.take_along_axis(log_p, Y["kind"].astype(int)[..., None], -1)[..., 0]
    return {
        "normal": np.abs(outputs["normal"] - Y["normal"]).mean(-1)[~ABSENT].mean(),
        "depth": np.abs(outputs["depth"] - Y["depth"])[..., 0][~ABSENT].mean(),
        "kind": -picked[~ABSENT].mean(),
    }


def evaluated(model):
    model.compile(keras.optimizers.SGD(0.0), loss=LOSSES)
    logs = model.evaluate(X, GAPS, batch_size=6, verbose=0, return_dict=True)
    return {task: logs[f"{task}_loss"] for task in Y}


@pytest.mark.slow
def test_tag_model_and_grouped_model_mean_the_labelled_pixels():
    model = network()
    expected = pytest.approx(by_hand(model.predict(X, verbose=0)), rel=1e-5)
    assert evaluated(TAGModel(model)) == expected
    grouping = Grouping.from_groups([("normal", "depth", "kind")])
    assert evaluated(GroupedModel(grouping, lambda tasks: model)) == expected


def test_the_probe_is_that_of_the_labelled_pixels():
    tag = TAGModel(network())
    tag.compile(keras.optimizers.SGD(0.1), loss=LOSSES)
    measured = tag.measure_affinity(X, GAPS)
    # The oracle: step by hand on the NumPy losses' own weights, in plain Keras.
    import tensorflow as tf

    model = tag.model
    shared = model.layers[1].trainable_variables
    before = by_hand(model.predict(X, verbose=0))
    start = [v.numpy() for v in shared]
    for i, source in enumerate(Y):
        with tf.GradientTape() as tape:
            output = model(X)[source]
            labelled = tf.boolean_mask(output, ~ABSENT)
            target = tf.boolean_mask(Y[source], ~ABSENT)
            if source == "kind":
                values = tf.nn.sparse_softmax_cross_entropy_with_logits(
                    tf.cast(target, tf.int32), labelled
                )
            else:
                values = tf.abs(labelled - target)
            loss = tf.reduce_mean(values)
        for variable, value, gradient in zip(
            shared, start, tape.gradient(loss, shared), strict=True
        ):
            variable.assign(value - 0.1 * gradient)
        after = by_hand(model.predict(X, verbose=0))
        for variable, value in zip(shared, start, strict=True):
            variable.assign(value)
        for j, target_task in enumerate(Y):
            expected = 1 - after[target_task] / before[target_task]
            assert measured[i, j] == pytest.approx(expected, abs=2e-5)


def test_gradients_of_missing_labels_are_zero_and_not_nan():
    model = TAGModel(network())
    model.compile("sgd", loss=LOSSES)
    model.fit(X, GAPS, verbose=0, epochs=2)
    assert all(np.isfinite(w).all() for w in model.get_weights())
    # Without any label there is nothing to learn.
    none = {task: np.full_like(labels, np.nan) for task, labels in Y.items()}
    before = model.get_weights()
    history = model.fit(X, none, verbose=0)
    assert history.history["loss"] == [0.0]
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
