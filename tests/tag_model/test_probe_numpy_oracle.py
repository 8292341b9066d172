"""One probe against a two-layer network with three heads, written out by hand in NumPy."""

import keras
import numpy as np
import pytest
from tag_models import L, assert_same, relative, snapshot

from keras_tag import TAGModel

RATE = 0.3


def network(dtype):
    keras.config.set_floatx(dtype)
    inputs = keras.Input((5,), dtype=dtype)
    kwargs = {"dtype": dtype}
    h = L.Dense(7, "tanh", name="one", **kwargs)(inputs)
    h = L.Dense(4, "tanh", name="two", **kwargs)(h)
    return keras.Model(
        inputs, {name: L.Dense(1, name=name, **kwargs)(h) for name in ("s", "q", "r")}
    )


def forward(x, trunk, heads):
    (w1, b1), (w2, b2) = trunk
    h1 = np.tanh(x @ w1 + b1)
    h2 = np.tanh(h1 @ w2 + b2)
    return h1, h2, [h2 @ w + b for w, b in heads]


def losses(predictions, y):
    """Squared error, logistic loss on logits, absolute-log-cosh: three different losses."""
    s, q, r = predictions
    return np.array(
        [
            np.mean((s - y["s"]) ** 2),
            np.mean(np.logaddexp(0, q) - y["q"] * q),
            np.mean(np.log(np.cosh(r - y["r"]))),
        ]
    )


def loss_slopes(predictions, y):
    s, q, r = predictions
    n = len(s)
    return [
        2 * (s - y["s"]) / n,
        (1 / (1 + np.exp(-q)) - y["q"]) / n,
        np.tanh(r - y["r"]) / n,
    ]


def expected_affinity(x, y, trunk, heads):
    (w1, b1), (w2, b2) = trunk
    h1, h2, predictions = forward(x, trunk, heads)
    before = losses(predictions, y)
    rows = []
    for slope, (w, _) in zip(loss_slopes(predictions, y), heads, strict=True):
        d2 = (slope @ w.T) * (1 - h2**2)
        d1 = (d2 @ w2.T) * (1 - h1**2)
        moved = [
            (w1 - RATE * x.T @ d1, b1 - RATE * d1.sum(0)),
            (w2 - RATE * h1.T @ d2, b2 - RATE * d2.sum(0)),
        ]
        rows.append(1 - losses(forward(x, moved, heads)[2], y) / before)
    return np.array(rows)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-6), ("float32", 3e-4)])
def test_probe_equals_the_step_written_by_hand(dtype, tolerance, float64):
    rng = np.random.default_rng(5)
    x = rng.normal(size=(40, 5)).astype(dtype)
    y = {
        "s": rng.normal(size=(40, 1)).astype(dtype),
        "q": (rng.random((40, 1)) > 0.4).astype(dtype),
        "r": (3 * rng.normal(size=(40, 1))).astype(dtype),
    }
    model = network(dtype)
    tag = TAGModel(model, lookahead_rate=RATE)
    tag.compile(
        "adam",
        loss={
            "s": "mse",
            "q": keras.losses.BinaryCrossentropy(from_logits=True),
            "r": keras.losses.LogCosh(),
        },
    )
    tag.optimizer.build(tag.trainable_variables)
    before = snapshot(tag, tag.optimizer)
    z = tag.measure_affinity(x, y)

    def weights(name):
        return tuple(v.numpy().astype("float64") for v in model.get_layer(name).weights)

    wide = {name: value.astype("float64") for name, value in y.items()}
    expected = expected_affinity(
        x.astype("float64"),
        wide,
        [weights("one"), weights("two")],
        [weights("s"), weights("q"), weights("r")],
    )
    assert tag.tasks == ("s", "q", "r")
    assert relative(z, expected) < tolerance
    # The matrix is far from symmetric, so a transposition would fail.
    assert relative(expected.T, expected) > 0.05
    assert_same(before, snapshot(tag, tag.optimizer))
