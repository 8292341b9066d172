import builtins
import os
import socket
import subprocess
import sys

import celeb_a_likeness as likeness
import numpy as np
import pytest
import tensorflow as tf

from keras_tag.datasets import NINE_ATTRIBUTES, celeb_a, prepare_celeb_a

SIZES = {"train": 36, "validation": 12, "test": 10}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    place = tmp_path_factory.mktemp("celeb_a")
    attributes, images, splits = likeness.write_files(place / "files", SIZES)
    likeness.prepare(place / "files", place / "data")
    return place, attributes, images, splits


def gather(dataset):
    batches = list(dataset.as_numpy_iterator())
    images = np.concatenate([x for x, _ in batches])
    return images, {t: np.concatenate([y[t] for _, y in batches]) for t in batches[0][1]}


def resized(image, side):
    return tf.image.resize(np.asarray(image, np.float32), [side, side]).numpy() / 255


def test_every_image_of_a_split_comes_once_with_its_own_labels(dataset):
    place, attributes, images, splits = dataset
    data = celeb_a(image_size=32, batch_size=8, data_dir=place / "data")
    assert data.tasks == NINE_ATTRIBUTES
    assert data.sizes == SIZES
    assert data.image_shape == (32, 32, 3)
    for split, names in splits.items():
        pixels, labels = gather(getattr(data, split))
        assert pixels.shape == (len(names), 32, 32, 3)
        assert pixels.dtype == np.float32
        assert set(labels) == set(NINE_ATTRIBUTES)
        drawn = np.stack([resized(images[name], 32) for name in names])
        # JPEG is lossy; no two of these faces are nearly as close to each other.
        distance = np.abs(pixels[:, None] - drawn[None]).mean((2, 3, 4))
        found = distance.argmin(1)
        assert distance.min(1).max() < 0.02
        assert sorted(found) == list(range(len(names)))
        for task, label in labels.items():
            assert label.dtype == np.float32
            expected = [[float(attributes[names[k]][task])] for k in found]
            np.testing.assert_array_equal(label, expected)


def test_pixels_are_those_of_tensorflow_datasets_itself(dataset):
    import tensorflow_datasets as tfds

    place = dataset[0]
    theirs = tfds.load("celeb_a", split="test", data_dir=place / "data", download=False)
    expected = [tf.image.resize(example["image"], [64, 64]).numpy() / 255 for example in theirs]
    ours, _ = gather(celeb_a(data_dir=place / "data").test)
    # Two JPEG decoders differ by a level or two, and by more at drawn edges.
    np.testing.assert_allclose(ours, expected, atol=20 / 255)
    assert np.abs(ours - expected).mean() < 1 / 255


@pytest.mark.parametrize("cache", [True, False, "files"])
def test_training_is_shuffled_anew_by_the_seed_and_evaluation_is_not(dataset, cache, tmp_path):
    place = dataset[0] / "data"
    cache = tmp_path / "cache" if cache == "files" else cache

    one, same, other = (
        celeb_a(("Male",), 16, 8, place, cache=cache, seed=seed) for seed in (1, 1, 2)
    )
    epochs = [gather(one.train)[0] for _ in range(2)]
    np.testing.assert_array_equal(epochs[0], gather(same.train)[0])
    assert not np.array_equal(epochs[0], epochs[1])
    assert not np.array_equal(epochs[0], gather(other.train)[0])
    assert sorted(x.tobytes() for x in epochs[0]) == sorted(x.tobytes() for x in epochs[1])
    np.testing.assert_array_equal(gather(one.test)[0], gather(other.test)[0])


def test_a_cache_on_disk_is_not_mixed_up_with_one_of_other_tasks(dataset, tmp_path):
    place = dataset[0] / "data"
    first = gather(celeb_a(("Male",), 16, 8, place, cache=tmp_path).test)[1]
    second = gather(celeb_a(("Young",), 16, 8, place, cache=tmp_path).test)[1]
    assert list(first) == ["Male"]
    assert list(second) == ["Young"]


def test_any_of_the_forty_may_be_a_task_and_others_are_refused(dataset):
    place = dataset[0] / "data"
    assert len(celeb_a(likeness.ATTRIBUTES, 16, data_dir=place).tasks) == 40
    assert celeb_a("Smiling", 16, data_dir=place).tasks == ("Smiling",)
    for tasks in ((), ("Smiles",), ("Male", "Male")):
        with pytest.raises(ValueError, match=r"one or more of.*'Young'.*each once"):
            celeb_a(tasks, data_dir=place)
    for name in ("image_size", "batch_size"):
        with pytest.raises(ValueError, match=f"`{name}` >= 1.*{name}=0"):
            celeb_a(data_dir=place, **{name: 0})


def test_data_that_are_not_prepared_are_missed_at_once_and_without_network(tmp_path, monkeypatch):
    def no_network(*args, **kwargs):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    monkeypatch.setattr(socket.socket, "connect", no_network)
    with pytest.raises(FileNotFoundError) as caught:
        celeb_a(data_dir=tmp_path / "nowhere")
    message = str(caught.value)
    assert str(tmp_path / "nowhere") in message
    assert "tfds build celeb_a" in message
    assert "quota" in message
    assert "prepare_celeb_a(folder" in message
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "elsewhere"))
    with pytest.raises(FileNotFoundError, match="elsewhere"):
        celeb_a()


def test_prepared_data_are_read_without_network(dataset, monkeypatch):
    def no_network(*args, **kwargs):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    monkeypatch.setattr(socket.socket, "connect", no_network)
    monkeypatch.setenv("TFDS_DATA_DIR", str(dataset[0] / "data"))
    assert celeb_a().sizes == SIZES
    exact = next((dataset[0] / "data" / "celeb_a").iterdir())
    assert celeb_a(data_dir=exact).sizes == SIZES


def test_preparing_names_the_files_that_are_missing(dataset, tmp_path):
    for name in likeness.FILES[:3]:
        os.link(dataset[0] / "files" / name, tmp_path / name)
    with pytest.raises(FileNotFoundError) as caught:
        prepare_celeb_a(tmp_path)
    missing = str(caught.value).split("Missing: ")[1]
    assert [name in missing for name in likeness.FILES] == [False] * 3 + [True] * 2


def test_preparing_checks_the_files_against_the_public_checksums(dataset, tmp_path):
    # Here nothing is replaced: drawn files are not the public ones.
    with pytest.raises(Exception, match=r"has wrong checksum") as caught:
        prepare_celeb_a(dataset[0] / "files", tmp_path)
    assert "img_align_celeba.zip" in str(caught.value) or ".txt" in str(caught.value)


def test_a_corrupt_image_is_named(tmp_path):
    sizes = {"train": 2, "validation": 1, "test": 3}
    likeness.write_files(tmp_path / "files", sizes, damaged={"000005.jpg"})
    likeness.prepare(tmp_path / "files", tmp_path / "data")
    data = celeb_a(data_dir=tmp_path / "data")
    gather(data.train)
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        gather(data.test)
    assert "Expected an image in" in str(caught.value)
    assert "celeb_a-test.tfrecord" in str(caught.value)


@pytest.mark.parametrize("module", ["tensorflow_datasets", "importlib_resources"])
def test_without_the_extra_the_error_names_the_pip_command(dataset, module, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.split(".")[0] == module:
            raise ImportError(f"No module named {module!r}")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r'pip install "keras_tag\[datasets\]"') as caught:
        celeb_a(data_dir=dataset[0] / "data")
    assert module in str(caught.value)


def test_importing_the_loaders_imports_nothing_heavy():
    code = (
        "import sys, keras_tag.datasets; keras_tag.datasets.celeb_a; heavy = {'tensorflow', "
        "'keras', 'tensorflow_datasets', 'PIL', 'pandas', 'sklearn', 'ortools'}; "
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
