# %% [markdown]
# # 6. Dense tasks: every pixel has a label, or none
#
# Depth, surface normals, classes, corners, edges: should they be seen by one network? The rooms
# here are generated, and their labels follow from geometry, in the file formats of Taskonomy. With
# your own copy of Taskonomy only the call of `taskonomy` changes.

# %%
import os

FAST = os.environ.get("KERAS_TAG_TUTORIAL") == "fast"  # Small settings, for the tests.
EPOCHS = 1 if FAST else 15

import keras
import matplotlib.pyplot as plt
import numpy as np

import keras_tag
from keras_tag.datasets.dense import dense_model, xception_encoder

keras.utils.set_random_seed(0)
side = 16 if FAST else 32
splits = keras_tag.datasets.write_scenes(
    "rooms", buildings=3 if FAST else 12, points=2 if FAST else 6, views=2, image_size=side
)
tasks = ("depth_zbuffer", "segment_semantic") if FAST else keras_tag.datasets.FIVE_TASKS
data = keras_tag.datasets.taskonomy("rooms", tasks, side, batch_size=8, splits=splits)
print(data)

# %% [markdown]
# ## Look at the data first
#
# White: no label. There is no geometry behind a window, and so no depth, normal or class there. Such
# pixels are NaN and are left out of that task's loss alone. A whole building is in one split: test
# rooms have colours and sizes that were never seen.

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
# ## The joint model
#
# A shared encoder and a decoder for each task. `data.losses()` are cross-entropy for classes and L1
# for the rest, over the labelled pixels.

# %%
model = dense_model(
    data.channels, data.image_shape, encoder=xception_encoder((8, 12) if FAST else (16, 32))
)
tag = keras_tag.TAGModel(model, every=3)
tag.compile(keras.optimizers.Adam(0.003), loss=data.losses())
tag.fit(data.train, validation_data=data.validation, epochs=EPOCHS, shuffle=False, verbose=0)
affinity = tag.affinity()
ax = keras_tag.plotting.plot_affinity(affinity)

# %% [markdown]
# ## Two networks

# %%
grouping = keras_tag.select_groups(affinity, budget=2)
served = keras_tag.GroupedModel(grouping, keras_tag.build_from(model))
served.compile(keras.optimizers.Adam(0.003), loss=data.losses())
served.fit(data.train, validation_data=data.validation, epochs=EPOCHS, shuffle=False, verbose=0)
grouping

# %%
report = served.report(data.test, joint=model)
report[["network", "trained_with", "loss", "joint_loss"]].round(3)

# %% [markdown]
# ## What they see in a room that is new to them
#
# Corners are a few pixels each. The median of nearly every pixel is "no corner", and that is what L1
# asks for: don't expect to see them.

# %%
joint, grouped = model.predict(images, verbose=0), served.predict(images, verbose=0)
pictures(
    [
        (title, images[0], {task: values[task][0] for task in data.tasks})
        for title, values in (("labels", labels), ("one network", joint), ("groups", grouped))
    ]
)

# %% [markdown]
# A small network, few rooms, one seed: **where a task belongs may change with the seed here**, and
# two networks don't always win, though they have twice the weights. `docs/taskonomy.md` shows two
# seeds of a longer run, with both outcomes. Before you believe a grouping of your own, ask
# `keras_tag.stability(affinity, budget)` and repeat with several seeds.
