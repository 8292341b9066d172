# %% [markdown]
# # 3. CelebA: nine attributes of a face
#
# The first data set of the paper (Fifty et al., 2021) is CelebA: 202,599 photographs of faces. Nine
# of their forty attributes are the tasks.
#
# `REAL = False` draws 2,600 cartoon faces with the same nine attributes, so that everything below
# runs in minutes without a download. **Numbers from cartoons say nothing about CelebA.** `REAL = True`
# reads the real data through TensorFlow Datasets; `docs/celeba.md` says how to get them. It needs a
# GPU.

# %%
import os

FAST = os.environ.get("KERAS_TAG_TUTORIAL") == "fast"  # Small settings, for the tests.
REAL = False
EPOCHS, TRAININGS = (1, 1) if FAST else (12, 3)

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from PIL import Image, ImageDraw

import keras_tag
from keras_tag.datasets import NINE_ATTRIBUTES

TASKS = NINE_ATTRIBUTES[:3] if FAST else NINE_ATTRIBUTES

keras.utils.set_random_seed(0)
HAIR = {"Black_Hair": (20, 20, 20), "Blond_Hair": (230, 205, 120), "Brown_Hair": (110, 65, 30)}


def draw_face(rng):
    """A cartoon, 32 x 32, and its attributes."""
    has = {name: bool(rng.random() < 0.3) for name in NINE_ATTRIBUTES}
    hair = rng.choice([*HAIR, "Gray_Hair"])
    has.update({name: name == hair for name in HAIR})
    has["No_Beard"] = not (has["Goatee"] or has["Mustache"] or has["5_o_Clock_Shadow"])
    skin = tuple(int(v) for v in rng.integers(-15, 15, 3) + np.array([215, 170, 140]))
    image = Image.new("RGB", (64, 64), tuple(int(v) for v in rng.integers(60, 200, 3)))
    draw = ImageDraw.Draw(image)
    draw.ellipse((8, 6, 56, 56), fill=HAIR.get(hair, (150, 150, 150)))
    draw.ellipse((14, 15, 50, 59), fill=skin)
    if has["5_o_Clock_Shadow"]:
        draw.pieslice((14, 15, 50, 59), 20, 160, fill=tuple(int(v * 0.75) for v in skin))
    for x in (18, 38) if has["Rosy_Cheeks"] else ():
        draw.ellipse((x, 35, x + 8, 41), fill=(235, 110, 110))
    for x in (23, 39):
        draw.ellipse((x - 2, 29, x + 2, 33), fill=(30, 40, 60))
    if has["Mustache"]:
        draw.rectangle((23, 42, 41, 45), fill=(50, 35, 25))
    draw.rectangle((27, 47, 37, 49), fill=(180, 70, 70))
    if has["Goatee"]:
        draw.ellipse((27, 51, 37, 60), fill=(50, 35, 25))
    if has["Wearing_Hat"]:
        draw.rectangle((5, 1, 58, 18), fill=tuple(int(v) for v in rng.integers(0, 255, 3)))
    pixels = np.asarray(image.resize((32, 32)), "float32") / 255
    # Bad light, or it would be too easy.
    return np.clip(pixels + rng.normal(0, 0.3, pixels.shape), 0, 1).astype("float32"), has


def drawn_faces(count, seed):
    """Batches of images and a dict of labels, as `celeb_a` gives them."""
    rng = np.random.default_rng(seed)
    images, attributes = zip(*(draw_face(rng) for _ in range(count)), strict=True)
    labels = {task: np.array([[has[task]] for has in attributes], "float32") for task in TASKS}
    return tf.data.Dataset.from_tensor_slices((np.stack(images), labels))


if REAL:
    data = keras_tag.datasets.celeb_a()  # 64 x 64 pixels, batches of 256.
    train, validation, test = data.train, data.validation, data.test
else:
    size = 64 if FAST else 1200
    train = drawn_faces(size, 0).shuffle(size, seed=0).batch(32)
    validation = drawn_faces(64 if FAST else 400, 1).batch(64)
    test = drawn_faces(64 if FAST else 1000, 2).batch(64)

images, labels = next(iter(train))
figure, axes = plt.subplots(1, 5, figsize=(10, 2.6))
for k, place in enumerate(axes):
    place.imshow(images[k])
    place.set_title("\n".join(t for t in labels if labels[t][k, 0] == 1), fontsize=7)
    place.axis("off")

# %% [markdown]
# ## The model
#
# A small convolutional network with one output per attribute. (The paper's is larger:
# `benchmarks/celeba.py` has its settings.)

# %%
inputs = keras.Input(images.shape[1:])
x = inputs
for k, width in enumerate((8, 16) if FAST else (16, 32, 48)):
    x = keras.layers.Conv2D(width, 3, strides=2, activation="relu", name=f"shared_{k}")(x)
x = keras.layers.Dense(32, activation="relu", name="shared")(keras.layers.Flatten()(x))
model = keras.Model(
    inputs, {task: keras.layers.Dense(1, "sigmoid", name=task)(x) for task in TASKS}
)
losses = dict.fromkeys(TASKS, "binary_crossentropy")
model.compile(keras.optimizers.Adam(1e-3), loss=losses, metrics=dict.fromkeys(losses, "accuracy"))

# %% [markdown]
# ## The search
#
# Two networks may be served. One network is trained for all nine tasks while affinities are measured,
# then up to three groups of tasks.

# %%
search = keras_tag.GroupSearch(model, budget=2, trainings=TRAININGS, project_name="celeba")
search.search(train, validation_data=validation, epochs=EPOCHS, verbose=2)

# %%
search.results_summary()

# %% [markdown]
# On test data, which no choice was made on:

# %%
report = search.evaluate(test)
report[["network", "accuracy", "joint_accuracy", "loss", "joint_loss"]].round(3)

# %% [markdown]
# ## The affinities
#
# An affinity is the share of a loss that a step takes away. Where a loss is nearly 0, as that of the
# hair colours soon is here, a small change is a large share: late values are large and noisy, and they
# dominate the mean over the whole run. `over` takes some of the epochs: here the first six.

# %%
affinity = search.affinity()
ax = keras_tag.plotting.plot_dynamics(affinity)

# %%
ax = keras_tag.plotting.plot_affinity(affinity.over(slice(6)))

# %% [markdown]
# ## The paper's own affinities
#
# They are in the package. Chosen as in the paper, by "partners" (the mean affinity of the other members
# of a group), for two networks:

# %%
published = keras_tag.datasets.published("celeba_tag")
grouping = keras_tag.select_groups(published.affinity, budget=2, score="partners")
ax = keras_tag.plotting.plot_groups(grouping)

# %% [markdown]
# One run on cartoons proves nothing, and on CelebA nothing has been measured here.
# `python benchmarks/celeba.py` runs the paper's experiment on the real data, with random groups to
# compare with, and goes on where it was stopped.
