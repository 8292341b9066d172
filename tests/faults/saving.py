"""Saves over one path, again and again: `python saving.py KIND PATH`. A line for every file."""

import itertools
import sys

import numpy as np

from keras_tag import Affinity, Grouping


def affinity(number):
    """A file of some 300 kB, another for every number."""
    mean = np.random.default_rng(number).normal(size=(200, 200))
    return Affinity.from_array(mean, [f"t{i}" for i in range(200)], rows="source")


def grouping(number):
    """A file of some 300 kB, another for every number."""
    return Grouping.from_groups([(f"{number} {i}", f"helper {i}") for i in range(3000)])


KINDS = {"affinity": affinity, "grouping": grouping}


if __name__ == "__main__":
    kind, path = sys.argv[1:]
    for number in itertools.count():
        KINDS[kind](number).save(path)
        print(number, flush=True)
