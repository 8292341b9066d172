# %% [markdown]
# # 4. Several GPUs, several machines
#
# A search has two parts that can be spread over hardware. The *joint run* is one training on all
# tasks: several GPUs share its batches. The *groups* are independent networks: each machine can train
# some of them, and nothing has to be synchronised. This notebook tries both on one CPU, which plays two
# GPUs; nothing here needs a cluster.

# %%
import os

FAST = os.environ.get("KERAS_TAG_TUTORIAL") == "fast"  # Small settings, for the tests.
EPOCHS = 1 if FAST else 4

import keras
import numpy as np
import tensorflow as tf

import keras_tag

tf.get_logger().setLevel("ERROR")  # It reports every reduction.
# One CPU plays two devices. With two GPUs leave this out and write MirroredStrategy().
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
print(strategy.num_replicas_in_sync, "replicas")

# %% [markdown]
# ## Several GPUs in one machine: the joint run
#
# `TAGModel` measures affinities in a training of your own. Build, wrap and compile in one scope;
# `fit` is as ever. `batch_size` is the global batch, which the replicas share.

# %%
x = np.random.default_rng(0).normal(size=(640, 6)).astype("float32")
y = {"a": x[:, :1], "b": x[:, :1] + 0.3 * x[:, 1:2], "c": x[:, 2:3] ** 2}


def build_model(tasks=("a", "b", "c")):
    """Return one network for some of the tasks."""
    inputs = keras.Input((6,))
    shared = keras.layers.Dense(16, activation="relu", name="shared")(inputs)
    return keras.Model(inputs, {task: keras.layers.Dense(1, name=task)(shared) for task in tasks})


keras.utils.set_random_seed(0)
with strategy.scope():
    tag = keras_tag.TAGModel(build_model(), every=2)
    tag.compile(keras.optimizers.Adam(0.01), loss="mse")
tag.fit(x, y, batch_size=64, epochs=EPOCHS, verbose=0)
tag.affinity()

# %% [markdown]
# ## The same as on one device?
#
# With the same first weights and the same batches, but without a strategy, the affinities are the same
# up to rounding:

# %%
keras.utils.set_random_seed(0)
alone = keras_tag.TAGModel(build_model(), every=2)
alone.compile(keras.optimizers.Adam(0.01), loss="mse")
alone.fit(x, y, batch_size=64, epochs=EPOCHS, verbose=0)
difference = np.abs(alone.affinity().mean - tag.affinity().mean).max()
print(f"largest difference of two affinities: {difference:.1e}")
assert difference < 1e-3

# %% [markdown]
# ## Several machines: the groups
#
# The chosen groups are independent networks. Every machine trains its share into one folder, without a
# strategy; afterwards any machine reads the folder and has the whole model. A process that was killed
# starts again with the network that it was at.

# %%
grouping = keras_tag.select_groups(tag.affinity(), budget=2)
print(grouping)


def networks():
    """Return the chosen networks, not trained yet."""
    served = keras_tag.GroupedModel(grouping, build_model)
    served.compile(keras.optimizers.Adam(0.01), loss="mse")
    return served


for machine in range(2):  # On a cluster: each machine with its own number, at the same time.
    mine = range(machine, len(grouping.groups), 2)
    networks().fit_groups("groups", x, y, networks=mine, epochs=EPOCHS, verbose=0)

served = networks()
served.fit_groups("groups", x, y, epochs=EPOCHS, verbose=0)  # Reads what is finished.
losses = served.evaluate(x, y, verbose=0, return_dict=True)
print({name: round(value, 3) for name, value in losses.items()})

# %% [markdown]
# ## Further
#
# One training over several machines (`MultiWorkerMirroredStrategy`), what a probe sends over the
# network, and what Keras can't do under a strategy: `docs/distributed.md`.
