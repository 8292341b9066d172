"""Affinities with standard errors that are known, for tests of what is made of them."""

import numpy as np

from keras_tag.affinity import Affinity
from keras_tag.affinity.standard_errors import SamplingErrors


def affinity_of(mean, error, tasks=None, seed=0):
    """An affinity whose errors are independent, of the given size."""
    mean = np.array(mean, float)
    n = len(mean)
    tasks = tasks or [f"t{i:02d}" for i in range(n)]
    error = np.broadcast_to(np.array(error, float), mean.shape)
    pieces = np.zeros((n * n, n, n))
    pieces[np.arange(n * n), np.arange(n * n) // n, np.arange(n * n) % n] = error.ravel()
    errors = SamplingErrors(error, np.full(mean.shape, 20.0), pieces)
    return Affinity(tuple(tasks), mean, np.full(mean.shape, 100), errors=errors)


def random_affinity(n, seed, error=0.05):
    rng = np.random.default_rng(seed)
    mean = rng.normal(scale=0.3, size=(n, n))
    mean[np.diag_indices(n)] = rng.uniform(0.6, 1.2, size=n)
    return affinity_of(mean, error)
