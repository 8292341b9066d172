"""Small multi-task models of every kind that Keras users have, and data for them."""

import keras
import numpy as np

L = keras.layers
TASKS = ("c", "a", "b")
LOSS = {"a": "mse", "b": "binary_crossentropy", "c": keras.losses.Huber()}


def data(n=64, seed=0, dtype="float64"):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 6)).astype(dtype)
    y = {
        "a": x[:, :2] + 0.1 * rng.normal(size=(n, 2)).astype(dtype),
        "b": (x[:, 1:2] > 0).astype(dtype),
        "c": (2 * x[:, :1] + x[:, 2:3]).astype(dtype),
    }
    return x, y


def heads(h):
    """Three deliberately different heads, in an order that is not the alphabet's."""
    return {
        "c": L.Dense(1, name="head_c")(h),
        "a": L.Dense(2, name="head_a")(L.Dense(4, "tanh", name="pre_a")(h)),
        "b": L.Dense(1, "sigmoid", name="head_b")(h),
    }


def mlp(dropout=0.0, norm=False, regularizer=None):
    inputs = keras.Input((6,))
    h = L.Dense(8, "tanh", kernel_regularizer=regularizer, name="trunk")(inputs)
    if norm:
        h = L.BatchNormalization(name="norm")(h)
    if dropout:
        h = L.Dropout(dropout, seed=1)(h)
    return keras.Model(inputs, heads(h))


def dict_outputs():
    return mlp(dropout=0.2, norm=True)


def list_outputs():
    inputs = keras.Input((6,))
    h = L.Dense(8, "tanh")(inputs)
    outputs = [L.Dense(1, name="c")(h), L.Dense(2, name="a")(h), L.Dense(1, "sigmoid", name="b")(h)]
    return keras.Model(inputs, outputs)


@keras.saving.register_keras_serializable(package="tests")
class Subclassed(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.trunk = L.Dense(8, "tanh")
        self.norm = L.BatchNormalization()
        self.head_c = L.Dense(1)
        self.head_a = L.Dense(2)
        self.head_b = L.Dense(1, "sigmoid")

    def call(self, inputs, training=None):
        h = self.norm(self.trunk(inputs), training=training)
        return {"c": self.head_c(h), "a": self.head_a(h), "b": self.head_b(h)}


def sequential_trunk():
    inputs = keras.Input((6,))
    trunk = keras.Sequential([L.Dense(8, "relu"), L.Dropout(0.1, seed=3), L.Dense(8, "tanh")])
    return keras.Model(inputs, heads(trunk(inputs)))


KINDS = {
    "dict": dict_outputs,
    "list": list_outputs,
    "subclassed": Subclassed,
    "sequential": sequential_trunk,
}


def snapshot(*owners):
    """Copies of all state that the owners hold."""
    return [np.copy(v.numpy()) for owner in owners for v in _variables(owner)]


def _variables(owner):
    if isinstance(owner, keras.Model):
        return [*owner.variables, *owner.metrics_variables]
    return owner.variables


def assert_same(before, after):
    assert len(before) == len(after)
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)


def relative(z, expected):
    """Relative Frobenius error."""
    return np.linalg.norm(z - expected) / np.linalg.norm(expected)
