import keras
import numpy as np
import pytest
from grouped_networks import BUILDERS

from keras_tag import Grouping


@pytest.fixture
def float64():
    """Keras in float64 for one test."""
    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx(before)
    keras.config.set_dtype_policy(before)


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
