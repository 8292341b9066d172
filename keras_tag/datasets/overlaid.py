"""Overlaid handwritten digits as `tf.data`, with several binary tasks and without a download."""

from collections.abc import Sequence

from keras_tag.datasets.checks import check_at_least_1
from keras_tag.datasets.digits import compose_digits
from keras_tag.datasets.image_splits import ImageSplits

# Evaluation needs no memory for a backward pass, and larger batches save a third of a small fit's
# time.
_EVALUATION_BATCHES = 8


class OverlaidDigits(ImageSplits):
    """The three splits of overlaid digits and the names of the tasks.

    Args:
        train: `tf.data.Dataset` of batches `(x, y)`: `x` float32 `[batch, 8, width]` in [0, 1],
            `y` a dict, task name -> float32 `[batch, 1]` of zeros and ones. Shuffled anew in
            every epoch, in an order that the seed decides.
        validation: As `train`, never shuffled.
        test: As `validation`.
        tasks: The names, position by position: `("left_loop", "left_prime", ...)`.
        image_shape: `(8, width)`.
        sizes: Split -> how many images it has.
    """


def overlaid_digits(
    positions: int = 3,
    tasks: Sequence[str] = ("loop", "prime", "composite"),
    seed: int = 0,
    *,
    batch_size: int = 64,
    train_size: int = 1500,
    validation_size: int = 500,
    test_size: int = 2000,
) -> OverlaidDigits:
    """Make images of overlapping digits, with one binary task per position and property.

    An image shows one digit per position. Adjacent digits overlap by 3 of their 8 columns, where
    the brighter pixel is taken. A task asks whether the digit at one position has one property. The
    digits are split before the images are composed: a digit seen in training is never in a
    validation or test image, whatever the seed.

    Be aware that this default has *planted structure*: the tasks of one position depend on the same
    pixels, and `loop`, `prime` and `composite` nearly determine each other, so grouping by position
    is the right answer by construction. It shows that a method finds a structure that is there, not
    that your tasks have one. `tasks=("odd", "loop", "prime")` is the harder case: `odd` helps no
    other task much.

    Args:
        positions: How many digits an image shows; it is 8 x (8 + 5 * (positions - 1)) pixels.
        tasks: The properties: any of "loop" (0 4 6 8 9), "prime" (2 3 5 7), "composite" (4 6 8 9),
            "odd" and "ge5" (5 to 9).
        seed: Decides which digits are composed and the order of the training images.
        batch_size: How many images a training batch holds (the last may hold fewer). Batches for
            validation and test hold 8 times as many.
        train_size: How many training images are composed.
        validation_size: How many validation images.
        test_size: How many test images.

    Returns:
        An `OverlaidDigits`. A task is named after its position and property. Two positions are
        `left` and `right`, three `left`, `middle` and `right`, any other number `p1`, `p2`, ...

    Raises:
        ValueError: An argument out of range, an unknown or repeated property.

    Example:
        >>> data = keras_tag.datasets.overlaid_digits(positions=2, tasks=("loop", "odd"))
        >>> data.tasks
        ('left_loop', 'left_odd', 'right_loop', 'right_odd')
        >>> model.fit(data.train, validation_data=data.validation)
    """
    check_at_least_1(batch_size=batch_size)
    splits = compose_digits(
        positions,
        tasks,
        seed,
        train_size=train_size,
        validation_size=validation_size,
        test_size=test_size,
    )
    import tensorflow as tf

    datasets = {
        name: tf.data.Dataset.from_tensor_slices((split.images, split.labels))
        for name, split in splits.items()
    }
    train = datasets["train"].shuffle(train_size, seed=seed, reshuffle_each_iteration=True)
    return OverlaidDigits(
        train=train.batch(batch_size).prefetch(2),
        validation=datasets["validation"].batch(_EVALUATION_BATCHES * batch_size).cache(),
        test=datasets["test"].batch(_EVALUATION_BATCHES * batch_size).cache(),
        tasks=tuple(splits["train"].labels),
        image_shape=splits["train"].images.shape[1:],
        sizes={name: len(split.images) for name, split in splits.items()},
    )
