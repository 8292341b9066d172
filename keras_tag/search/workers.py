"""`Workers`: the processes that run the trainings of a search, whatever executor has them."""

import functools
import os
import threading
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import BrokenExecutor, Executor, Future
from multiprocessing import parent_process
from typing import Any, Protocol, TypeAlias
from weakref import WeakKeyDictionary

import keras
import tensorflow as tf

from keras_tag.provenance import versions
from keras_tag.search.training import Result, Training, run_training

# Another one in a process that was started anew; the same in one that was forked.
_LOADED = uuid.uuid4().hex
_WAY_OUT = (
    "Functions and classes that are sent must be in a module that workers can import (Ray's "
    "workers also take those of a notebook); data that can't be sent is given as a function that "
    "returns it there: x=lambda: load(...). A script that starts processes has "
    '`if __name__ == "__main__":` around what it does.'
)


class Submits(Protocol):
    """What has workers: as `concurrent.futures.Executor`."""

    def submit(self, function: Callable[..., Any], /, *args: Any) -> "Future[Any]":
        """Run a function in a worker."""


ExecutorLike: TypeAlias = Submits | Callable[[], Executor] | None


class Workers:
    """The workers of one search.

    Args:
        executor: Has a method `submit`; or a function that makes such an executor, which is shut
            down in the end, and made anew if it breaks; None: trainings run in this process.

    Raises:
        TypeError: It is none of these.
    """

    def __init__(self, executor: ExecutorLike) -> None:
        self.here = executor is None
        self._make: Callable[[], Any] | None = None
        self._executor: Any = executor
        self._environment = {name: get() for name, (get, _) in _ENVIRONMENT.items()}
        self._checked = False
        self._from: WeakKeyDictionary[Future[Any], Any] = WeakKeyDictionary()
        if executor is not None and not hasattr(executor, "submit"):
            if not callable(executor):
                raise TypeError(
                    "Expected `executor` to have a method `submit`, as executors of "
                    "concurrent.futures do, or to be a function that makes one. Received: "
                    f"executor={executor!r}."
                )
            self._make, self._executor = executor, None

    @property
    def most(self) -> int | None:
        """How many trainings can run at a time; None if the executor does not say it."""
        if self.here:
            return 1
        executor = self._made()
        found = getattr(executor, "max_workers", None) or getattr(executor, "_max_workers", None)
        return None if found is None else int(found)

    def check(self, training: Training) -> None:
        """See to it that workers can do a training, before anything else is trained.

        Args:
            training: One like those that will be submitted.

        Raises:
            ValueError: It can't be sent, or workers are not as this process is.
        """
        if self.here or self._checked:
            return
        there = self._asked(_about_process)
        if there["loaded"] == _LOADED and there["process"] != os.getpid():
            raise ValueError(
                "Expected workers that are started anew. Received: forks of this process, in which "
                "TensorFlow hangs. Make the pool with "
                'mp_context=multiprocessing.get_context("spawn").'
            )
        own = versions()
        if there["versions"] != own:
            raise ValueError(
                f"Expected the versions of this process in the workers: {own}. Received: "
                f"{there['versions']}. Install the same there."
            )
        answer = self._asked(_try, training, self._environment)
        if answer:
            raise ValueError(
                f"Expected workers that can make the network and read the data. One answered: "
                f"{answer}. {_WAY_OUT}"
            )
        self._checked = True

    def submit(self, training: Training) -> "Future[Result]":
        """Run a training.

        Args:
            training: The training.
        """
        if self.here:
            done: Future[Result] = Future()
            done.set_result(run_training(training))
            return done
        self.check(training)
        future: Future[Result]
        try:
            future = self._made().submit(run_in_worker, training, self._environment)
        except BrokenExecutor as error:
            future = Future()
            future.set_exception(error)
        self._from[future] = self._executor
        return future

    def renew(self, broken: "Future[Result]") -> None:
        """Take another executor after one that broke.

        Args:
            broken: What was submitted to it.

        Raises:
            RuntimeError: There is no way to make one.
        """
        if self._make is None:
            raise RuntimeError(
                "The executor is broken: a worker ended, killed perhaps for want of memory. What "
                "was trained so far is kept. Call `search` again with another executor: it goes "
                "on. Or give a function that makes one, and it is made anew: executor=lambda: "
                'ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")).'
            )
        if self._from.pop(broken) is self._executor:
            self.close(wait=True)

    def close(self, wait: bool) -> None:
        """Shut down the executor, if it is the search's own.

        Args:
            wait: Whether to wait until its processes have ended.
        """
        if self._make is not None and self._executor is not None:
            self._executor.shutdown(wait=wait, cancel_futures=True)
            self._executor = None

    def _made(self) -> Any:
        if self._executor is None:
            assert self._make is not None
            self._executor = self._make()
        return self._executor

    def _asked(self, function: Callable[..., Any], *args: Any) -> Any:
        try:
            return self._made().submit(function, *args).result()
        except Exception as error:
            raise ValueError(
                "Expected a training that can be sent to the workers. It can't be "
                f"({type(error).__name__}: {error}). {_WAY_OUT}"
            ) from error


def run_in_worker(training: Training, environment: Mapping[str, Any]) -> Result:
    """Run a training in a worker.

    Args:
        training: The training.
        environment: Of the search's process.
    """
    _prepare(environment)
    return run_training(training)


def _prepare(environment: Mapping[str, Any]) -> None:
    """Make this process one that works for the search's."""
    for name, value in environment.items():
        _ENVIRONMENT[name][1](value)
    _end_with_parent()


@functools.cache
def _end_with_parent() -> None:
    """End this process when the one that started it ends: a pool's workers would wait for ever."""

    def wait(parent: Any) -> None:
        parent.join()
        os._exit(1)

    parent = parent_process()
    if parent is not None:
        threading.Thread(target=wait, args=(parent,), daemon=True).start()


def _about_process() -> dict[str, Any]:
    return {"loaded": _LOADED, "process": os.getpid(), "versions": versions()}


def _try(training: Training, environment: Mapping[str, Any]) -> str | None:
    """Return why this process can't do a training; None if it can."""
    _prepare(environment)
    try:
        training.recipe.model()
        training.settings.train.first_batch()
        training.settings.valid.first_batch()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def _is_deterministic() -> bool:
    """Whether TensorFlow's operations are deterministic, which it does not say."""
    try:
        tf.random.Generator.from_non_deterministic_state()
    except RuntimeError:
        return True
    return False


# What a process's numbers depend on beside a training: how it is read, and how it is set.
_ENVIRONMENT: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "floatx": (keras.config.floatx, keras.config.set_floatx),
    "policy": (
        lambda: keras.dtype_policies.serialize(keras.config.dtype_policy()),
        lambda policy: keras.config.set_dtype_policy(keras.dtype_policies.deserialize(policy)),
    ),
    "image_data_format": (keras.config.image_data_format, keras.config.set_image_data_format),
    "epsilon": (keras.config.epsilon, keras.config.set_epsilon),
    "tensor_float_32": (
        tf.config.experimental.tensor_float_32_execution_enabled,
        tf.config.experimental.enable_tensor_float_32_execution,
    ),
    "deterministic": (
        _is_deterministic,
        lambda on: on and tf.config.experimental.enable_op_determinism(),
    ),
}
