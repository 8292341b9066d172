import numpy as np
import pytest
from grouped_networks import BUILDERS

from keras_tag import Grouping


@pytest.fixture
def grouping():
    """Three tasks; `a` helps in network 1 and is served by network 0."""
    return Grouping.from_groups([("a", "b"), ("c", "a")])


@pytest.fixture
def batch():
    rng = np.random.default_rng(7)
    x = rng.normal(size=(48, 5))
    y = {task: np.tanh(x @ rng.normal(size=(5, 1))) for task in "abc"}
    return x, y


@pytest.fixture(params=BUILDERS)
def builder(request):
    return BUILDERS[request.param]
