"""CelebA as `tf.data`, with one binary task per attribute."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from keras_tag.datasets.celeb_a_files import import_tfds, prepared_celeb_a
from keras_tag.datasets.checks import check_at_least_1, chosen_tasks
from keras_tag.datasets.image_files import read_image
from keras_tag.datasets.image_splits import ImageSplits

if TYPE_CHECKING:
    import tensorflow as tf

# The nine attributes of the paper's experiments, of CelebA's forty.
NINE_ATTRIBUTES = (
    "5_o_Clock_Shadow",
    "Black_Hair",
    "Blond_Hair",
    "Brown_Hair",
    "Goatee",
    "Mustache",
    "No_Beard",
    "Rosy_Cheeks",
    "Wearing_Hat",
)
_SPLITS = ("train", "validation", "test")
# The size of the shuffle buffer where not all images are kept in memory.
_SHUFFLE_BUFFER = 10_000


class CelebA(ImageSplits):
    """The three splits of CelebA and the names of the tasks.

    Args:
        train: `tf.data.Dataset` of batches `(x, y)`: `x` float32 `[batch, size, size, 3]` in
            [0, 1], `y` a dict, task name -> float32 `[batch, 1]` of zeros and ones. Shuffled anew
            in every epoch, in an order that the seed decides.
        validation: As `train`, never shuffled.
        test: As `validation`.
        tasks: The attributes.
        image_shape: `(size, size, 3)`.
        sizes: Split -> how many images it has.
    """


def celeb_a(
    tasks: Sequence[str] = NINE_ATTRIBUTES,
    image_size: int = 64,
    batch_size: int = 256,
    data_dir: str | os.PathLike[str] | None = None,
    *,
    cache: bool | str | os.PathLike[str] = True,
    seed: int = 0,
) -> CelebA:
    """Load CelebA through TensorFlow Datasets: faces, and one binary task per attribute.

    The splits are CelebA's own (162,770, 19,867 and 19,962 images; no person is in two of them).
    Images are resized as in the paper's code: bilinear, without antialiasing, to a square.

    Args:
        tasks: The attributes, of CelebA's forty. By default the nine of the paper.
        image_size: The side of an image, in pixels.
        batch_size: How many images a batch holds (the last of an epoch may hold fewer).
        data_dir: Where TensorFlow Datasets keeps its data; or the folder with the prepared data
            itself. None: the environment variable TFDS_DATA_DIR, or `~/tensorflow_datasets`.
        cache: True: keep decoded images in memory from the first epoch on, as bytes (2.5 GB for
            all splits at the default size). A path: in files there; after an interruption in the
            first epoch delete them. False: decode anew in every epoch; memory then holds a few
            batches and the compressed images of a shuffle buffer.
        seed: Decides the order of the training images.

    Returns:
        A `CelebA`.

    Raises:
        FileNotFoundError: The data are not prepared. The message says how to get them.
        ImportError: tensorflow-datasets is not installed. The message has the command.
        ValueError: An argument out of range, an unknown or repeated attribute.

    Example:
        >>> data = keras_tag.datasets.celeb_a()
        >>> tag.fit(data.train, validation_data=data.validation, epochs=100)

    Reference:
        Liu, Luo, Wang, Tang, "Deep Learning Face Attributes in the Wild", ICCV 2015.
    """
    check_at_least_1(image_size=image_size, batch_size=batch_size)
    folder = prepared_celeb_a(data_dir)
    tfds = import_tfds()
    # `tfds.builder("celeb_a")` may use the network; the files alone suffice.
    builder = tfds.builder_from_directory(folder)
    names = chosen_tasks(tasks, builder.info.features["attributes"])
    splits = {
        split: _read(tfds, builder, split, names, image_size, batch_size, cache, seed)
        for split in _SPLITS
    }
    return CelebA(
        **splits,
        tasks=names,
        image_shape=(image_size, image_size, 3),
        sizes={split: int(builder.info.splits[split].num_examples) for split in _SPLITS},
    )


def _read(
    tfds: Any,
    builder: Any,
    split: str,
    tasks: tuple[str, ...],
    side: int,
    batch_size: int,
    cache: bool | str | os.PathLike[str],
    seed: int,
) -> "tf.data.Dataset":
    import tensorflow as tf

    def decode(example: Any) -> tuple[Any, Any]:
        # tf.io.decode_jpeg does not say which image is corrupt.
        image = tf.numpy_function(
            lambda data, name: read_image(data, f"{builder.data_path}, {name.decode()}"),
            [example["image"], example["tfds_id"]],
            tf.uint8,
            stateful=False,
        )
        image = tf.ensure_shape(image, [None, None, 3])
        image = tf.image.resize(tf.cast(image, tf.float32), [side, side])
        return tf.cast(tf.round(image), tf.uint8), {
            task: example["attributes"][task] for task in tasks
        }

    def to_floats(image: Any, labels: Any) -> tuple[Any, Any]:
        return tf.cast(image, tf.float32) / 255.0, {
            task: tf.cast(label, tf.float32)[:, None] for task, label in labels.items()
        }

    data = builder.as_dataset(
        split=split,
        decoders=tfds.decode.PartialDecoding(
            {"image": True, "attributes": set(tasks)},
            decoders={"image": tfds.decode.SkipDecoding()},
        ),
        read_config=tfds.ReadConfig(add_tfds_id=True, try_autocache=False),
        shuffle_files=False,
    )
    size = int(builder.info.splits[split].num_examples)
    # The images are in memory anyway, so a buffer of all of them costs nothing.
    buffer = size if cache is True else min(size, _SHUFFLE_BUFFER)
    shuffled = split == "train"
    if shuffled and cache is False:
        data = data.shuffle(buffer, seed=seed, reshuffle_each_iteration=True)
    data = data.map(decode, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    if cache is not False:
        data = data.cache("" if cache is True else _cache_file(cache, split, tasks, side))
        if shuffled:
            data = data.shuffle(buffer, seed=seed, reshuffle_each_iteration=True)
    batches = data.batch(batch_size).map(to_floats, num_parallel_calls=tf.data.AUTOTUNE)
    return batches.prefetch(tf.data.AUTOTUNE)


def _cache_file(folder: Any, split: str, tasks: tuple[str, ...], side: int) -> str:
    """Return a file name that tells what is in the cache: tf.data reads whatever it finds."""
    import zlib

    os.makedirs(folder, exist_ok=True)
    which = zlib.crc32(" ".join(tasks).encode())
    return os.path.join(os.fspath(folder), f"celeb_a_{split}_{side}_{which:08x}")
