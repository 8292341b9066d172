# %% [markdown]
# # 1. Quickstart: your model in six lines
#
# You have several prediction tasks on the same inputs. One network for all of them is cheap to
# serve, but tasks can hinder each other; one network for each task is costly. `GroupSearch` finds
# which tasks should share a network when only a few networks may be served.
#
# In this example an image shows two overlapping handwritten digits, and six tasks ask about them:
# is the left digit odd, does it have a loop, is it prime; and the same about the right one. Two
# networks may be served. Tasks about the same digit look at the same pixels, so we know which groups
# are right here, and can see whether they are found.

# %%
import os

FAST = os.environ.get("KERAS_TAG_TUTORIAL") == "fast"  # Small settings, for the tests.
EPOCHS, TRAININGS = (1, 1) if FAST else (30, 4)

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
    place.imshow(images[k], cmap="gray")
    true = [task.replace("_", " ") for task in digits.tasks if float(labels[task][k, 0]) == 1]
    place.set_title("\n".join(true) or "none", fontsize=7)
    place.axis("off")

# %% [markdown]
# ## Your model
#
# This is what you would have written anyway: shared layers, and one named output for each task,
# compiled as usual.

# %%
inputs = keras.Input(digits.image_shape)
shared = keras.layers.Dense(24, activation="relu", name="shared")(keras.layers.Flatten()(inputs))
outputs = {task: keras.layers.Dense(1, "sigmoid", name=task)(shared) for task in digits.tasks}
model = keras.Model(inputs, outputs)
model.compile(keras.optimizers.Adam(0.005), loss=dict.fromkeys(outputs, "binary_crossentropy"))

# %% [markdown]
# ## The search
#
# First one network is trained for all tasks, the *joint run*. Then a few *groups* are trained: sets
# of tasks that share a network. `search` takes the arguments of `fit`; networks are compared by their
# losses on the validation data.

# %%
search = keras_tag.GroupSearch(model, budget=2, trainings=TRAININGS, project_name="digits")
stop = keras.callbacks.EarlyStopping(patience=5)
search.search(
    digits.train, validation_data=digits.validation, epochs=EPOCHS, callbacks=[stop], verbose=2
)

# %%
search.results_summary()

# %% [markdown]
# The objective is here each task's validation loss: "chosen" in the network that serves the task,
# "joint run" in the network of all tasks. The line below the table says whether the gain is more
# than luck: networks that are trained alike differ a little, too.
#
# ## How it chose
#
# During the joint run it was measured how much a training step for one task alone lowers the loss
# of another. This is the *affinity* of the two tasks. Rows are the tasks whose step it was, columns the
# tasks whose loss was measured; blue helps, red harms. The tasks of the left digit help each other, and
# so do those of the right one.

# %%
ax = keras_tag.plotting.plot_affinity(search.affinity())

# %% [markdown]
# `search.report("report.html")` writes this picture, the networks and all trainings into one file.
#
# ## The model that you serve
#
# `best_model` returns one trained Keras model, which takes each task from its best network. Groups
# were chosen on the validation data, so its quality is measured on test data.

# %%
served = search.best_model()
report = search.evaluate(digits.test)
print(report[["network", "loss", "joint_loss"]].round(3))
print(f"total: {report['loss'].sum():.3f} with {len(served.networks)} networks, ", end="")
print(f"{report['joint_loss'].sum():.3f} with one")

# %%
served.save("served.keras")
again = keras.models.load_model("served.keras")
print(sorted(again.predict(images[:1], verbose=0)))

# %% [markdown]
# ## What this shows, and what it does not
#
# The structure was planted, and it was found. Two networks also have twice the weights of one. On your
# own tasks the gain may be small; then the summary says so, and the joint network is the one to serve.
#
# Replace `model` and the data by your own; nothing else changes. A search that was interrupted goes on
# when the same cells are run again. The other notebooks: *2* constraints, and choosing from a matrix of
# affinities; *3* faces; *4* several GPUs and machines; *5* transfer learning, tables with missing labels,
# recommenders; *6* labels that are pictures.
