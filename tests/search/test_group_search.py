"""A whole search on a toy: what it trains, keeps, and gives back."""

import shutil

import keras
import made_up
import numpy as np
import pytest
from toys import TASKS, assert_same_weights, compiled, data

import keras_tag

FIT = {"epochs": 2, "batch_size": 32, "verbose": 0}


def searched(folder, name="toy", model=None, fit=FIT, **arguments):
    x, y = data()
    model = compiled() if model is None else model
    given = {"budget": 2, "trainings": 3, **arguments}
    search = keras_tag.GroupSearch(model, directory=folder, project_name=name, **given)
    search.search(x, y, validation_split=0.25, **fit)
    return search


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("searches")


@pytest.fixture(scope="module")
def given():
    return compiled()


@pytest.fixture(scope="module")
def toy(folder, given):
    return searched(folder, model=given)


def test_the_served_predictions_are_the_chosen_networks_own(toy):
    x, _ = data()
    served = toy.best_model()
    grouping = toy.best_grouping()
    predicted = served.predict(x[:8], verbose=0)
    for task in TASKS:
        group = grouping.groups[grouping.serves[task]]
        outcome = next(o for o in toy.results.done if set(o.group) == set(group))
        part = keras_tag.build_from(compiled())(outcome.group)
        part.load_weights(toy.results_folder / f"training_{outcome.number:04d}/best.weights.h5")
        np.testing.assert_array_equal(predicted[task], part.predict(x[:8], verbose=0)[task])


def test_the_kept_weights_reach_the_objectives_that_were_written_down(toy):
    x, y = data()
    valid = (x[144:], {task: labels[144:] for task, labels in y.items()})
    for task, row in toy.evaluate(valid).iterrows():
        result = next(r for r in toy.results.tasks() if r.task == task)
        assert row["loss"] == pytest.approx(result.reached, rel=1e-4)
        assert row["joint_loss"] == pytest.approx(result.joint, rel=1e-4)


def test_the_given_model_is_left_as_it_is(given, toy):
    for ours, theirs in zip(compiled().get_weights(), given.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_finished_search_returns_at_once_and_goes_on_with_a_larger_limit(folder, toy):
    before = toy.to_frame()
    shutil.copytree(folder / "toy", folder / "more")
    assert searched(folder, "more").to_frame().equals(before)
    more = searched(folder, "more", trainings=4).to_frame()
    assert more.iloc[:4].equals(before)
    assert len(more) == 5


class Interrupt(keras.callbacks.Callback):
    """Ctrl-C at one epoch of the second training."""

    left = 1

    def on_epoch_end(self, epoch, logs=None):
        if "val_normals_loss" not in logs and Interrupt.left:
            Interrupt.left -= 1
            raise KeyboardInterrupt


@pytest.mark.slow
def test_an_interrupted_cell_goes_on_when_it_is_run_again(folder, toy):
    with pytest.raises(KeyboardInterrupt):
        searched(folder, "cell", fit={**FIT, "callbacks": [Interrupt()]})
    assert (folder / "cell" / "search.json").exists()
    keras.utils.set_random_seed(17)  # What ran before plays no part.
    searched(folder, "cell")
    assert_same_weights(folder / "toy", folder / "cell")


def test_other_settings_in_the_folder_are_named_and_overwritten_only_if_told(folder, toy):
    with pytest.raises(ValueError, match=r"search.budget: 2 there, 3 here"):
        keras_tag.GroupSearch(compiled(), 3, directory=folder, project_name="toy")
    with pytest.raises(ValueError, match=r"fit.epochs: 2 there, 3 here.*overwrite=True"):
        searched(folder, fit={**FIT, "epochs": 3})
    assert len(toy.to_frame())
    made_up.write(folder / "other")
    keras_tag.GroupSearch(compiled(), 3, directory=folder, project_name="other", overwrite=True)
    assert not (folder / "other").exists()
