"""The whole path, on models as people have them: fit, affinity, groups, networks, save, load."""

import re
import warnings
from pathlib import Path

import keras
import numpy as np
import pytest
from example_models import MODELS, frozen_backbone
from quick import quick

import keras_tag

PAGE = Path(__file__).parents[2] / "docs" / "works_out_of_the_box.md"
QUICK = {"Tabular data with adapted preprocessing"}
# Without trained weights a longer step harms the task that takes it, which selection refuses.
RATES = {"MobileNetV3Small": 1e-5, "EfficientNetB0": 1e-5}


def by_name(model, outputs):
    if isinstance(outputs, dict):
        return outputs
    return dict(zip(model.output_names, outputs, strict=True))


@pytest.mark.parametrize("name", quick(MODELS, QUICK))
def test_the_whole_path(tmp_path, name):
    keras.utils.set_random_seed(0)
    model, x, y, loss = MODELS[name]()
    trained = len(model.trainable_weights)
    tag = keras_tag.TAGModel(model, every=1)
    tag.compile(keras.optimizers.SGD(RATES.get(name, 1e-3)), loss=loss)
    tag.fit(x, y, batch_size=8, verbose=0)
    assert np.isfinite(tag.affinity().mean).all()
    with warnings.catch_warnings():
        # Two probes are few, as it says.
        warnings.simplefilter("ignore")
        grouping = keras_tag.select_groups(tag.affinity(), budget=2)
    assert set(grouping.tasks) == set(tag.tasks)

    # With all weights copied, the networks are the joint model.
    same = keras_tag.GroupedModel(grouping, keras_tag.build_from(tag, start="all", verbose=False))
    right = by_name(model, model.predict(x, verbose=0))
    for task, output in same.predict(x, verbose=0).items():
        np.testing.assert_allclose(output, right[task], rtol=1e-4, atol=1e-5)

    served = keras_tag.GroupedModel(grouping, keras_tag.build_from(tag, verbose=False))
    for group, network in zip(grouping.groups, served.networks, strict=True):
        if len(group) == len(tag.tasks):
            assert len(network.trainable_weights) == trained
    served.compile(keras.optimizers.SGD(RATES.get(name, 1e-3)), loss=loss)
    history = served.fit(x, y, batch_size=8, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    served.save(tmp_path / "served.keras")
    loaded = keras.models.load_model(tmp_path / "served.keras")
    before = served.predict(x, verbose=0)
    for task, output in loaded.predict(x, verbose=0).items():
        np.testing.assert_allclose(output, before[task], rtol=1e-4, atol=1e-5)
    for one, other in zip(served.networks, loaded.networks, strict=True):
        assert len(one.trainable_weights) == len(other.trainable_weights)


def test_a_frozen_backbone_is_fine_tuned_in_the_networks():
    model, x, y, loss = frozen_backbone()
    grouping = keras_tag.Grouping.from_groups([("a", "b"), ("c",)])
    served = keras_tag.GroupedModel(grouping, keras_tag.build_from(model, verbose=False))
    start = model.get_layer("backbone").get_weights()
    served.compile(keras.optimizers.SGD(1e-2), loss=loss)
    served.fit(x, y, verbose=0)
    for network in served.networks:
        for ours, theirs in zip(network.get_layer("backbone").get_weights(), start, strict=True):
            np.testing.assert_array_equal(ours, theirs)
        network.get_layer("backbone").trainable = True
    served.compile(keras.optimizers.SGD(1e-3), loss=loss)
    served.fit(x, y, verbose=0)
    for network in served.networks:
        kernel = network.get_layer("backbone").get_weights()[0]
        assert np.abs(kernel - start[0]).max() > 0


def test_the_page_lists_what_is_tested():
    rows = re.findall(r"^\| (?!Model|---)([^|]+?) \|", PAGE.read_text("utf-8"), flags=re.MULTILINE)
    assert rows == list(MODELS)
