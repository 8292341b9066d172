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
    """Raises in trainings of some groups, or makes their objectives NaN."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def on_epoch_end(self, epoch, logs=None):
        if self.error == "nan":
            logs |= dict.fromkeys(logs, float("nan"))
        elif self.error is not None:
            raise self.error


def search_with(folder, error_of, **arguments):
    """A search whose trainings fail with `error_of(group)`; None is no failure."""
    model = compiled(run_eagerly=True)  # Tracing takes longer than these few steps.
    search = keras_tag.GroupSearch(model, 2, directory=folder, **{"trainings": 2, **arguments})

    def run(**more):
        search.search(X, Y, callbacks=lambda group: [Raises(error_of(group))], **FEW | more)

    return search, run


@pytest.mark.slow
def test_failed_trainings_are_tried_again_marked_and_avoided(tmp_path):
    errors, of = [ValueError("no luck"), "nan"], {}

    def error_of(group):
        """The first group that is asked for raises, whenever it is trained; the second is NaN."""
        if len(group) < 4 and group not in of:
            of[group] = errors.pop(0) if errors else None
        return of.get(group)

    search, run = search_with(tmp_path, error_of, max_retries=1, trainings=3)
    run()
    frame = search.to_frame()
    assert list(frame.status) == ["done", "failed", "failed", "done"], frame
    assert list(frame.attempt) == [0, 1, 1, 0]
    assert "no luck" in frame.error[1]
    assert "is nan" in frame.error[2]
    assert len(set(frame.group)) == 4
    assert search.best_model().predict(X[:2], verbose=0)
    for number in (1, 2):
        seen = keras_tag.search.ledger.Ledger(search.results_folder).folder_of(number)
        assert sorted(path.name for path in seen.iterdir()) == ["training.json"]


@pytest.mark.slow
def test_three_failures_in_a_row_stop_with_the_first_cause(tmp_path):
    error = ValueError("broken pipe")
    search, run = search_with(tmp_path, lambda g: error if len(g) < 4 else None, trainings=6)
    with pytest.raises(RuntimeError, match=r"3 trainings in a row.*broken pipe"):
        run()
    assert list(search.to_frame().status[:4]) == ["done", "failed", "failed", "failed"]
    assert set(search.to_frame().status[4:]) <= {"waiting"}
    assert len(search.best_grouping().groups) == 1


@pytest.mark.slow
def test_a_joint_run_that_fails_is_tried_again_by_the_next_call(tmp_path):
    errors = [RuntimeError("no data today")]
    search, run = search_with(tmp_path, lambda group: errors[0] if errors else None, trainings=1)
    with pytest.raises(RuntimeError, match=r"joint run failed.*no data today"):
        run()
    errors.clear()
    run()
    assert list(search.to_frame().status) == ["done", "done"]


@pytest.mark.slow
def test_a_full_disk_stops_the_search_and_says_where(tmp_path):
    errors = [OSError(errno.ENOSPC, "No space left on device")]
    search, run = search_with(tmp_path, lambda g: errors[0] if errors and len(g) < 4 else None)
    with pytest.raises(FolderError, match=r"group_search.*No space left.*goes on"):
        run()
    assert list(search.to_frame().status)[:2] == ["done", "running"]
    errors.clear()
    run()
    assert list(search.to_frame().status) == ["done"] * 3
