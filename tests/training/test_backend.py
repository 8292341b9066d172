"""On another Keras backend training is refused with what to set, and selection works."""

import pytest
from fresh_process import run_alone


@pytest.mark.parametrize("backend", ["jax", "torch"])
@pytest.mark.parametrize("name", ["TAGModel", "GroupedModel"])
def test_another_backend_is_refused_with_the_line_to_set(backend, name):
    # Other backends are not installed where this is tested, so Keras is made to say it runs on one.
    run_alone(f"""
        import keras
        import numpy as np

        keras.backend.backend = lambda: {backend!r}
        import keras_tag

        try:
            keras_tag.{name}
        except ImportError as error:
            assert "KERAS_BACKEND=tensorflow" in str(error), error
            assert {backend!r} in str(error), error
        else:
            raise AssertionError
        affinity = keras_tag.Affinity.from_array(np.eye(2), ["a", "b"], rows="source")
        assert keras_tag.select_groups(affinity, budget=2)
    """)
