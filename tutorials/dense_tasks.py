"""Dense tasks: should depth, normals, classes, edges and corners be seen by one network?

A label here is a picture: every pixel has one, or none. The rooms are generated, and their labels
follow from geometry, in the file formats of Taskonomy; with `keras_tag.datasets.taskonomy` and your
own copy of Taskonomy the rest of this script stays as it is.

    python tutorials/dense_tasks.py                       # some minutes on two cores
    python tutorials/dense_tasks.py --epochs 1 --buildings 3  # just to see it run

Pictures and numbers are written to the folder `dense_tasks`.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path

import keras
import matplotlib.pyplot as plt
import numpy as np
from dense_rooms import dense_model, write_scenes

import keras_tag

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--epochs", type=int, default=30)
parser.add_argument("--buildings", type=int, default=24)
parser.add_argument("--image-size", type=int, default=48)
parser.add_argument("--tasks", nargs="+", default=keras_tag.datasets.FIVE_TASKS)
parser.add_argument("--seed", type=int, default=0, help="of the rooms and the first weights")
parser.add_argument("--out", default="dense_tasks", help="folder for pictures and numbers")
options = parser.parse_args()
out = Path(options.out)
out.mkdir(parents=True, exist_ok=True)

# 1. Rooms of several buildings. A whole building is in one split: test rooms have other colours,
#    walls and sizes than any that was seen in training.
rooms = tempfile.TemporaryDirectory()
splits = write_scenes(
    rooms.name,
    buildings=options.buildings,
    points=6,
    views=2,
    image_size=options.image_size,
    seed=options.seed,
)
data = keras_tag.datasets.taskonomy(
    rooms.name, options.tasks, options.image_size, batch_size=16, splits=splits
)
print(data)

# 2. Look at them. White: no label. There is no geometry behind a window, and so no depth, normal or
#    class; edges and corners are labelled everywhere.
RANGES = {
    "segment_semantic": (0, 16),
    "depth_zbuffer": (-1.5, 2.5),
    "normal": (None, None),
    "keypoints2d": (-0.5, 9.5),
    "edge_texture": (-0.7, 4.9),
}


def show(axes, task, values):
    """One label or prediction as a picture."""
    if task == "segment_semantic" and values.ndim == 3:
        values = values.argmax(-1)
    if task == "normal":
        values = np.where(np.isnan(values), 1.0, np.clip(values, -1, 1)) / 2 + 0.5
    low, high = RANGES[task]
    axes.imshow(np.squeeze(values), cmap="viridis", vmin=low, vmax=high)


def picture(rows, name):
    """Rows of images and their labels or predictions, to a file."""
    columns = ("image", *data.tasks)
    figure, axes = plt.subplots(len(rows), len(columns), figsize=(11, 2 * len(rows)), squeeze=False)
    for line, (title, image, values) in zip(axes, rows, strict=True):
        line[0].imshow(image)
        line[0].set_ylabel(title)
        for place, task in zip(line[1:], data.tasks, strict=True):
            show(place, task, values[task])
    for place, column in zip(axes[0], columns, strict=True):
        place.set_title(column, fontsize=9)
    for place in axes.flat:
        place.set(xticks=[], yticks=[])
    figure.tight_layout()
    figure.savefig(out / name, dpi=100)
    plt.close(figure)


images, labels = next(data.test.as_numpy_iterator())
chosen = np.argsort(-np.abs(np.diff(images, axis=2)).mean((1, 2, 3)))[:3]  # those with most to see
images, labels = images[chosen], {task: label[chosen] for task, label in labels.items()}
picture(
    [("labels", x, {t: labels[t][k] for t in labels}) for k, x in enumerate(images)], "rooms.png"
)

# 3. One joint model: a shared encoder, a decoder for each task. Pixels without a label are NaN, and
#    are left out of that task's loss alone. Every fifth step is probed.
keras.utils.set_random_seed(options.seed)
model = dense_model(data.channels, data.image_shape)
tag = keras_tag.TAGModel(model, every=5)
tag.compile(keras.optimizers.Adam(0.003), loss=data.losses())
print("training one network for all tasks ...", flush=True)
stop = keras.callbacks.EarlyStopping(patience=6, restore_best_weights=True)
tag.fit(
    data.train,
    validation_data=data.validation,
    epochs=options.epochs,
    callbacks=[stop],
    shuffle=False,  # The data set shuffles.
    verbose=0,
)

# 4. Rows: whose update. Columns: whose loss. Then the best two networks, by proof.
affinity = tag.affinity()
print(affinity)
keras_tag.plotting.plot_affinity(affinity).figure.savefig(out / "affinity.png", dpi=100)
grouping = keras_tag.select_groups(affinity, budget=2)
print(grouping)
keras_tag.plotting.plot_groups(grouping).figure.savefig(out / "groups.png", dpi=100)

# 5. Train the groups and serve them as one model.
served = keras_tag.GroupedModel(grouping, keras_tag.build_from(model))
served.compile(keras.optimizers.Adam(0.003), loss=data.losses())
print("training the groups ...", flush=True)
served.fit(
    data.train,
    validation_data=data.validation,
    epochs=options.epochs,
    callbacks=[keras_tag.callbacks.NetworkEarlyStopping(patience=6)],
    shuffle=False,
    verbose=0,
)
report = served.report(data.test, joint=model)
print(report[["network", "loss", "joint_loss"]])
print(f"total test loss: {report['joint_loss'].sum():.3f} with one network, ", end="")
print(f"{report['loss'].sum():.3f} with {len(grouping.groups)}")


# Corners are a few pixels each. The median of nearly every pixel is "no corner", and that is what
# L1 asks for: do not expect to see them in the predictions.
joint, grouped = model.predict(images, verbose=0), served.predict(images, verbose=0)
rows = []
for k in range(len(images)):
    rows.append(("labels", images[k], {t: labels[t][k] for t in labels}))
    rows.append(("one network", images[k], {t: joint[t][k] for t in labels}))
    rows.append((f"{len(grouping.groups)} networks", images[k], {t: grouped[t][k] for t in labels}))
picture(rows, "predictions.png")
rooms.cleanup()

# 6. What a page may quote.
result = {
    "options": {name: value for name, value in vars(options).items() if name != "out"},
    "versions": {"keras_tag": keras_tag.__version__, "keras": keras.__version__},
    "machine": f"{os.cpu_count()} cores",
    "tasks": affinity.tasks,
    "affinity": affinity.mean.tolist(),
    "groups": grouping.groups,
    "test_loss": report[["loss", "joint_loss"]].to_dict(),
}
(out / "result.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
