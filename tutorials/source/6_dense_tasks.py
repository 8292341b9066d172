# %% [markdown]
# # 6. Dense tasks: every pixel has a label, or none
#
# A *dense* task predicts a picture: depth, surface normals, classes, corners, edges. Which of them
# should share a network? The rooms here are generated, and their labels follow from geometry; the files
# have the formats of the public data set Taskonomy. With your own copy of it only the call of
# `taskonomy` changes.

# %%
import os

FAST = os.environ.get("KERAS_TAG_TUTORIAL") == "fast"  # Small settings, for the tests.
EPOCHS, TRAININGS = (1, 1) if FAST else (12, 2)

import keras
import matplotlib.pyplot as plt
import numpy as np
from dense_rooms import dense_model, write_scenes, xception_encoder

import keras_tag

keras.utils.set_random_seed(0)
side = 16 if FAST else 32
splits = write_scenes(
    "rooms", buildings=3 if FAST else 12, points=2 if FAST else 6, views=2, image_size=side
)
tasks = ("depth_zbuffer", "segment_semantic") if FAST else keras_tag.datasets.FIVE_TASKS
data = keras_tag.datasets.taskonomy("rooms", tasks, side, batch_size=8, splits=splits)
print(data)

# %% [markdown]
# ## Look at the data first
#
# White pixels have no label: there is no geometry behind a window, and so no depth, normal or class.
# Such a label is NaN, and the pixel is left out of this task's loss alone. All rooms of a building are
# in the same split, so that test rooms have colours and sizes that were never seen.

# %%
images, labels = next(data.test.as_numpy_iterator())


def show(axes, values):
    """A label or a prediction as a picture."""
    if values.ndim == 3 and values.shape[-1] == 3:  # Normals: a colour for a direction.
        values = np.where(np.isnan(values), 1.0, np.clip(values, -1, 1)) / 2 + 0.5
    elif values.ndim == 3 and values.shape[-1] > 3:  # Scores of classes.
        values = values.argmax(-1)
    axes.imshow(np.squeeze(values))
    axes.set(xticks=[], yticks=[])


def pictures(rows):
    """Rows of (title, image, {task: values})."""
    shape = len(rows), 1 + len(data.tasks)
    _, axes = plt.subplots(*shape, figsize=(9, 1.7 * len(rows)), squeeze=False)
    for row, (line, (title, image, values)) in enumerate(zip(axes, rows, strict=True)):
        line[0].imshow(image)
        line[0].set(xticks=[], yticks=[], ylabel=title)
        for place, task in zip(line[1:], data.tasks, strict=True):
            show(place, values[task])
            place.set_title("" if row else task, fontsize=8)
    plt.tight_layout()


pictures([("labels", images[k], {t: labels[t][k] for t in data.tasks}) for k in range(2)])

# %% [markdown]
# ## The model
#
# A shared encoder, and a decoder for each task. `data.losses()` are the cross-entropy for classes and the
# mean absolute error for the rest, over the labelled pixels.

# %%
encoder = xception_encoder((8, 12) if FAST else (16, 32))
model = dense_model(data.channels, data.image_shape, encoder=encoder)
model.compile(keras.optimizers.Adam(0.003), loss=data.losses())

# %% [markdown]
# ## The search

# %%
search = keras_tag.GroupSearch(model, budget=2, trainings=TRAININGS, project_name="dense")
search.search(data.train, validation_data=data.validation, epochs=EPOCHS, verbose=2)
search.results_summary()

# %%
ax = keras_tag.plotting.plot_affinity(search.affinity())

# %%
served = search.best_model()
search.evaluate(data.test)[["network", "loss", "joint_loss"]].round(3)

# %% [markdown]
# ## Predictions for a room of an unseen building
#
# Corners are a few pixels each. The median of nearly every pixel is "no corner", and the median is what
# the mean absolute error asks for: don't expect to see them.

# %%
predicted = served.predict(images, verbose=0)
pictures(
    [
        (title, images[0], {task: values[task][0] for task in data.tasks})
        for title, values in (("labels", labels), ("served", predicted))
    ]
)

# %% [markdown]
# This is a small network, few rooms and one seed: **where a task belongs may change with the seed**, and two
# networks are not always better, though they have twice the weights. `docs/taskonomy.md` shows two longer
# runs with different outcomes. Repeat with several seeds (`GroupSearch(seed=...)`) before you believe a
# grouping of your own.
