"""The splits of a data set of images."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True, repr=False)
class ImageSplits:
    """The three splits of a data set and its tasks; see the data set's own class.

    Args:
        train: `tf.data.Dataset` of batches `(x, y)`.
        validation: As `train`, never shuffled.
        test: As `validation`.
        tasks: The tasks.
        image_shape: `(height, width)`, of images in colour `(height, width, 3)`.
        sizes: Split -> how many images it has.
    """

    train: "tf.data.Dataset"
    validation: "tf.data.Dataset"
    test: "tf.data.Dataset"
    tasks: tuple[str, ...]
    image_shape: tuple[int, ...]
    sizes: dict[str, int]

    def __repr__(self) -> str:
        counts = ", ".join(f"{split} {size:,}" for split, size in self.sizes.items())
        height, width = self.image_shape[:2]
        name = type(self).__name__
        return f"{name} of {height} x {width} pixels ({counts}): {', '.join(self.tasks)}"
