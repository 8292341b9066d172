# %% [markdown]
# # 4. Several GPUs and a cluster
#
# A search has two parts that can be spread over hardware. The *joint run* is one training on all
# tasks: several GPUs share its batches. The *groups* are independent trainings: they run side by side,
# in processes of one machine or on the hosts of a cluster. This notebook tries both on one CPU, which
# plays two GPUs and two workers.

# %%
import os

FAST = os.environ.get("KERAS_TAG_TUTORIAL") == "fast"  # Small settings, for the tests.
EPOCHS, TRAININGS, WORKERS = (1, 1, 1) if FAST else (6, 4, 2)

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
# ## Several GPUs in one machine
#
# Make and compile the model in the scope of a strategy; the rest is as ever. `batch_size` is the global
# batch, which the devices share.

# %%
x = np.random.default_rng(0).normal(size=(640, 6)).astype("float32")
first, second = np.tanh(x[:, :3].sum(1, keepdims=True)), np.tanh(x[:, 3:].sum(1, keepdims=True))
y = {"a": first, "b": first + 0.1, "c": second, "d": second - 0.1}


def compiled_model():
    """Return the joint model."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,))
    shared = keras.layers.Dense(4, activation="tanh", name="shared")(inputs)
    model = keras.Model(inputs, {task: keras.layers.Dense(1, name=task)(shared) for task in y})
    model.compile(keras.optimizers.Adam(0.01), loss="mse")
    return model


with strategy.scope():
    model = compiled_model()
fit = {"batch_size": 64, "epochs": EPOCHS, "validation_split": 0.2, "verbose": 2}
mirrored = keras_tag.GroupSearch(model, budget=2, trainings=1, project_name="mirrored")
mirrored.search(x, y, **fit)

# %% [markdown]
# ## Several workers
#
# Here the groups are trained by a pool of processes (`"spawn"`: TensorFlow can't be used in forked ones).
# The search proposes a group whenever a worker is free. With several GPUs every worker takes one of its own:
# `docs/cluster.md` has the few lines for it.

# %%
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

search = keras_tag.GroupSearch(
    compiled_model(), budget=2, trainings=TRAININGS, project_name="workers"
)
with ProcessPoolExecutor(WORKERS, multiprocessing.get_context("spawn")) as pool:
    search.search(x, y, **fit, executor=pool)
search.results_summary()

# %% [markdown]
# The seed of a training follows from the search's seed and the group: a group is the same network on
# whichever worker it is trained. And two devices measure what one device measures, up to rounding:

# %%
difference = np.abs(mirrored.affinity().mean - search.affinity().mean).max()
print(f"largest difference of two affinities: {difference:.1e}")
assert difference < 1e-3

# %% [markdown]
# ## A cluster
#
# On a [Ray](https://docs.ray.io) cluster only the executor changes:
#
# ```python
# ray.init(address="auto")
# executor = keras_tag.RayExecutor(num_cpus=4, num_gpus=1)  # of one training
# search.search(train, validation_data=valid, epochs=30, executor=executor)
# ```
#
# `docs/cluster.md` says how to start Ray by hand, with SLURM and with Kubernetes, what is sent to workers,
# and what happens when one is lost. To share *one* training among several hosts, see
# `docs/distributed.md`.
