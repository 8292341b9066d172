# %% [markdown]
# # 5. Your own model
#
# What people bring along: a subclassed model, labels that are missing, losses of different kinds, a
# transformer, a pre-trained trunk. Run the sections in order: they build on each other.

# %%
import os

FAST = os.environ.get("KERAS_TAG_TUTORIAL") == "fast"  # Small settings, for the tests.
EPOCHS = 1 if FAST else 4
SIZE = 128 if FAST else 1024

import keras
import numpy as np
from keras import layers

import keras_tag

keras.utils.set_random_seed(0)
rng = np.random.default_rng(0)

# %% [markdown]
# ## Data: a street, read by sensors
#
# Twelve readings at each of ten moments. Four tasks of three kinds: how fast (a number), how many
# (a count), which weather (one of three classes), an accident (yes or no). The first two depend on
# one half of the sensors, the last two on the other.

# %%
x = rng.normal(size=(SIZE, 10, 12)).astype("float32")
traffic, sky = np.tanh(8 * x[:, :, :6].mean((1, 2))), np.tanh(8 * x[:, :, 6:].mean((1, 2)))


def noisy(values):
    """Nobody measures exactly."""
    return (values + 0.2 * rng.normal(size=SIZE))[:, None]


y = {
    "speed": noisy(traffic).astype("float32"),
    "count": rng.poisson(np.exp(1 + traffic))[:, None].astype("float32"),
    "weather": np.digitize(noisy(sky), [-0.3, 0.3]).astype("int32"),
    "accident": (noisy(sky) > 0.5).astype("float32"),
}

# %% [markdown]
# ## A subclassed model, with losses of different kinds
#
# `call` returns a dict; its keys are the tasks. What is shared is found by asking the gradients, so
# it works for any model. Affinities have no unit, whatever the losses are: each task is compared
# with itself, before and after. (For that a loss must be positive: Keras's Poisson loss, for one, may
# pass through 0, so counts have another one here.)
#
# Register the class, so that saved files can be loaded again: that is Keras's rule, not ours.


# %%
@keras.saving.register_keras_serializable(package="street")
class Street(keras.Model):
    """A recurrent trunk, and a head for each task."""

    def __init__(self, tasks=tuple(y), **kwargs):
        super().__init__(**kwargs)
        self.tasks = tuple(tasks)
        self.trunk = layers.GRU(8, name="trunk")
        ends = {
            "speed": layers.Dense(1),
            "count": layers.Dense(1, activation="softplus"),
            "weather": layers.Dense(3, activation="softmax"),
            "accident": layers.Dense(1, activation="sigmoid"),
        }
        self.ends = {task: ends[task] for task in self.tasks}

    def call(self, inputs):
        """One output for each task."""
        features = self.trunk(inputs)
        return {task: end(features) for task, end in self.ends.items()}

    def get_config(self):
        """What `from_config` needs."""
        return {**super().get_config(), "tasks": self.tasks}


LOSSES = {
    "speed": "mse",
    "count": "msle",
    "weather": "sparse_categorical_crossentropy",
    "accident": "binary_crossentropy",
}
tag = keras_tag.TAGModel(Street(), every=2)
tag.compile(keras.optimizers.Adam(0.01), loss=LOSSES)
tag.fit(x, y, epochs=EPOCHS, verbose=0)
tag.affinity()

# %% [markdown]
# `tag.sharing_report()` says which weights were moved by whom. Look at it once: a trunk that isn't
# listed as shared is one that your model doesn't share.

# %%
tag.sharing_report()

# %% [markdown]
# A subclassed model can't be cut apart by `build_from`; you say how a network for some of the tasks is
# built. `Street` takes them as an argument already.

# %%
grouping = keras_tag.select_groups(tag.affinity(), budget=2)
served = keras_tag.GroupedModel(grouping, lambda tasks: Street(tasks))
served.compile(keras.optimizers.Adam(0.01), loss=LOSSES)
served.fit(x, y, epochs=EPOCHS, verbose=0)
grouping

# %% [markdown]
# ## Missing labels
#
# A float label that is NaN is missing: the example is left out, for that task alone, in training,
# evaluating and probing. Here nobody counted in four examples of five. (Integer labels can't be NaN:
# `missing=-1` names another sign.) Metrics belong in `weighted_metrics`, which see labelled
# examples only; Keras's `metrics` would count the missing ones, and are refused.

# %%
gaps = {**y, "count": np.where(rng.random((SIZE, 1)) < 0.8, np.nan, y["count"]).astype("float32")}
tag = keras_tag.TAGModel(Street(), every=2)
tag.compile(keras.optimizers.Adam(0.01), loss=LOSSES, weighted_metrics={"count": ["mae"]})
history = tag.fit(x, gaps, epochs=EPOCHS, verbose=0)
print({name: round(values[-1], 3) for name, values in history.history.items()})

# %% [markdown]
# ## A transformer
#
# Dropout is drawn once per probe: the loss before and the loss after see the same masks, so what you
# measure is the step, not the dice.


# %%
def transformer(tasks=("speed", "weather", "accident")):
    """One block of attention, shared by all tasks."""
    inputs = keras.Input((10, 12))
    h = layers.Dense(16, name="embed")(inputs)
    a = layers.MultiHeadAttention(2, 8, dropout=0.1, name="attend")(h, h)
    h = layers.LayerNormalization(name="norm_1")(h + a)
    h = layers.LayerNormalization(name="norm_2")(h + layers.Dense(16, "gelu", name="mlp")(h))
    h = layers.GlobalAveragePooling1D()(h)
    ends = {"weather": (3, "softmax"), "accident": (1, "sigmoid"), "speed": (1, None)}
    return keras.Model(inputs, {t: layers.Dense(*ends[t], name=t)(h) for t in tasks})


some = ("speed", "weather", "accident")
tag = keras_tag.TAGModel(transformer(), every=2)
tag.compile(keras.optimizers.AdamW(0.005), loss={task: LOSSES[task] for task in some})
tag.fit(x, {task: y[task] for task in some}, epochs=EPOCHS, verbose=0)
ax = keras_tag.plotting.plot_affinity(tag.affinity())

# %% [markdown]
# ## A pre-trained trunk
#
# Freeze what shall stay, as always: weights that are not trainable are not moved by a probe either.
# What is measured is what the tasks do to each other through the weights that you do train. Here
# the lower half of the transformer's trunk stands for your pre-trained one. With a backbone of
# `keras.applications` leave its upper layers trainable, or put a trainable layer between it and the
# heads: where the whole trunk is frozen the tasks share nothing, and `TAGModel` says so.

# %%
trained = tag.model
for name in ("embed", "attend", "norm_1"):
    trained.get_layer(name).trainable = False
tag = keras_tag.TAGModel(trained, every=2)
tag.compile(keras.optimizers.AdamW(0.002), loss={task: LOSSES[task] for task in some})
tag.fit(x, {task: y[task] for task in some}, epochs=EPOCHS, verbose=0)
print([variable.path for variable in tag.shared_variables])

# %% [markdown]
# Every group starts from the pre-trained weights as well, and what is frozen stays frozen.

# %%
grouping = keras_tag.Grouping.from_groups([("weather", "accident"), ("speed",)])
served = keras_tag.GroupedModel(grouping, keras_tag.build_from(trained, start="all"))

# %% [markdown]
# ## If something is refused
#
# A model with its own `train_step` or `compute_loss` can't be wrapped: the wrapper would leave it out
# without a word, so it says no. Move the special part into a loss or a layer. All that is supported
# and refused is in a table in `docs/tag_model.md`.
