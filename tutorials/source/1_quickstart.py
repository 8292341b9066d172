# %% [markdown]
# # 1. Quickstart: which digits' questions should share a network?
#
# You have several tasks on the same inputs. One network for all of them is cheap, but tasks get in
# each other's way; one network for each is dear. In between lies the question: *which tasks should
# train together?*
#
# Here an image shows two overlapping handwritten digits, and six tasks ask about them: is the left
# digit odd, has it a loop, is it prime; and the same of the right one. We have room for two networks.
#
# The structure is planted: tasks about the same digit look at the same pixels. A method that is
# worth using on your own tasks, where nobody knows the structure, must find it here.

# %%
import os

FAST = os.environ.get("KERAS_TAG_TUTORIAL") == "fast"  # Small settings, for the tests.
EPOCHS = 2 if FAST else 30

import keras
import matplotlib.pyplot as plt

import keras_tag

keras.utils.set_random_seed(0)
digits = keras_tag.datasets.overlaid_digits(
    positions=2, tasks=("odd", "loop", "prime"), seed=0, train_size=300 if FAST else 1500
)
images, labels = next(iter(digits.train))

figure, axes = plt.subplots(1, 4, figsize=(8, 2.2))
for k, place in enumerate(axes):
    place.imshow(images[k, ..., 0] if images.ndim == 4 else images[k], cmap="gray")
    true = [task.replace("_", " ") for task in digits.tasks if float(labels[task][k, 0]) == 1]
    place.set_title("\n".join(true) or "none", fontsize=7)
    place.axis("off")

# %% [markdown]
# ## Your joint model
#
# What you would have written anyway: one trunk, one head per task. Any Keras model with several
# named outputs will do.

# %%
inputs = keras.Input(images.shape[1:])
trunk = keras.layers.Dense(24, activation="relu", name="trunk")(keras.layers.Flatten()(inputs))
heads = {task: keras.layers.Dense(1, "sigmoid", name=task)(trunk) for task in digits.tasks}
model = keras.Model(inputs, heads)
losses = dict.fromkeys(digits.tasks, "binary_crossentropy")

# %% [markdown]
# ## Train it, and measure on the way
#
# `TAGModel` wraps the model; `compile` and `fit` are Keras's own. Every tenth step is *probed*
# (in runs of thousands of steps fewer, see `every=`): for each task the shared weights take a step for that task alone, every other task's loss is looked at,
# and the step is taken back. **Training is not disturbed by this**: weights, metrics and History
# are bit for bit those of your own `fit`.

# %%
tag = keras_tag.TAGModel(model)
tag.compile(keras.optimizers.Adam(0.005), loss=losses)
stop = keras.callbacks.EarlyStopping(patience=5, restore_best_weights=True)
history = tag.fit(
    digits.train,
    validation_data=digits.validation,
    epochs=EPOCHS,
    callbacks=[stop],
    verbose=0,
)
print(f"{len(history.epoch)} epochs, {tag.probes} probes")

# %% [markdown]
# ## The affinity
#
# `Z[i, j] = 1 - (loss of j after i's step) / (loss of j before)`. The row is the task whose update it
# was, the column the task whose loss was measured. Positive (blue): the update helps.
#
# Look for two blocks: the left digit's tasks help each other, and so do the right one's.

# %%
affinity = tag.affinity()
affinity

# %% [markdown]
# ## The groups
#
# `select_groups` finds the best groups within the budget, with a proof that none are better. A
# task may be trained in two networks, to help, but it is *served* by exactly one.

# %%
grouping = keras_tag.select_groups(affinity, budget=2)
grouping

# %%
figure, (left, right) = plt.subplots(
    1, 2, figsize=(12, 4.6), layout="constrained", width_ratios=[1.35, 1]
)
keras_tag.plotting.plot_affinity(affinity, left)
ax = keras_tag.plotting.plot_groups(grouping, right)

# %% [markdown]
# ## One model out of the groups
#
# `GroupedModel` trains all groups in one `fit` and is one Keras model with one output per task.
# `build_from` cuts the networks out of your joint model: same layers, new weights.

# %%
served = keras_tag.GroupedModel(grouping, keras_tag.build_from(model))
served.compile(keras.optimizers.Adam(0.005), loss=losses)
served.fit(
    digits.train,
    validation_data=digits.validation,
    epochs=EPOCHS,
    callbacks=[keras_tag.callbacks.NetworkEarlyStopping(patience=5)],
    verbose=0,
)
report = served.report(digits.test, joint=model)
report[["network", "trained_with", "loss", "joint_loss"]].round(3)

# %%
print(f"total test loss: {report['joint_loss'].sum():.3f} with one network, ", end="")
print(f"{report['loss'].sum():.3f} with {len(grouping.groups)}")
served.save("served.keras")
again = keras.models.load_model("served.keras")
print(sorted(again.predict(images[:1], verbose=0)))

# %% [markdown]
# ## What this shows, and what not
#
# The structure was planted, and it was found. Two networks also have twice the weights of one. On
# your own tasks always compare with the rivals that you would otherwise use: one network for all
# of them, one for each, and *random* groups of the same number. `keras-tag demo` does that on a
# similar set, over several seeds.
#
# ## Your turn
#
# - Swap `inputs`, `trunk` and `heads` for your own model and `digits` for your own data: nothing else
#   changes. The tutorial *Your own model* shows subclassed models, missing labels and more.
# - Save what was measured, `affinity.save("affinity.npz")`; choosing groups anew needs no training.
#   That is the next tutorial.
