"""Streamed data are not kept: resident memory stays flat over many epochs."""

import celeb_a_likeness as likeness
import psutil
import pytest
from dense_rooms import write_scenes

from keras_tag.datasets import celeb_a, taskonomy

MIB = 2**20


def taskonomy_64(folder):
    splits = write_scenes(folder, buildings=3, points=4, views=2, image_size=64)
    data = taskonomy(folder, image_size=64, batch_size=8, splits=splits)
    channels = 3 + 2 + sum(data.channels.values()) - data.channels["segment_semantic"]
    return data.train, 64 * 64 * channels * 4


def celeb_a_128(folder):
    likeness.write_files(folder / "files", {"train": 16, "validation": 1, "test": 1})
    likeness.prepare(folder / "files", folder / "data")
    data = celeb_a(image_size=128, batch_size=8, data_dir=folder / "data", cache=False)
    return data.train, 128 * 128 * 3 * 4


@pytest.mark.slow
@pytest.mark.parametrize("dataset", [taskonomy_64, celeb_a_128])
def test_memory_is_flat_while_streaming(dataset, tmp_path):
    train, example_bytes = dataset(tmp_path)
    batches = iter(train.repeat())
    process = psutil.Process()

    def stream(num_bytes):
        left = num_bytes
        while left > 0:
            left -= 8 * example_bytes
            next(batches)
        return process.memory_info().rss

    before = stream(60 * MIB)
    assert stream(250 * MIB) - before < 25 * MIB
