"""Failures are data: trainings that raise or go NaN are tried again, marked, and avoided."""

import errno

import keras
import pytest
from test_group_search import FIT
from toys import compiled, data

import keras_tag
from keras_tag.search.ledger import FolderError

X, Y = data(64)
FEW = {**FIT, "epochs": 1, "validation_split": 0.5}


class Raises(keras.callbacks.Callback):
    """Raises in trainings of some groups."""

    def __init__(self, group, wanted, error):
        super().__init__()
        self.raises, self.error = wanted(group), error

    def on_epoch_end(self, epoch, logs=None):
        if self.raises:
            if self.error == "nan":
                logs["val_depth_loss"] = float("nan")
            else:
                raise self.error


def search_with(folder, wanted, error, **arguments):
    model = compiled(run_eagerly=True)  # Tracing takes longer than these few steps.
    search = keras_tag.GroupSearch(model, 2, directory=folder, **{"trainings": 2, **arguments})

    def run(**more):
        search.search(X, Y, callbacks=lambda group: [Raises(group, wanted, error)], **FEW | more)

    return search, run


def one_failure():
    """Says yes to the first group of two tasks that is asked for, whenever it is trained."""
    first = []

    def wanted(group):
        if len(group) < 4 and not first:
            first.append(group)
        return group in first

    return wanted


@pytest.mark.slow
@pytest.mark.parametrize("error", [ValueError("no luck"), "nan"])
def test_a_failed_training_is_tried_again_marked_and_avoided(tmp_path, error):
    search, run = search_with(tmp_path, one_failure(), error, max_retries=1, trainings=2)
    run()
    frame = search.to_frame()
    assert list(frame.status) == ["done", "failed", "done"], frame
    assert frame.attempt[1] == 1
    assert ("no luck" if error != "nan" else "val_depth_loss is nan") in frame.error[1]
    assert frame.group[1] not in (frame.group[0], frame.group[2])
    assert search.best_model().predict(X[:2], verbose=0)
    seen = keras_tag.search.ledger.Ledger(search.results_folder).folder_of(1)
    assert sorted(path.name for path in seen.iterdir()) == ["training.json"]


@pytest.mark.slow
def test_three_failures_in_a_row_stop_with_the_first_cause(tmp_path):
    search, run = search_with(
        tmp_path, lambda group: len(group) < 4, ValueError("broken pipe"), trainings=6
    )
    with pytest.raises(RuntimeError, match=r"3 trainings in a row.*broken pipe"):
        run()
    assert list(search.to_frame().status[:4]) == ["done", "failed", "failed", "failed"]
    assert set(search.to_frame().status[4:]) <= {"waiting"}
    assert len(search.best_grouping().groups) == 1


@pytest.mark.slow
def test_a_joint_run_that_fails_is_tried_again_by_the_next_call(tmp_path):
    broken = [True]
    search, run = search_with(
        tmp_path, lambda group: broken[0], RuntimeError("no data today"), trainings=1
    )
    with pytest.raises(RuntimeError, match=r"joint run failed.*no data today"):
        run()
    broken[0] = False
    run()
    assert list(search.to_frame().status) == ["done", "done"]


@pytest.mark.slow
def test_a_full_disk_stops_the_search_and_says_where(tmp_path):
    full = [True]
    error = OSError(errno.ENOSPC, "No space left on device")
    search, run = search_with(tmp_path, lambda group: full[0] and len(group) < 4, error)
    with pytest.raises(FolderError, match=r"group_search.*No space left.*goes on"):
        run()
    assert list(search.to_frame().status)[:2] == ["done", "running"]
    full[0] = False
    run()
    assert list(search.to_frame().status) == ["done"] * 3
