import subprocess
import sys
from itertools import combinations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from keras_tag.datasets import compose_digits, overlaid_digits
from keras_tag.datasets.digits import PROPERTIES

SMALL = {"train_size": 40, "validation_size": 30, "test_size": 20}
# Written out once more, from the definition of each property.
IS = {
    "loop": lambda digit: str(digit) in "04689",
    "prime": lambda digit: digit > 1 and all(digit % k for k in range(2, digit)),
    "composite": lambda digit: digit > 1 and any(digit % k == 0 for k in range(2, digit)),
    "odd": lambda digit: digit % 2 == 1,
    "ge5": lambda digit: digit >= 5,
}


def gather(dataset):
    batches = list(dataset.as_numpy_iterator())
    images = np.concatenate([x for x, _ in batches])
    return images, {t: np.concatenate([y[t] for _, y in batches]) for t in batches[0][1]}


def test_no_digit_image_crosses_a_split_whatever_the_seed():
    seen = {}
    for seed in range(3):
        for name, split in compose_digits(seed=seed).items():
            seen.setdefault(name, set()).update(split.sources.ravel().tolist())
    assert set(seen) == {"train", "validation", "test"}
    for one, other in combinations(seen, 2):
        assert not seen[one] & seen[other]


def test_no_two_splits_share_the_same_pixels():
    # The indices differ by construction; so must the pixels, or load_digits repeats an image.
    pixels = load_digits().images.reshape(-1, 64)
    assert len(np.unique(pixels, axis=0)) == len(pixels)


def test_every_split_has_all_ten_digits():
    target = load_digits().target
    for split in compose_digits().values():
        assert set(target[split.sources.ravel()]) == set(range(10))


@pytest.mark.parametrize("prop", sorted(PROPERTIES))
def test_labels_say_what_the_digit_at_the_position_is(prop):
    target = load_digits().target
    split = compose_digits(2, (prop,), **SMALL)["test"]
    for position, name in enumerate(("left", "right")):
        digits = target[split.sources[:, position]]
        expected = [[float(IS[prop](digit))] for digit in digits]
        np.testing.assert_array_equal(split.labels[f"{name}_{prop}"], expected)


@pytest.mark.parametrize("positions", [1, 2, 3, 5])
def test_an_image_is_the_maximum_of_its_digits_five_columns_apart(positions):
    split = compose_digits(positions, **SMALL)["train"]
    width = 8 + 5 * (positions - 1)
    assert split.images.shape == (40, 8, width)
    pixels = load_digits().images / 16
    for image, sources in zip(split.images, split.sources, strict=True):
        layers = [
            np.pad(pixels[source], ((0, 0), (5 * k, width - 8 - 5 * k)))
            for k, source in enumerate(sources)
        ]
        np.testing.assert_allclose(image, np.max(layers, axis=0), rtol=1e-6)


@pytest.mark.parametrize(
    ("positions", "names"),
    [
        (1, ("p1",)),
        (2, ("left", "right")),
        (3, ("left", "middle", "right")),
        (4, ("p1", "p2", "p3", "p4")),
    ],
)
def test_tasks_are_named_position_by_position(positions, names):
    data = overlaid_digits(positions, ("odd", "loop"), **SMALL)
    assert data.tasks == tuple(f"{name}_{prop}" for name in names for prop in ("odd", "loop"))


def test_datasets_give_float_images_and_dict_labels_of_the_sizes_asked_for():
    data = overlaid_digits(2, ("loop", "odd"), batch_size=16, **SMALL)
    for dataset, size in ((data.train, 40), (data.validation, 30), (data.test, 20)):
        images, labels = gather(dataset)
        assert images.shape == (size, *data.image_shape) == (size, 8, 13)
        assert images.dtype == np.float32
        assert images.min() == 0
        assert images.max() == 1
        assert tuple(labels) == data.tasks
        for label in labels.values():
            assert label.shape == (size, 1)
            assert label.dtype == np.float32
            assert set(label.ravel()) <= {0, 1}
    assert next(iter(data.train))[0].shape[0] == 16
    assert repr(data) == (
        "OverlaidDigits of 8 x 13 pixels (train 40, validation 30, test 20): "
        "left_loop, left_odd, right_loop, right_odd"
    )


def test_the_training_set_shuffles_and_keeps_images_with_their_labels():
    data = overlaid_digits(2, seed=3, **SMALL)
    arrays = compose_digits(2, seed=3, **SMALL)["train"]
    label_of = {
        image.tobytes(): arrays.labels["left_loop"][k] for k, image in enumerate(arrays.images)
    }
    first, labels = gather(data.train)
    second, _ = gather(data.train)
    assert not np.array_equal(first, second)
    assert sorted(x.tobytes() for x in first) == sorted(x.tobytes() for x in arrays.images)
    for image, label in zip(first, labels["left_loop"], strict=True):
        assert label == label_of[image.tobytes()]


def test_the_same_seed_gives_the_same_epochs_and_another_seed_other_images():
    one, same, other = (overlaid_digits(2, seed=seed, **SMALL) for seed in (5, 5, 6))
    for _ in range(2):
        np.testing.assert_array_equal(gather(one.train)[0], gather(same.train)[0])
    np.testing.assert_array_equal(gather(one.test)[0], gather(same.test)[0])
    assert not np.array_equal(gather(one.test)[0], gather(other.test)[0])


def test_more_training_images_leave_the_test_set_alone():
    small = compose_digits(train_size=10)
    large = compose_digits(train_size=1000)
    np.testing.assert_array_equal(small["test"].images, large["test"].images)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"positions": 0}, "`positions` >= 1.*positions=0"),
        ({"tasks": ()}, "`tasks` to be one or more of"),
        ({"tasks": ("loop", "even")}, "'prime'.*'even'"),
        ({"tasks": ("loop", "loop")}, "each once"),
        ({"tasks": "loopy"}, "tasks='loopy'"),
        ({"seed": -1}, "`seed` >= 0.*seed=-1"),
        ({"batch_size": 0}, "`batch_size` >= 1"),
        ({"train_size": 0}, "`train_size` >= 1"),
        ({"validation_size": -5}, "`validation_size` >= 1.*=-5"),
        ({"test_size": 0}, "`test_size` >= 1"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        overlaid_digits(**arguments)


def test_composing_arrays_never_imports_tensorflow():
    code = (
        "import sys; from keras_tag.datasets import compose_digits; compose_digits(); "
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
