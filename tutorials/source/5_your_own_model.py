# %% [markdown]
# # 5. Your own model
#
# Three kinds of model that people have, each with a search of its own: transfer learning with a frozen
# network; a table with preprocessing inside the model and missing labels; a recommender. The sections
# do not depend on each other.

# %%
import os

FAST = os.environ.get("KERAS_TAG_TUTORIAL") == "fast"  # Small settings, for the tests.
EPOCHS, TRAININGS, SIZE = (1, 1, 128) if FAST else (15, 3, 1200)

import keras
import numpy as np
from keras import layers

import keras_tag

keras.utils.set_random_seed(0)
rng = np.random.default_rng(0)

# %% [markdown]
# ## Transfer learning
#
# A network that was trained for something else is frozen, and serves as the input of new tasks. Here it
# is a small one, trained to tell ten handwritten digits apart. With `keras.applications` the lines are
# the same: `backbone = keras.applications.MobileNetV3Small(include_top=False, pooling="avg")`.

# %%
from sklearn.datasets import load_digits

images, digit = load_digits(return_X_y=True)
images = images.reshape(-1, 8, 8, 1).astype("float32") / 16

backbone = keras.Sequential(
    [
        keras.Input((8, 8, 1)),
        layers.Conv2D(16, 3, activation="relu"),
        layers.Flatten(),
        layers.Dense(32, activation="relu"),
    ],
    name="backbone",
)
pretraining = keras.Sequential([backbone, layers.Dense(10, activation="softmax")])
pretraining.compile("adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
pretraining.fit(images[:400], digit[:400], epochs=EPOCHS, verbose=0)
print(f"pretrained: accuracy {pretraining.evaluate(images[400:], digit[400:], verbose=0)[1]:.2f}")

# %% [markdown]
# Between the frozen network and the outputs is a small trainable layer. It has to be there: it is what
# the tasks share and compete for. If all shared weights are frozen, no task influences another, and
# `GroupSearch` refuses the model and says why.

# %%
labels = {
    "odd": digit % 2 == 1,
    "loop": np.isin(digit, (0, 6, 8, 9)),
    "prime": np.isin(digit, (2, 3, 5, 7)),
    "large": digit >= 5,
}
labels = {task: values[:, None].astype("float32") for task, values in labels.items()}

backbone.trainable = False
inputs = keras.Input((8, 8, 1))
shared = layers.Dense(6, activation="tanh", name="shared")(backbone(inputs, training=False))
outputs = {task: layers.Dense(1, activation="sigmoid", name=task)(shared) for task in labels}
model = keras.Model(inputs, outputs)
model.compile(keras.optimizers.Adam(0.01), loss=dict.fromkeys(labels, "binary_crossentropy"))

train = (images[400:1400], {task: values[400:1400] for task, values in labels.items()})
valid = (images[1400:], {task: values[1400:] for task, values in labels.items()})
search = keras_tag.GroupSearch(model, budget=2, trainings=TRAININGS, project_name="transfer")
search.search(*train, validation_data=valid, epochs=EPOCHS, verbose=2)
search.results_summary()

# %% [markdown]
# Every network has the pretrained weights, and they are the same as before:

# %%
served = search.best_model()
for network in served.networks:
    kept = network.get_layer("backbone").get_weights()
    assert all(map(np.array_equal, kept, backbone.get_weights()))
ax = keras_tag.plotting.plot_affinity(search.affinity())

# %% [markdown]
# ## A table, with preprocessing in the model and missing labels
#
# `Normalization` and `StringLookup` are adapted to the training data once, and go with every network. A
# label that is NaN is missing: the example is left out for this task alone, in training, in validation
# and when affinities are measured. (Integer labels can't be NaN: give `missing=-1`, or another value.)

# %%
age = rng.uniform(18, 80, size=(SIZE, 1)).astype("float32")
city = rng.choice(["Bern", "Oslo", "Rome"], size=(SIZE, 1))
north = (city == "Oslo").astype("float32")
y = {
    "visits": np.sqrt(age) + north,
    "spend": 3 * np.sqrt(age) + rng.normal(size=(SIZE, 1)),
    "churn": (rng.uniform(size=(SIZE, 1)) < 0.2 + 0.6 * north).astype("float32"),
}
y["spend"][rng.random((SIZE, 1)) < 0.6] = np.nan  # Known for two customers in five.

normalize = layers.Normalization(name="normalize")
normalize.adapt(age)
lookup = layers.StringLookup(output_mode="one_hot", name="lookup")
lookup.adapt(city)
inputs = {
    "age": keras.Input((1,), name="age"),
    "city": keras.Input((1,), name="city", dtype="string"),
}
features = layers.concatenate([normalize(inputs["age"]), lookup(inputs["city"])])
shared = layers.Dense(8, activation="relu", name="shared")(features)
outputs = {
    "visits": layers.Dense(1, name="visits")(shared),
    "spend": layers.Dense(1, name="spend")(shared),
    "churn": layers.Dense(1, activation="sigmoid", name="churn")(shared),
}
model = keras.Model(inputs, outputs)
model.compile(
    keras.optimizers.Adam(0.01),
    loss={"visits": "mse", "spend": "mse", "churn": "binary_crossentropy"},
)

# %%
import tensorflow as tf

# Losses of different units: the weights say how much each counts in the choice.
data = tf.data.Dataset.from_tensor_slices(({"age": age, "city": city}, y))
search = keras_tag.GroupSearch(
    model,
    budget=2,
    trainings=TRAININGS,
    weights={"visits": 1.0, "spend": 0.1, "churn": 2.0},
    project_name="table",
)
search.search(
    data.skip(SIZE // 4).batch(32),
    validation_data=data.take(SIZE // 4).batch(32),
    epochs=EPOCHS,
    verbose=2,
)
search.results_summary()
served = search.best_model()
raw = {"age": np.array([[30.0]]), "city": np.array([["Oslo"]])}
raw = tf.data.Dataset.from_tensors(raw)  # Raw values go in.
predicted = served.predict(raw, verbose=0)
print({task: round(float(values[0, 0]), 2) for task, values in predicted.items()})

# %% [markdown]
# ## A recommender
#
# Users and items have embeddings, which all tasks share. Does a user click, buy, and how long does the
# user look? Layers of `keras_rs` can be used in the same way. What is most of a recommender's memory,
# the embeddings, exists once in every served network: budget with that in mind.

# %%
users, items = rng.integers(0, 50, size=(SIZE, 1)), rng.integers(0, 80, size=(SIZE, 1))
taste, style = rng.normal(size=(50, 4)), rng.normal(size=(80, 4))
match = (taste[users[:, 0]] * style[items[:, 0]]).sum(1, keepdims=True)
price = rng.normal(size=80)[items]
y = {
    "click": (match + rng.logistic(size=match.shape) > 0).astype("float32"),
    "look": (np.exp(0.5 * match) / 10).astype("float32"),
    "buy": (match - 2 * price + rng.logistic(size=match.shape) > 1).astype("float32"),
}
inputs = {name: keras.Input((1,), name=name, dtype="int32") for name in ("user", "item")}
user = layers.Flatten()(layers.Embedding(50, 8, name="users")(inputs["user"]))
item = layers.Flatten()(layers.Embedding(80, 8, name="items")(inputs["item"]))
both = layers.concatenate([user, item, layers.multiply([user, item])])
shared = layers.Dense(16, activation="relu", name="shared")(both)
outputs = {
    "click": layers.Dense(1, activation="sigmoid", name="click")(shared),
    "look": layers.Dense(1, activation="softplus", name="look")(shared),
    "buy": layers.Dense(1, activation="sigmoid", name="buy")(shared),
}
model = keras.Model(inputs, outputs)
model.compile(
    keras.optimizers.Adam(0.01),
    loss={"click": "binary_crossentropy", "look": "mse", "buy": "binary_crossentropy"},
)
search = keras_tag.GroupSearch(model, budget=2, trainings=TRAININGS, project_name="recommender")
search.search(
    {"user": users, "item": items},
    y,
    validation_split=0.25,
    epochs=EPOCHS,
    callbacks=[keras.callbacks.EarlyStopping(patience=3)],
    verbose=2,
)
search.results_summary()

# %% [markdown]
# ## A subclassed model
#
# Its graph can't be cut into groups, so give a function instead: `GroupSearch(build=build,
# tasks=names, budget=2)`, where `build(tasks)` returns a compiled model with these outputs. Models with a
# `train_step` or `compute_loss` of their own are refused; `docs/supported.md` has a table of all that is
# supported and refused.
