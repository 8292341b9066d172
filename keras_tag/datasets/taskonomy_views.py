"""Taskonomy as `tf.data`: dense tasks, in which pixels may lack a label."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_tag.datasets.checks import check_at_least_1, chosen_tasks
from keras_tag.datasets.image_files import read_image
from keras_tag.datasets.image_splits import ImageSplits
from keras_tag.datasets.taskonomy_files import (
    DEPTH,
    DOMAINS,
    NO_GEOMETRY,
    NUM_CLASSES,
    PER_METRE,
    SEGMENTATION,
    SPLITS,
    Building,
    find_buildings,
    read_domain,
    read_splits,
)

if TYPE_CHECKING:
    import tensorflow as tf

# The five tasks of the paper's experiments.
FIVE_TASKS = (SEGMENTATION, DEPTH, "normal", "keypoints2d", "edge_texture")


@dataclass(frozen=True, repr=False)
class Taskonomy(ImageSplits):
    """The three splits of Taskonomy and the tasks.

    Args:
        train: `tf.data.Dataset` of batches `(x, y)`: `x` float32 `[batch, size, size, 3]` in
            [0, 1], `y` a dict, task name -> float32 `[batch, size, size, channels]`, for
            `segment_semantic` class indices `[batch, size, size]`. A pixel without a label is NaN.
            Shuffled anew in every epoch, in an order that the seed decides.
        validation: As `train`, never shuffled.
        test: As `validation`.
        tasks: The tasks.
        channels: Task -> how many channels its output needs (of `segment_semantic`: one logit per
            class).
        image_shape: `(size, size, 3)`.
        sizes: Split -> how many images it has.
    """

    channels: dict[str, int]

    def losses(self) -> dict[str, Any]:
        """Return the paper's losses: cross-entropy of logits for classes, L1 for all else.

        Returns:
            Task -> a Keras loss, for `compile(loss=...)` of `TAGModel`, `GroupedModel` and
            `GroupSearch`, which leave pixels without a label out. In a plain Keras model's `fit`,
            where one is missing, L1 is NaN and the cross-entropy raises an error.
        """
        import keras

        classes = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        return {task: classes if task == SEGMENTATION else "mae" for task in self.tasks}


def taskonomy(
    root: str | os.PathLike[str],
    tasks: Sequence[str] = FIVE_TASKS,
    image_size: int = 256,
    batch_size: int = 32,
    *,
    splits: str | os.PathLike[str] | Mapping[str, Sequence[str] | str | os.PathLike[str]],
    farthest: float = 16.0,
    views_per_building: int | None = None,
    skip_incomplete: bool = False,
    seed: int = 0,
) -> Taskonomy:
    """Stream Taskonomy's images and dense labels from their files.

    The layout is the public one, `root/rgb/<building>/point_X_view_Y_domain_rgb.png` and the same
    for every task (`depth_zbuffer`, ...); a folder `taskonomy` between task and building, as the
    Omnidata tool makes it, is fine. Only the names of the views are kept in memory.

    A pixel without a label is NaN, for its task alone: class "uncertain"; and for depth, normals
    and other tasks about geometry a pixel without geometry or farther away than `farthest` (as
    `depth_zbuffer` says, which therefore must be there). `TAGModel` and `GroupedModel` leave
    missing labels out of means.

    Labels are numbers around 0: `(pixel - mean) / scale` with the means and scales of Standley et
    al., for depth `(pixel - 1500) / 1000` (512 to the metre), for normals unit vectors. Depth,
    normals and classes are resized to the nearest pixel, so that nothing is averaged over an edge;
    images, keypoints and edges by area.

    Args:
        root: The folder with a folder for each domain.
        tasks: Any of "segment_semantic", "depth_zbuffer", "normal", "keypoints2d", "edge_texture",
            "edge_occlusion" and "principal_curvature".
        image_size: The side of images and labels, in pixels.
        batch_size: How many images a batch holds (the last of an epoch may hold fewer).
        splits: Which building is in which split: a CSV file of Taskonomy's own (`train_val_test_
            tiny.csv` in splits_taskonomy.zip), or a mapping of "train", "validation" and "test" to
            names, or to text files with a name in each line.
        farthest: Metres. The default is what Standley et al. take, 8192 / 512.
        views_per_building: The most images of a building. None: all.
        skip_incomplete: Leave out images without a file of some task. By default that is an error
            that names the file.
        seed: Decides the order of the training images.

    Returns:
        A `Taskonomy`.

    Raises:
        FileNotFoundError: A wrong root, a building or a file that is not there.
        ValueError: An argument out of range, an unknown or repeated task, an unusable split list.

    Example:
        >>> data = keras_tag.datasets.taskonomy("taskonomy", splits="train_val_test_tiny.csv")
        >>> tag = keras_tag.TAGModel(model)  # Of `data.channels[task]` channels per output.
        >>> tag.compile("adam", loss=data.losses())

    Reference:
        Zamir et al., "Taskonomy: Disentangling Task Transfer Learning", CVPR 2018; encodings:
        github.com/StanfordVL/taskonomy, data/README.md. Losses and scales: Standley et al., ICML
        2020, arXiv:1905.07553, github.com/tstandley/taskgrouping.
    """
    names = chosen_tasks(tasks, DOMAINS)
    check_at_least_1(image_size=image_size, batch_size=batch_size)
    if views_per_building is not None:
        check_at_least_1(views_per_building=views_per_building)
    if not farthest > 0:
        raise ValueError(f"Expected `farthest` > 0. Received: farthest={farthest}.")
    masked = any(DOMAINS[task].masked for task in names)
    domains = dict.fromkeys((*names, *((DEPTH,) if masked else ())))
    readers = {
        split: _Reader(
            Path(root),
            find_buildings(
                Path(root), buildings, list(domains), views_per_building, skip_incomplete
            ),
            names,
            image_size,
            farthest,
        )
        for split, buildings in read_splits(splits).items()
    }
    return Taskonomy(
        **{split: readers[split].batches(batch_size, seed, split == "train") for split in SPLITS},
        tasks=names,
        channels={t: NUM_CLASSES if t == SEGMENTATION else DOMAINS[t].channels for t in names},
        image_shape=(image_size, image_size, 3),
        sizes={split: len(readers[split]) for split in SPLITS},
    )


@dataclass(frozen=True, eq=False)
class _Reader:
    """A reader of the views of some buildings, by number."""

    root: Path
    buildings: list[Building]
    tasks: tuple[str, ...]
    side: int
    farthest: float

    @cached_property
    def ends(self) -> np.ndarray:
        """Return up to which number each building has views."""
        return np.cumsum([len(building.views) for building in self.buildings])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def read(self, number: int) -> list[np.ndarray]:
        """Return the image and the labels of one view, in the order of the tasks."""
        index = int(np.searchsorted(self.ends, number, side="right"))
        building = self.buildings[index]
        # Counted from the building's end: number - ends[index] is negative.
        view = building.views[number - self.ends[index]].decode()
        file = building.file(self.root, "rgb", view)
        image = _resize(read_image(file.read_bytes(), repr(str(file))), self.side, smooth=True)
        seen, labels = None, []
        for task in self.tasks:
            spec = DOMAINS[task]
            numbers = read_domain(building.file(self.root, task, view), task)
            numbers = _resize(numbers, self.side, smooth=spec.smooth)
            values = ((numbers - spec.mean) / spec.scale).astype(np.float32)
            if task == SEGMENTATION:
                if numbers.max() > NUM_CLASSES:
                    raise ValueError(
                        f"Expected classes from 0 to {NUM_CLASSES} in the segmentation of "
                        f"{str(file)!r}. Received: {int(numbers.max())}."
                    )
                values = np.where(numbers == 0, np.nan, values)[..., 0]
            if spec.masked:
                if seen is None:
                    depth = read_domain(building.file(self.root, DEPTH, view), DEPTH)[..., 0]
                    depth = _resize(depth, self.side, smooth=False)
                    seen = depth < min(NO_GEOMETRY, self.farthest * PER_METRE)
                values[~seen] = np.nan
            labels.append(values)
        return [np.round(image).astype(np.uint8), *labels]

    def batches(self, batch_size: int, seed: int, shuffled: bool) -> "tf.data.Dataset":
        """Return all views, in batches."""
        import tensorflow as tf

        shapes = [
            [self.side] * 2 + ([] if task == SEGMENTATION else [DOMAINS[task].channels])
            for task in self.tasks
        ]

        def load(number: Any) -> tuple[Any, Any]:
            kinds = [tf.uint8] + [tf.float32] * len(self.tasks)
            image, *labels = tf.numpy_function(self.read, [number], kinds, stateful=False)
            labels = [tf.ensure_shape(y, s) for y, s in zip(labels, shapes, strict=True)]
            return tf.ensure_shape(image, [self.side, self.side, 3]), dict(
                zip(self.tasks, labels, strict=True)
            )

        # Shuffling numbers instead of images needs hardly any memory for a full shuffle.
        numbers = tf.data.Dataset.range(len(self))
        if shuffled:
            numbers = numbers.shuffle(len(self), seed=seed, reshuffle_each_iteration=True)
        views = numbers.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        batches = views.batch(batch_size).map(
            lambda image, labels: (tf.cast(image, tf.float32) / 255.0, labels)
        )
        return batches.prefetch(2)


def _resize(pixels: np.ndarray, side: int, *, smooth: bool) -> np.ndarray:
    """Resize to `[side, side(, channels)]`: to the mean over an area, or to nearest pixels."""
    height, width = pixels.shape[:2]
    if (height, width) == (side, side):
        return pixels
    if not smooth:
        rows = (np.arange(side) * 2 + 1) * height // (2 * side)
        columns = (np.arange(side) * 2 + 1) * width // (2 * side)
        return pixels[rows[:, None], columns]
    from PIL import Image

    planes = pixels.reshape(height, width, -1).astype(np.float32)
    resized = [
        np.asarray(Image.fromarray(planes[..., k]).resize((side, side), Image.Resampling.BILINEAR))
        for k in range(planes.shape[-1])
    ]
    return np.stack(resized, -1).reshape(side, side, *pixels.shape[2:])
