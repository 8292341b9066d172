"""The trainer of deeper trunks against plain Keras fits: convolutions, normalisation, dropout."""

import keras
import numpy as np
import pytest

from benchmarks.grouping_quality.batched_training import batch_order, train_groups
from benchmarks.grouping_quality.deep_trunk import first_weights, trunk_of
from benchmarks.grouping_quality.group_table import all_groups
from benchmarks.grouping_quality.task_sets import Layer, Recipe, Split, TaskSet
from benchmarks.grouping_quality.trunk_passes import MOMENTUM, NORM_EPSILON, kept

pytestmark = pytest.mark.slow
TASKS = ("yes", "value")
BINARY = np.array([True, False])
SEED, EPOCHS = 3, 4
TRUNKS = {
    "two dimensions": (
        (7, 7, 2),
        (Layer(4, 3, 2, batch_normalization=True), Layer(5, 2, batch_normalization=True)),
    ),
    "one dimension, dropout": (
        (12, 3),
        (Layer(4, 3, 2, batch_normalization=True, dropout=0.2), Layer(6, dropout=0.3)),
    ),
    "dense, dropout": ((1, 9), (Layer(8, dropout=0.25), Layer(7), Layer(6, dropout=0.25))),
}


class DropoutOfSeed(keras.layers.Layer):
    """Drops what the trainer drops: its masks depend on seed, layer and step only."""

    def __init__(self, index, rate, size):
        super().__init__()
        self.index, self.rate, self.size = index, rate, size
        self.mask = None

    def build(self, shape):
        self.mask = self.add_weight(
            shape=(32, *shape[1:]), initializer="ones", trainable=False, name="mask"
        )

    def draw(self, step):
        numbers = [kept(SEED, self.index, step, k) for k in range(int(np.prod(self.mask.shape)))]
        kept_now = np.array(numbers, np.float32).reshape(self.mask.shape) >= self.rate
        self.mask.assign(kept_now / np.float32(1 - self.rate))

    def call(self, x, training=False):
        return x * self.mask[: keras.ops.shape(x)[0]] if training else x


def keras_trunk(x, layers, weights, axes):
    dropouts, made = [], []
    for index, layer in enumerate(layers):
        bias = not layer.batch_normalization
        if layer.kernel:
            convolution = keras.layers.Conv2D if axes == 2 else keras.layers.Conv1D
            product = convolution(layer.units, layer.kernel, layer.stride, use_bias=bias)
        else:
            x = keras.layers.Flatten()(x)
            product = keras.layers.Dense(layer.units, use_bias=bias)
        x = product(x)
        kernel, *rest = weights[index]
        kernel = kernel.reshape(product.kernel.shape)
        product.set_weights([kernel, *rest] if bias else [kernel])
        if layer.batch_normalization:
            norm = keras.layers.BatchNormalization(momentum=MOMENTUM, epsilon=NORM_EPSILON)
            x = norm(x)
        x = keras.layers.Activation("relu")(x)
        if layer.dropout:
            dropouts.append(DropoutOfSeed(index, layer.dropout, layer.units))
            x = dropouts[-1](x)
        made.append(product)
    return keras.layers.Flatten()(x), dropouts


class DrawMasks(keras.callbacks.Callback):
    def __init__(self, dropouts):
        super().__init__()
        self.dropouts, self.step = dropouts, 0

    def on_train_batch_begin(self, batch, logs=None):
        for dropout in self.dropouts:
            dropout.draw(self.step)
        self.step += 1


@pytest.mark.parametrize("kind", TRUNKS)
def test_a_deeper_network_is_what_a_plain_keras_fit_gives(kind):
    shape, layers = TRUNKS[kind]
    rng = np.random.default_rng(0)
    splits = {}
    for name, size in (("train", 90), ("validation", 60), ("test", 70)):
        x = rng.normal(size=(size, int(np.prod(shape)))).astype("float32")
        y = np.stack([x[:, 0] + x[:, 5] > 0, np.tanh(x[:, 1] - x[:, 2])], 1)
        splits[name] = Split(x, y.astype("float32"), np.ones((size, 2), "float32"))
    data = TaskSet(TASKS, BINARY, splits)
    recipe = Recipe((1,), 0.01, 32, EPOCHS, EPOCHS, trunk=lambda _: layers, shape=shape)
    trained = train_groups(data, all_groups(2), 1, SEED, recipe, (1, 2))

    trunk = trunk_of(layers, shape)
    weights, heads = first_weights(trunk, TASKS, SEED)
    inputs = keras.Input(shape)
    features, dropouts = keras_trunk(inputs, layers, weights, len(shape) - 1)
    outputs = {}
    for t, task in enumerate(TASKS):
        head = keras.layers.Dense(1, "sigmoid" if BINARY[t] else None, name=task)
        outputs[task] = head(features)
        head.set_weights([heads[:, [t]], np.zeros(1)])
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.Adam(0.01), loss={"yes": "binary_crossentropy", "value": "mse"})

    def labelled(split, rows=slice(None)):
        x = split.x[rows].reshape(-1, *shape)
        return x, {task: split.y[rows][:, [t]] for t, task in enumerate(TASKS)}

    masks = DrawMasks(dropouts)
    validation, test = [], []
    for epoch in range(EPOCHS):
        x, y = labelled(data.splits["train"], batch_order(SEED, epoch, 90))
        model.fit(x, y, batch_size=32, shuffle=False, verbose=0, callbacks=[masks])
        for split, losses in (("validation", validation), ("test", test)):
            x, y = labelled(data.splits[split])
            got = model.evaluate(x, y, batch_size=len(x), verbose=0, return_dict=True)
            losses.append([got[f"{task}_loss"] for task in TASKS])
    validation, test = np.array(validation), np.array(test)
    best = validation.sum(1).argmin()
    np.testing.assert_allclose(trained.validation[2], validation[best], rtol=2e-3)
    np.testing.assert_allclose(trained.test[2], test[best], rtol=2e-3)
    for index, epochs in enumerate((1, 2)):
        so_far = validation.sum(1)[:epochs].argmin()
        np.testing.assert_allclose(trained.early[index, 2], validation[so_far], rtol=5e-4)


def test_masks_drop_the_share_that_is_asked_and_differ_between_steps():
    drawn = np.array([[kept(1, 0, step, k) for k in range(4000)] for step in (0, 1)])
    assert np.abs((drawn < 0.3).mean(1) - 0.3).max() < 0.03
    assert abs(np.corrcoef(drawn)[0, 1]) < 0.06
