"""Models as people have them, small or without weights: name -> `(model, x, y, loss)`."""

import keras
import numpy as np
import pytest

L = keras.layers
ROWS = 16


def labels(**widths):
    """Numbers to regress on, `[ROWS, width]` by task."""
    rng = np.random.default_rng(1)
    return {t: rng.normal(size=(ROWS, w)).astype("float32") for t, w in widths.items()}


def application(name):
    backbone = getattr(keras.applications, name)(
        weights=None, include_top=False, input_shape=(32, 32, 3), pooling="avg"
    )
    outputs = {task: L.Dense(1, name=task)(backbone.output) for task in "abc"}
    x = np.random.default_rng(0).uniform(0, 255, size=(ROWS, 32, 32, 3)).astype("float32")
    return keras.Model(backbone.input, outputs), x, labels(a=1, b=1, c=1), "mse"


def mobile_net():
    return application("MobileNetV3Small")


def efficient_net():
    return application("EfficientNetB0")


def distil_bert():
    hub = pytest.importorskip("keras_hub", exc_type=ImportError)
    backbone = hub.models.DistilBertBackbone(
        vocabulary_size=50,
        num_layers=2,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=16,
        max_sequence_length=8,
    )
    backbone.token_embedding.trainable = False
    backbone.get_layer("transformer_layer_0").trainable = False
    inputs = {name: keras.Input((8,), dtype="int32", name=name) for name in backbone.input}
    hidden = backbone(inputs)[:, 0]
    outputs = {
        "intent": L.Dense(3, "softmax", name="intent")(hidden),
        "mood": L.Dense(1, name="mood")(hidden),
        "urgent": L.Dense(1, "sigmoid", name="urgent")(hidden),
    }
    rng = np.random.default_rng(0)
    x = {
        "token_ids": rng.integers(1, 50, size=(ROWS, 8)),
        "padding_mask": np.ones((ROWS, 8), "int32"),
    }
    y = {
        "intent": rng.integers(0, 3, size=ROWS),
        "mood": rng.normal(size=ROWS),
        "urgent": rng.integers(0, 2, size=ROWS),
    }
    loss = {
        "intent": "sparse_categorical_crossentropy",
        "mood": "mse",
        "urgent": "binary_crossentropy",
    }
    return keras.Model(inputs, outputs), x, y, loss


def bert_with_lora():
    hub = pytest.importorskip("keras_hub", exc_type=ImportError)
    backbone = hub.models.BertBackbone(
        vocabulary_size=50,
        num_layers=1,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=16,
        max_sequence_length=8,
    )
    backbone.enable_lora(2)
    inputs = {name: keras.Input((8,), dtype="int32", name=name) for name in backbone.input}
    hidden = backbone(inputs)["pooled_output"]
    model = keras.Model(inputs, {task: L.Dense(1, name=task)(hidden) for task in "abc"})
    x = {
        "token_ids": np.random.default_rng(0).integers(1, 50, size=(ROWS, 8)),
        "segment_ids": np.zeros((ROWS, 8), "int32"),
        "padding_mask": np.ones((ROWS, 8), "int32"),
    }
    return model, x, labels(a=1, b=1, c=1), "mse"


def ranking():
    rs = pytest.importorskip("keras_rs", exc_type=ImportError)
    user = keras.Input((1,), dtype="int32", name="user")
    items = keras.Input((4,), dtype="int32", name="items")
    dense = keras.Input((5,), name="numbers")
    vectors = [
        L.Flatten()(L.Embedding(20, 6)(user)),
        rs.layers.EmbedReduce(30, 6, combiner="mean")(items),
        L.Dense(6, "relu")(dense),
    ]
    dots = rs.layers.DotInteraction()(vectors)
    joined = L.Concatenate()([*vectors, dots])
    crossed = rs.layers.FeatureCross(projection_dim=4)(joined, joined)
    hidden = L.Dense(8, "relu")(crossed)
    outputs = {
        "click": L.Dense(1, "sigmoid", name="click")(hidden),
        "like": L.Dense(1, "sigmoid", name="like")(hidden),
        "rating": L.Dense(1, name="rating")(hidden),
    }
    rng = np.random.default_rng(0)
    x = {
        "user": rng.integers(0, 20, size=(ROWS, 1)),
        "items": rng.integers(0, 30, size=(ROWS, 4)),
        "numbers": rng.normal(size=(ROWS, 5)),
    }
    y = {
        "click": rng.integers(0, 2, size=ROWS),
        "like": rng.integers(0, 2, size=ROWS),
        "rating": rng.normal(size=ROWS),
    }
    loss = {"click": "binary_crossentropy", "like": "binary_crossentropy", "rating": "mse"}
    inputs = {"user": user, "items": items, "numbers": dense}
    return keras.Model(inputs, outputs), x, y, loss


def mixture_of_experts():
    inputs = keras.Input((6,))
    experts = keras.ops.stack([L.Dense(8, "relu")(inputs) for _ in range(3)], axis=1)
    outputs = {}
    for task in "abc":
        gate = L.Dense(3, "softmax", name=f"gate_{task}")(inputs)
        outputs[task] = L.Dense(1, name=task)(L.Dot(axes=1)([gate, experts]))
    x = np.random.default_rng(0).normal(size=(ROWS, 6)).astype("float32")
    return keras.Model(inputs, outputs), x, labels(a=1, b=1, c=1), "mse"


def recurrent():
    inputs = keras.Input((7,), dtype="int32")
    hidden = L.LSTM(8, return_sequences=True)(L.Embedding(12, 6, mask_zero=True)(inputs))
    outputs = [
        L.Dense(4, "softmax", name="tag")(hidden),
        L.Dense(1, name="tone")(L.GlobalAveragePooling1D()(hidden)),
        L.Dense(1, name="length")(L.GlobalAveragePooling1D()(hidden)),
    ]
    rng = np.random.default_rng(0)
    x = rng.integers(1, 12, size=(ROWS, 7))
    x[::2, 5:] = 0
    y = [rng.integers(0, 4, size=(ROWS, 7)), rng.normal(size=(ROWS, 1)), rng.normal(size=(ROWS, 1))]
    return keras.Model(inputs, outputs), x, y, ["sparse_categorical_crossentropy", "mse", "mse"]


def u_net():
    inputs = keras.Input((16, 16, 3))
    fine = L.Conv2D(4, 3, padding="same", activation="relu")(inputs)
    coarse = L.BatchNormalization()(L.Conv2D(8, 3, strides=2, padding="same")(fine))
    bottom = L.Conv2D(8, 3, strides=2, padding="same", activation="relu")(coarse)
    up = L.Concatenate()([L.UpSampling2D()(bottom), coarse])
    up = L.Concatenate()([L.Conv2DTranspose(4, 3, strides=2, padding="same")(up), fine])
    outputs = {
        "classes": L.Conv2D(3, 1, activation="softmax", name="classes")(up),
        "depth": L.Conv2D(1, 1, name="depth")(up),
        "edges": L.Conv2D(1, 1, activation="sigmoid", name="edges")(up),
    }
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, 16, 16, 3)).astype("float32")
    y = {
        "classes": rng.integers(0, 3, size=(ROWS, 16, 16)),
        "depth": rng.normal(size=(ROWS, 16, 16, 1)),
        "edges": rng.integers(0, 2, size=(ROWS, 16, 16, 1)),
    }
    loss = {
        "classes": "sparse_categorical_crossentropy",
        "depth": "mae",
        "edges": "binary_crossentropy",
    }
    return keras.Model(inputs, outputs), x, y, loss


def tabular():
    rng = np.random.default_rng(0)
    x = {
        "income": (40_000 + 9_000 * rng.normal(size=(ROWS, 1))).astype("float32"),
        "age": rng.integers(18, 80, size=(ROWS, 1)).astype("float32"),
        "city": keras.ops.convert_to_tensor(
            rng.choice(["Oslo", "Rome", "Lima"], size=(ROWS, 1)).tolist(), dtype="string"
        ),
    }
    income, age, city = L.Normalization(), L.Discretization(num_bins=4), L.StringLookup()
    income.adapt(x["income"])
    age.adapt(x["age"])
    city.adapt(x["city"])
    inputs = {
        "income": keras.Input((1,), name="income"),
        "age": keras.Input((1,), name="age"),
        "city": keras.Input((1,), dtype="string", name="city"),
    }
    parts = [
        income(inputs["income"]),
        L.Flatten()(L.Embedding(4, 3)(age(inputs["age"]))),
        L.Flatten()(L.Embedding(5, 3)(city(inputs["city"]))),
    ]
    hidden = L.Dense(8, "relu")(L.Concatenate()(parts))
    model = keras.Model(inputs, {task: L.Dense(1, name=task)(hidden) for task in "abc"})
    return model, x, labels(a=1, b=1, c=1), "mse"


def frozen_backbone():
    image = keras.Input((12, 12, 3))
    features = L.BatchNormalization()(L.Conv2D(4, 3)(L.Rescaling(1 / 255)(image)))
    backbone = keras.Model(image, L.GlobalAveragePooling2D()(features), name="backbone")
    backbone.trainable = False
    inputs = keras.Input((12, 12, 3))
    hidden = L.Dense(6, "relu", name="neck")(backbone(inputs, training=False))
    model = keras.Model(inputs, {task: L.Dense(1, name=task)(hidden) for task in "abc"})
    x = np.random.default_rng(0).uniform(0, 255, size=(ROWS, 12, 12, 3)).astype("float32")
    return model, x, labels(a=1, b=1, c=1), "mse"


MODELS = {
    "MobileNetV3Small": mobile_net,
    "EfficientNetB0": efficient_net,
    "DistilBERT, partly frozen": distil_bert,
    "BERT with LoRA": bert_with_lora,
    "Ranking model": ranking,
    "Mixture of experts (MMoE)": mixture_of_experts,
    "LSTM with list outputs": recurrent,
    "U-Net": u_net,
    "Tabular data with adapted preprocessing": tabular,
    "Frozen backbone, then fine-tuned": frozen_backbone,
}
