# %% [markdown]
# # 4. From one GPU to several hosts
#
# The affinity belongs to the model and the data, not to the hardware: two replicas or three hosts
# measure what one device measures. The engine is TensorFlow's own `tf.distribute`; `keras_tag`
# adds nothing to start or to configure. This notebook rehearses it on one CPU, which plays two GPUs and
# then two hosts.

# %%
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

FAST = os.environ.get("KERAS_TAG_TUTORIAL") == "fast"  # Small settings, for the tests.
EPOCHS = 1 if FAST else 4
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

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
# Three lines inside one scope: build, wrap, compile. `fit` is as ever; `batch_size` is the global
# batch, and the replicas share it.

# %%
x = np.random.default_rng(0).normal(size=(640, 6)).astype("float32")
y = {"a": x[:, :1], "b": x[:, :1] + 0.3 * x[:, 1:2], "c": x[:, 2:3] ** 2}


def build_model(tasks=("a", "b", "c")):
    """One network for some of the tasks."""
    inputs = keras.Input((6,))
    trunk = keras.layers.Dense(16, activation="relu", name="trunk")(inputs)
    return keras.Model(inputs, {task: keras.layers.Dense(1, name=task)(trunk) for task in tasks})


keras.utils.set_random_seed(0)
with strategy.scope():
    tag = keras_tag.TAGModel(build_model(), every=2)
    tag.compile(keras.optimizers.Adam(0.01), loss="mse")
tag.fit(x, y, batch_size=64, epochs=EPOCHS, verbose=0)
tag.affinity()

# %% [markdown]
# ## The same as on one device?
#
# The same first weights and the same batches, without a strategy:

# %%
keras.utils.set_random_seed(0)
alone = keras_tag.TAGModel(build_model(), every=2)
alone.compile(keras.optimizers.Adam(0.01), loss="mse")
alone.fit(x, y, batch_size=64, epochs=EPOCHS, verbose=0)
difference = np.abs(alone.affinity().mean - tag.affinity().mean).max()
print(f"largest difference of two affinities: {difference:.1e}")
assert difference < 1e-3  # Rounding, over a whole run.

# %% [markdown]
# ## Several hosts
#
# The same script runs on every host. New are the strategy, and `TF_CONFIG`, which says who is who.
# Saving is collective: *every* worker calls it, and `worker_path` sends all but the chief's file to a
# place that is thrown away. `Backup` makes `kill -9` harmless: start again, and it goes on.

# %%
_ = Path("train.py").write_text(
    """
import keras
import numpy as np
import tensorflow as tf

import keras_tag

strategy = tf.distribute.MultiWorkerMirroredStrategy()  # Before anything else of TensorFlow.

x = np.random.default_rng(0).normal(size=(640, 6)).astype("float32")
y = {"a": x[:, :1], "b": x[:, :1] + 0.3 * x[:, 1:2], "c": x[:, 2:3] ** 2}

keras.utils.set_random_seed(0)
with strategy.scope():
    inputs = keras.Input((6,))
    trunk = keras.layers.Dense(16, activation="relu", name="trunk")(inputs)
    model = keras.Model(inputs, {task: keras.layers.Dense(1, name=task)(trunk) for task in y})
    tag = keras_tag.TAGModel(model, every=2)
    tag.compile(keras.optimizers.Adam(0.01), loss="mse")

backup = keras_tag.callbacks.Backup("backup")
tag.fit(x, y, batch_size=64, epochs=EPOCHS, verbose=0, callbacks=[backup])
tag.save(keras_tag.worker_path("joint.keras"))
tag.affinity().save(keras_tag.worker_path("affinity.npz"))
""".replace("EPOCHS", str(EPOCHS)),
    "utf-8",
)

# %% [markdown]
# On a cluster each host runs `python train.py` with its own `index`. Here two processes of this
# machine play two hosts.

# %%


def free_ports(count):
    """Ports that nobody listens on just now."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


hosts = [f"127.0.0.1:{port}" for port in free_ports(2)]
workers = []
for index in range(2):
    config = {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}}
    environment = {**os.environ, "TF_CONFIG": json.dumps(config)}
    with open(f"worker_{index}.txt", "w") as log:
        workers.append(
            subprocess.Popen([sys.executable, "train.py"], env=environment, stdout=log, stderr=log)
        )
codes = [worker.wait(timeout=600) for worker in workers]
if any(codes):
    print(Path("worker_0.txt").read_text()[-3000:])
print("return codes", codes)

# %%
hosts_affinity = keras_tag.Affinity.load("affinity.npz")
difference = np.abs(hosts_affinity.mean - alone.affinity().mean).max()
print(f"largest difference to one device: {difference:.1e}")
assert difference < 1e-3

# %% [markdown]
# ## The groups: nobody waits for anybody
#
# Chosen groups are independent networks. Let every machine train its share into one folder, without
# any strategy, and put the networks together afterwards. A process that was killed starts again
# with the network it was at.

# %%
grouping = keras_tag.select_groups(hosts_affinity, budget=2)
print(grouping)
for worker in range(2):  # On a cluster: one of these per machine, at the same time.
    served = keras_tag.GroupedModel(grouping, build_model)
    served.compile(keras.optimizers.Adam(0.01), loss="mse")
    mine = range(worker, len(served.networks), 2)
    served.fit_groups("groups", x, y, networks=mine, epochs=EPOCHS, verbose=0)

served.fit_groups("groups", x, y, epochs=EPOCHS, verbose=0)  # Reads what is finished.
print(
    {
        task: round(loss, 3)
        for task, loss in served.evaluate(x, y, verbose=0, return_dict=True).items()
    }
)

# %% [markdown]
# ## What it costs
#
# With n tasks a probed step moves about n + 1 times the bytes of a plain one over the network, every
# k-th step only: traffic grows by 1 + n / k. Where the network is what training waits for, take
# `every=10 * n`. `docs/distributed.md` has the formulas, and what Keras can't do under a strategy.
