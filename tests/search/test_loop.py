"""The loop of a search on workers that are made up: what is asked for, tried again, and kept."""

import pickle
import sys
import threading
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from types import SimpleNamespace

import made_up
import numpy as np
import pytest
import tensorflow as tf

from keras_tag.search import runner as runner_module
from keras_tag.search.arguments import check_data_travels
from keras_tag.search.ledger import Ledger
from keras_tag.search.objectives import objectives_by_task
from keras_tag.search.proposals import Limits, Problem
from keras_tag.search.runner import Runner, _Loop
from keras_tag.search.training import FitSettings, Result, Training
from keras_tag.search.workers import Workers


class Asks(Runner):
    """A runner whose trainings are what was asked for."""

    def training(self, outcome, deadline=None):
        return outcome

    def __init__(self, folder, trainings=6):
        ledger = Ledger(folder)
        ledger.make_folder()
        tasks = made_up.TASKS
        problem = Problem(tasks, 2, objectives_by_task(None, tasks))
        limits = Limits(trainings)
        super().__init__(
            ledger=ledger,
            networks=None,
            settings=FitSettings(problem, *[None] * 4),
            limits=limits,
            seed=0,
            keep="all",
            workers=None,
            strategy=None,
            session="",
        )


class Held:
    """Workers that end a training when they are told to."""

    def __init__(self, most):
        self.most = most
        self.futures = {}
        self.submitted = []
        self.renewed = 0
        self.changed = threading.Condition()

    def submit(self, outcome):
        with self.changed:
            future = Future()
            self.futures[outcome.number] = future
            self.submitted.append(outcome)
            self.changed.notify_all()
        return future

    def renew(self, future):
        self.renewed += 1

    def wait_for(self, count):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.submitted) >= count, timeout=60)


def done(outcome):
    """What a training reaches: a number by group and task."""
    draw = np.random.default_rng(list(map(ord, "".join(outcome.group))))
    own = {task: float(np.exp(-draw.random())) for task in outcome.group}
    return Result(replace(outcome, status="done", epochs=1, best_epoch=0, objective=own))


def looping(runner, workers):
    joint = runner.ask(0, "joint", [made_up.TASKS])[0]
    shown = SimpleNamespace(**dict.fromkeys(("begin", "end", "close"), lambda *_: None))
    loop = _Loop(runner, [done(joint).outcome], shown)
    return loop, lambda: loop.run([], workers, made_up.AFFINITY)


def test_one_worker_trains_rounds(tmp_path):
    runner, workers = Asks(tmp_path), Held(1)
    loop, run = looping(runner, workers)
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(run)
        for count in range(1, 7):
            workers.wait_for(count)
            outcome = workers.submitted[-1]
            workers.futures[outcome.number].set_result(done(outcome))
        running.result(timeout=60)
    expected = [loop.ended[0]]
    while groups := runner.problem.next_groups(made_up.AFFINITY, expected, runner.limits):
        first = len(expected)
        expected += [
            done(replace(expected[0], number=first + k, kind="searched", group=group)).outcome
            for k, group in enumerate(groups)
        ]
    assert [own.group for own in workers.submitted] == [own.group for own in expected[1:]]
    assert [own.group for own in runner.ledger.outcomes()] == [own.group for own in expected]


@pytest.mark.parametrize("most", [2, None])
def test_no_worker_waits_for_a_round_to_end_and_limits_are_kept(tmp_path, most):
    runner, workers = Asks(tmp_path), Held(most)
    _, run = looping(runner, workers)
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(run)
        workers.wait_for(2)
        held = workers.submitted[0]
        count = 1
        while count < 6:  # The other worker has something to do until the limit is reached.
            workers.wait_for(count + 1)
            for own in list(workers.submitted):
                if own is not held and not workers.futures[own.number].done():
                    assert most is None or len(workers.submitted) - count <= most
                    count += 1
                    workers.futures[own.number].set_result(done(own))
        assert not running.done()
        workers.futures[held.number].set_result(done(held))
        running.result(timeout=60)
    groups = [own.group for own in workers.submitted]
    assert len(set(map(frozenset, groups))) == len(groups) == 6


def test_a_training_that_was_tried_more_often_than_is_allowed_now_is_given_up(tmp_path):
    runner = Asks(tmp_path)
    loop, _ = looping(runner, Held(1))
    (asked,) = runner.ask(1, "searched", [made_up.TASKS[:2]])
    found = replace(asked, status="failed", error="NaN")
    loop._failed(replace(asked, status="running", attempt=2), found)
    assert [own.status for own in loop.ended] == ["done", "failed"]


def test_a_lost_worker_costs_one_try_and_three_mark_the_training(tmp_path):
    runner, workers = Asks(tmp_path, trainings=2), Held(1)
    loop, run = looping(runner, workers)
    full = Result(replace(loop.ended[0], status="failed", error="No space left"), None, {}, True)
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(run)
        workers.wait_for(1)
        first = workers.submitted[0]
        workers.futures[1].set_exception(BrokenProcessPool("a worker ended"))
        workers.wait_for(2)
        workers.futures[1].set_result(full)
        workers.wait_for(3)
        assert [own.seed for own in workers.submitted] == [first.seed] * 3
        workers.futures[1].set_exception(RuntimeError("node lost"))
        workers.wait_for(4)
        kept = {"best.weights.h5": b"weights", "history.csv": b"epoch\n"}
        workers.futures[2].set_result(replace(done(workers.submitted[3]), files=kept))
        running.result(timeout=60)
    failed, second = runner.ledger.outcomes()[1:]
    assert (failed.status, second.status, workers.renewed) == ("failed", "done", 1)
    assert "3 workers" in failed.error
    assert "node lost" in failed.error
    for name, content in kept.items():
        assert (runner.ledger.folder_of(2) / name).read_bytes() == content


def test_what_ran_when_an_executor_broke_runs_alone(tmp_path):
    """Nobody knows which of them ended the worker, and the others are not to fail with it."""
    runner, workers = Asks(tmp_path, trainings=4), Held(2)
    _, run = looping(runner, workers)
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(run)
        workers.wait_for(2)
        for number in (1, 2):
            workers.futures[number].set_exception(BrokenProcessPool("a worker ended"))
        workers.wait_for(3)
        first = workers.submitted[2]
        assert len(workers.submitted) == 3
        workers.futures[first.number].set_result(done(first))
        workers.wait_for(4)
        second = workers.submitted[3]
        assert {first.number, second.number} == {1, 2}
        # A training that the executor cancels is tried again, too.
        assert workers.futures[second.number].cancel()
        workers.futures[second.number].set_running_or_notify_cancel()
        workers.wait_for(5)
        assert len(workers.submitted) == 5
        workers.futures[second.number].set_result(done(second))
        workers.wait_for(7)
        for own in workers.submitted[5:]:
            workers.futures[own.number].set_result(done(own))
        running.result(timeout=60)
    assert [own.status for own in runner.ledger.outcomes()[1:]] == ["done"] * 4


def test_ctrl_c_leaves_nothing_in_the_executor(tmp_path, monkeypatch):
    """Of an executor with a queue what waits is cancelled."""

    def interrupted(running, return_when):
        raise KeyboardInterrupt

    monkeypatch.setattr(runner_module, "wait", interrupted)
    workers = Held(None)
    loop, run = looping(Asks(tmp_path, trainings=4), workers)
    with pytest.raises(KeyboardInterrupt):
        run()
    loop.stop()
    assert len(workers.futures) >= 2
    assert all(future.cancelled() for future in workers.futures.values())


class Unpicklable(Exception):
    """As those of libraries that hold a connection."""

    def __init__(self, more, lock):
        super().__init__(more)
        self.lock = lock


class Raises(Training):
    """A training that ends in an exception."""

    def __init__(self, outcome, folder):
        super().__init__(outcome, folder, None, None)

    def run(self):
        raise Unpicklable("the connection is gone", threading.Lock())


def test_an_exception_that_cannot_be_pickled_comes_back_as_text(tmp_path):
    asked = made_up.outcomes()[1]
    result = pickle.loads(pickle.dumps(Raises(asked, tmp_path).result()))
    assert (result.outcome.status, result.outcome.group) == ("failed", asked.group)
    assert "Unpicklable: the connection is gone" in result.outcome.error
    assert not result.full


class Pickles(Executor):
    """An executor that sends what it is given, as others do, to a process that is made up."""

    def __init__(self, **there):
        self.there = there

    def submit(self, fn, /, *args):
        future = Future()
        try:
            pickle.dumps(args)
            answer = fn() if not args else None
            future.set_result({**answer, **self.there} if answer else None)
        except Exception as error:
            future.set_exception(error)
        return future


def test_what_cannot_be_sent_is_refused_with_the_way_out():
    with pytest.raises(ValueError, match=r"tf.data.Dataset.*x=lambda: load"):
        check_data_travels(None, tf.data.Dataset.range(3))
    with pytest.raises(ValueError, match=r"can't be sent|can be sent.*x=lambda: load"):
        Workers(Pickles()).check(lambda: None)
    Workers(Pickles()).check("something that can be pickled")


def test_workers_that_would_train_otherwise_are_refused():
    with pytest.raises(ValueError, match=r'forks.*get_context\("spawn"\)'):
        Workers(Pickles(process=-1)).check(None)
    with pytest.raises(ValueError, match=r"versions.*keras.*3.0"):
        Workers(Pickles(loaded="", versions={"keras": "3.0"})).check(None)


def test_an_executor_is_what_can_be_submitted_to_or_makes_that():
    with pytest.raises(TypeError, match=r"submit.*executor=4"):
        Workers(4)
    given, made = Workers(Pickles()), Workers(Pickles)
    assert made.most is None
    with pytest.raises(RuntimeError, match=r"broken.*executor=lambda"):
        given.renew(Future())


def test_ray_that_is_not_there_is_named(monkeypatch):
    import keras_tag

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r'pip install "keras_tag\[ray\]"'):
        keras_tag.RayExecutor()


def test_a_task_of_ray_that_needs_nothing_is_refused():
    import keras_tag

    with pytest.raises(ValueError, match="Expected a task to need a CPU"):
        keras_tag.RayExecutor(num_cpus=0)
