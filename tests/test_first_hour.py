"""The page of the first hour ends with served models that predict what was trained."""

from pathlib import Path

import numpy as np
import pytest
from fresh_process import run_alone
from page_blocks import run_page

PAGE = Path(__file__).parent.parent / "docs" / "first_hour.md"
HOLDS = """
def values(layer):
    return [keras.ops.convert_to_numpy(weight) for weight in layer.weights]


served_images = keras.models.load_model("images.keras")
for network in served_images.networks:
    frozen = network.get_layer(backbone.name)
    assert not frozen.trainable_weights
    for ours, theirs in zip(values(frozen), values(backbone), strict=True):
        np.testing.assert_array_equal(ours, theirs)
for network in served.networks:
    for name in {"normalize", "lookup"} & {layer.name for layer in network.layers}:
        adapted = network.get_layer(name)
        theirs = model.get_layer(name)
        if name == "lookup":
            assert adapted.get_vocabulary() == theirs.get_vocabulary()
        else:
            np.testing.assert_array_equal(adapted.mean, theirs.mean)
table = tf.data.Dataset.from_tensor_slices({"age": age[384:], "city": city[384:]}).batch(32)
np.savez(
    "told.npz",
    images=images[192:],
    age=age[384:],
    city=city[384:],
    **{f"images/{t}": v for t, v in served_images.predict(images[192:], verbose=0).items()},
    **{f"table/{t}": v for t, v in served.predict(table, verbose=0).items()},
)
"""
# Another program, which has the files and the raw data only.
SERVER = """
import keras
import numpy as np
import tensorflow as tf

import keras_tag

told = np.load("told.npz")
table = {"age": told["age"], "city": told["city"]}
for name, raw in (("images", told["images"]), ("table", table)):
    served = keras.models.load_model(f"{name}.keras")
    data = tf.data.Dataset.from_tensor_slices(raw).batch(32)
    predicted = served.predict(data, verbose=0)
    assert len(predicted) == {"images": 4, "table": 3}[name]
    for task, values in predicted.items():
        np.testing.assert_allclose(values, told[f"{name}/{task}"], rtol=1e-5, atol=1e-6)
"""


@pytest.mark.slow
def test_the_first_hour_ends_with_served_models_that_predict_what_was_trained(tmp_path):
    run_page(PAGE, tmp_path, after=HOLDS)
    told = np.load(tmp_path / "told.npz")
    # The models tell their examples apart.
    assert all(told[name].std() > 0 for name in told.files if "/" in name)
    run_alone(SERVER, cwd=tmp_path)
