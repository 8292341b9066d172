"""Loading a model, an affinity or groups never runs code that came with the file."""

from pathlib import Path

import keras
import numpy as np
import pytest
from tag_models import L, data

import keras_tag
from keras_tag import GroupedModel, Grouping, TAGModel


def with_lambda():
    inputs = keras.Input((6,))
    h = L.Lambda(lambda t: t * 2.0, output_shape=(6,))(inputs)
    h = L.Dense(4, name="trunk")(h)
    units = {"c": 1, "a": 2, "b": 1}
    return keras.Model(inputs, {t: L.Dense(n, name=t)(h) for t, n in units.items()})


def tag_model():
    return TAGModel(with_lambda())


def grouped_model():
    def build(tasks):
        inputs = keras.Input((6,))
        h = L.Lambda(lambda t: t * 2.0, output_shape=(6,))(inputs)
        return keras.Model(inputs, {t: L.Dense(1, name=t)(h) for t in tasks})

    return GroupedModel(Grouping.from_groups([("a", "b"), ("c",)]), build)


@pytest.mark.parametrize("build", [tag_model, grouped_model])
def test_a_lambda_in_a_saved_model_is_refused_until_it_is_trusted(build, tmp_path):
    model = build()
    x, _ = data(4, dtype="float32")
    expected = model.predict(x, verbose=0)
    path = tmp_path / "model.keras"
    model.save(path)
    with pytest.raises(ValueError, match=r"(?i)lambda.*safe_mode|safe_mode.*lambda|arbitrary code"):
        keras.models.load_model(path)
    loaded = keras.models.load_model(path, safe_mode=False)
    for task, values in expected.items():
        np.testing.assert_array_equal(loaded.predict(x, verbose=0)[task], values)


def test_no_module_of_the_package_unpickles_or_evaluates():
    """No `pickle`, `eval`, `exec` or `allow_pickle=True` in what ships."""
    words = ("import pickle", "eval(", "exec(", "allow_pickle=True", "safe_mode=False")
    files = sorted(Path(keras_tag.__file__).parent.rglob("*.py"))
    assert len(files) > 50
    for file in files:
        text = file.read_text("utf-8")
        assert not [word for word in words if word in text], file.name
