"""Keras's train function twice, plain and probing, and the host's choice between them.

The choice is made in Python, not in the graph: a collective inside `tf.cond` fails under a
distribution strategy, and convolutions there are many times slower.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras

from keras_tag.tag_model.probe import SmallState
from keras_tag.tag_model.probe_record import ProbeRecord
from keras_tag.tag_model.schedule import OFTEN, OverheadClock, every_by_length


@dataclass
class ProbeSwitch:
    """How the host and the step that it traces talk to each other.

    Args:
        paused: No step is probed.
        every: How often the present or latest `fit` probes, where the model's own `every` is None.
        on: The step now traced, or run eagerly, is to be probed.
        last_step_probed: The latest step was.
    """

    paused: bool = False
    every: int = OFTEN
    on: bool = False
    last_step_probed: bool = False


class EveryByLength(keras.callbacks.Callback):
    """Tells a switch how often to probe, by the length of the `fit` that begins.

    Args:
        switch: The switch.
        executed: Steps per execution.
    """

    def __init__(self, switch: ProbeSwitch, executed: int) -> None:
        super().__init__()
        self._switch = switch
        self._executed = executed

    def on_train_begin(self, logs: Any = None) -> None:
        """`fit` begins, and Keras knows its length if the data, or a `CallbackList`, say it."""
        known = self.params or {}
        steps, epochs = known.get("steps"), known.get("epochs")
        length = steps * epochs if steps and epochs else None
        self._switch.every = every_by_length(length, self._executed)


class TrainFunctions:
    """What Keras calls for every training step of a `TAGModel`.

    Args:
        model: The compiled `TAGModel`; its `every` is set when it is "auto" and the clock knows.
        record: Where its steps are counted.
        switch: Turned on for the probing function.
        plain: Keras's train function, traced with the switch off.
        probing: Keras's train function, traced with the switch on.
        queries: Batches of `probe_data`, or None.
        describe: Says what probes are made with, as plain JSON types.
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
        """A `fit` begins: a callback may restore the step counter before its first step."""
        self._next_step = None

    def __call__(self, iterator: Any) -> Any:
        """One training step, or `steps_per_execution` of them."""
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
        # Here, because the end of the data is no step.
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
