"""Keeps TensorFlow's start-up lines out of every test process; hypothesis draws the same always."""

import os

import pytest
from hypothesis import settings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# A loaded machine is slow, and a test that fails for one draw in a thousand fails for nobody's
# fault: new draws are made at night, in tests/fuzz.
settings.register_profile("always the same", deadline=None, derandomize=True, database=None)
settings.load_profile("always the same")


@pytest.fixture
def float64():
    """Keras in float64 for one test."""
    import keras

    before, policy = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx(before)
    keras.config.set_dtype_policy(policy)
