"""Plain and probed training steps: one train function of each kind, and the choice between them.

The choice is made in Python, not in the graph: a collective inside `tf.cond` fails under a
distribution strategy, and convolutions in it are many times slower.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from keras_tag.tag_model.probe import SmallState, State
from keras_tag.tag_model.probe_record import ProbeRecord
from keras_tag.tag_model.schedule import OFTEN, OverheadClock


@dataclass
class ProbeSwitch:
    """The choices about probing that the host makes and that a traced step reads.

    Args:
        paused: No step is probed.
        every: How often the present or latest `fit` probes, where the model's own `every` is None.
        on: The step that is traced, or run eagerly, is probed.
        last_step_probed: The latest step was probed.
    """

    paused: bool = False
    every: int = OFTEN
    on: bool = False
    last_step_probed: bool = False


@dataclass(frozen=True, eq=False)
class OpenProbe:
    """A probe in a training step between its forward pass and its loss.

    Args:
        tape: Persistent; it records the step's forward pass.
        stop_recording: Closes the tape.
        state: The model's state before the forward pass.
        query: A batch of `probe_data`, or None.
    """

    tape: tf.GradientTape
    stop_recording: Callable[[], None]
    state: State
    query: Any


class OpenProbes:
    """The open probe of every replica: TensorFlow traces each in a thread of its own.

    A layer that reduces over the replicas in its forward pass (a synchronised BatchNormalization)
    makes the threads take turns, so several probes are open at once.
    """

    def __init__(self) -> None:
        self._by_thread: dict[int, OpenProbe] = {}

    def open(self, probe: OpenProbe) -> None:
        """Keep the probe of this replica's step."""
        self._by_thread[threading.get_ident()] = probe

    def take(self) -> OpenProbe | None:
        """Return the probe of this replica's step, once; None if there is none."""
        return self._by_thread.pop(threading.get_ident(), None)


class TrainFunctions:
    """The function that Keras calls for every training step of a `TAGModel`.

    Args:
        model: The compiled `TAGModel`; its `every` is set when it is "auto" and the clock has
            timed enough steps.
        record: Where its steps are counted.
        switch: Turned on for the probing function.
        plain: Keras's train function, traced with the switch off.
        probing: Keras's train function, traced with the switch on.
        queries: Batches of `probe_data`, or None.
        describe: Returns what probes are made with, as plain JSON types.
    """

    def __init__(
        self,
        model: Any,
        record: ProbeRecord,
        switch: ProbeSwitch,
        plain: Any,
        probing: Any,
        queries: Iterator[Any] | None,
        describe: Callable[[], dict[str, Any]],
    ) -> None:
        self._model = model
        self._record = record
        self._switch = switch
        self._plain = plain
        self._probing = probing
        self._queries = queries
        self._describe = describe
        self._small_state = SmallState(model, record.finished)
        self._clock = OverheadClock(model.overhead, model.optimizer.iterations.numpy)
        self._next_step: int | None = None

    def begin(self) -> None:
        """Begin a `fit`: a callback may restore the step counter before its first step."""
        self._next_step = None

    def __call__(self, iterator: Any) -> Any:
        """Run one training step, or `steps_per_execution` of them."""
        model, clock = self._model, self._clock
        if model.every != "auto" or self._switch.paused:
            return self._step(iterator)
        with clock.timed():
            logs = self._step(iterator)
        if clock.every is not None:
            model.every = clock.every
            print(
                f"keras_tag: every={model.every} keeps probing below {model.overhead:.0%} of "
                "training. Give that number instead of 'auto' to repeat this run."
            )
        return logs

    def _step(self, iterator: Any) -> Any:
        executed = self._model.steps_per_execution
        if self._next_step is None:
            self._next_step = int(self._record.step.numpy())
        probe = self._switch.last_step_probed = self._probes(self._next_step)
        if probe and self._queries is not None:
            iterator = iter([(next(iterator), next(self._queries))])
        logs = self._probed(iterator) if probe else self._plain(iterator)
        # Counted after the step: the end of the data raises, and is no step.
        self._next_step += executed
        if probe:
            self._record.close_full_block(executed)
            self._record.note(self._describe)
        return logs

    def _probed(self, iterator: Any) -> Any:
        self._record.finish_closing()
        self._switch.on = True
        try:
            with self._small_state.kept_if_raised():
                return self._probing(iterator)
        finally:
            self._switch.on = False

    def _probes(self, step: int) -> bool:
        if self._switch.paused:
            return False
        if self._model.every == "auto":
            return self._clock.probes_next()
        return step % self._model.probes_every == 0
