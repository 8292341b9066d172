"""More kinds of layers against steps really taken and reverted, with the optimizer's own step."""

import apply_and_revert
import keras
import numpy as np
import pytest
from quick import quick
from tag_models import L, assert_same, relative, snapshot

from keras_tag import TAGModel


def two_heads(inputs, h):
    return keras.Model(inputs, {"one": L.Dense(1, name="one")(h), "two": L.Dense(2, name="two")(h)})


def sequence():
    return keras.Input((5, 3))


def recurrent_heads():
    i = sequence()
    h = L.GRU(4, return_sequences=True)(i)
    return keras.Model(i, {"one": L.GRU(1, name="one")(h), "two": L.GRU(2, name="two")(h)})


def heads_over_time():
    i = sequence()
    h = L.Bidirectional(L.GRU(4, return_sequences=True))(i)
    one, two = (L.TimeDistributed(L.Dense(n)) for n in (1, 2))
    return keras.Model(i, {"one": one(h), "two": two(h)})


def masked_heads():
    i = keras.Input((5,), dtype="int32")
    h = L.LSTM(4, return_sequences=True)(L.Embedding(9, 3, mask_zero=True)(i))
    return keras.Model(i, {"one": L.Dense(1)(h), "two": L.GRU(2)(h)})


def cells():
    i = sequence()
    return two_heads(i, L.RNN([L.LSTMCell(3), L.GRUCell(4, dropout=0.2)])(i))


def noise():
    i = sequence()
    h = L.SpatialDropout1D(0.3)(L.Dense(4)(i))
    return two_heads(i, L.Flatten()(L.AlphaDropout(0.1)(L.GaussianDropout(0.2)(h))))


def augmented():
    i = keras.Input((6, 6, 3))
    h = L.RandomContrast(0.3, value_range=(0, 1))(L.RandomFlip()(i))
    return two_heads(i, L.Flatten()(L.Conv2D(3, 3)(h)))


def grouped_queries():
    i = keras.Input((5, 8))
    return two_heads(i, L.GlobalAveragePooling1D()(L.GroupQueryAttention(4, 4, 2)(i, i)))


def other_norms():
    i = keras.Input((6, 6, 4))
    h = L.LayerNormalization()(L.GroupNormalization(2)(L.SeparableConv2D(4, 3)(i)))
    return two_heads(i, L.GlobalMaxPooling2D()(h))


def frozen_norm():
    i = keras.Input((4,))
    norm = L.BatchNormalization(trainable=False)
    return two_heads(i, L.Dense(4, "tanh")(norm(L.Dense(4)(i))))


def one_name_at_two_depths():
    def inner(name):
        j = keras.Input((4,))
        h = L.BatchNormalization(name="norm")(L.Dense(4, "tanh", name="dense")(j))
        return keras.Model(j, L.Dropout(0.3)(h), name=name)

    i = keras.Input((4,))
    return two_heads(i, inner("upper")(inner("lower")(i)))


def one_layer_in_both_heads():
    i = keras.Input((4,))
    h, shared = L.Dense(4, "tanh")(i), L.Dense(4, "tanh")
    return keras.Model(i, {"one": L.Dense(1)(shared(shared(h))), "two": L.Dense(2)(shared(h))})


def penalised():
    i = keras.Input((4,))
    h = L.Dense(
        5, "tanh", kernel_regularizer="l2", kernel_constraint="unit_norm", activity_regularizer="l1"
    )(i)
    return two_heads(i, h)


def with_lora():
    i = keras.Input((5,), dtype="int32")
    embed, einsum = L.Embedding(9, 4), L.EinsumDense("abc,cd->abd", (None, 6))
    model = two_heads(i, L.GlobalAveragePooling1D()(einsum(embed(i))))
    for layer in (embed, einsum):
        layer.enable_lora(2)
        for weight in layer.trainable_weights:
            weight.assign(np.random.default_rng(0).normal(size=weight.shape))
    return model


@keras.saving.register_keras_serializable(package="tests")
class Tied(L.Layer):
    """A head that uses the weights of an embedding."""

    def __init__(self, embedding, **kwargs):
        super().__init__(**kwargs)
        self.embedding = embedding

    def call(self, inputs):
        return keras.ops.matmul(inputs, keras.ops.transpose(self.embedding.embeddings))


def tied_weights():
    i = keras.Input((5,), dtype="int32")
    embed = L.Embedding(9, 4)
    h = L.Dense(4, "tanh")(embed(i))
    return keras.Model(i, {"one": Tied(embed)(h), "two": L.Dense(2)(h)})


MODELS = {
    f.__name__: f
    for f in (
        recurrent_heads,
        heads_over_time,
        masked_heads,
        cells,
        noise,
        augmented,
        grouped_queries,
        other_norms,
        frozen_norm,
        one_name_at_two_depths,
        one_layer_in_both_heads,
        penalised,
        with_lora,
        tied_weights,
    )
}


@pytest.mark.parametrize("name", quick(MODELS, ["one_layer_in_both_heads", "tied_weights"]))
def test_the_probe_is_right_and_leaves_no_trace(name, float64):
    model, optimizer = MODELS[name](), keras.optimizers.Adam(0.02)
    losses = {"one": keras.losses.MeanSquaredError(), "two": keras.losses.MeanAbsoluteError()}
    tag = TAGModel(model, lookahead="optimizer", steps=2)
    tag.compile(optimizer, loss=losses)
    optimizer.build(model.trainable_variables)
    rng = np.random.default_rng(3)
    shape = (10, *model.input_shape[1:])
    x = rng.uniform(size=shape)
    if model.inputs[0].dtype == "int32":
        x = rng.integers(0, 9, size=shape).astype("int32")
    y = {task: rng.normal(size=output.shape) for task, output in model(x).items()}
    before = snapshot(tag, optimizer)
    z = tag.measure_affinity(x, y)
    assert_same(before, snapshot(tag, optimizer))
    expected = apply_and_revert.affinity(
        model, optimizer, x, y, losses, tag.shared_variables, steps=2
    )
    assert relative(z, expected) < 1e-6
