"""Files of tests/stored, written before the folders of the package were made, are still read.

`expected.npz` holds what the models and the affinity gave when the files were written.
"""

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from fresh_process import run_alone

import keras_tag

STORED = Path(__file__).parent / "stored"
TASKS = ("a", "b", "c")


def load_model(kind, file):
    import keras

    # Keras finds a class that has been imported; keras_tag imports a class when it is first named.
    expected_class = getattr(keras_tag, kind)
    early = kind == "GroupedModel"
    with pytest.warns(UserWarning, match="state .* begins anew") if early else nullcontext():
        model = keras.saving.load_model(STORED / file)
    assert type(model) is expected_class
    return model


@pytest.fixture(scope="module")
def expected():
    with np.load(STORED / "expected.npz") as arrays:
        return dict(arrays)


def test_a_stored_affinity_has_its_numbers(expected):
    affinity = keras_tag.Affinity.load(STORED / "affinity.npz")
    assert affinity.tasks == TASKS
    np.testing.assert_array_equal(affinity.mean, expected["mean"])
    np.testing.assert_array_equal(affinity.count, expected["count"])
    np.testing.assert_array_equal(affinity.standard_error, expected["error"])
    assert affinity.history is not None
    assert affinity.metadata["settings"]["batch_size"] == 8


def test_a_stored_grouping_is_what_its_affinity_gives():
    stored = keras_tag.Grouping.load(STORED / "grouping.json")
    affinity = keras_tag.Affinity.load(STORED / "affinity.npz")
    again = keras_tag.select_groups(
        affinity, stored.metadata["settings"]["budget"], score="members"
    )
    assert (stored.groups, dict(stored.serves)) == (again.groups, dict(again.serves))
    assert stored.objective == pytest.approx(again.objective, rel=1e-12)
    assert stored.metadata["affinity"] == affinity.metadata


@pytest.mark.parametrize(
    ("kind", "file", "prefix"),
    [("TAGModel", "tag_model.keras", "joint"), ("GroupedModel", "grouped_model.keras", "grouped")],
)
def test_a_stored_model_predicts_as_it_did(kind, file, prefix, expected):
    model = load_model(kind, file)
    predicted = model.predict(expected["x"], verbose=0)
    assert set(predicted) == set(TASKS)
    for task in TASKS:
        np.testing.assert_allclose(predicted[task], expected[f"{prefix}_{task}"], rtol=1e-5)


def test_a_stored_tag_model_has_the_affinity_that_it_measured(expected):
    affinity = load_model("TAGModel", "tag_model.keras").affinity()
    assert affinity.tasks == TASKS
    np.testing.assert_array_equal(affinity.mean, expected["mean"])
    np.testing.assert_array_equal(affinity.count, expected["count"])


def test_a_model_loads_where_nothing_but_keras_and_the_package_were_imported():
    for file in ("tag_model.keras", "grouped_model.keras"):
        run_alone("import keras, keras_tag", f"keras.saving.load_model({str(STORED / file)!r})")
