"""Callbacks that `TAGModel.fit` adds: they read what Keras tells to callbacks only."""

import warnings
from typing import Any

import keras
import numpy as np

from keras_tag.tag_model.probe_record import ProbeRecord
from keras_tag.tag_model.probed_steps import ProbeSwitch
from keras_tag.tag_model.schedule import every_by_length


class RecordEpochs(keras.callbacks.Callback):
    """Tells a record which epoch `fit` is in.

    Args:
        record: The record.
    """

    def __init__(self, record: ProbeRecord) -> None:
        super().__init__()
        self.record = record

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Begin an epoch of the record."""
        self.record.begin_epoch(epoch)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """End the record's epoch."""
        self.record.end_epoch()


class EveryByLength(keras.callbacks.Callback):
    """Sets how often and from where on steps are probed, by the length of the `fit` that begins.

    Args:
        switch: The switch to set.
        executed: Steps per execution.
    """

    def __init__(self, switch: ProbeSwitch, executed: int) -> None:
        super().__init__()
        self._switch = switch
        self._executed = executed

    def on_train_begin(self, logs: Any = None) -> None:
        """Set the switch: Keras knows the length if the data, or a `CallbackList`, say it."""
        known = self.params or {}
        steps, epochs = known.get("steps"), known.get("epochs")
        length = steps * epochs if steps and epochs else None
        self._switch.every = every_by_length(length, self._executed)
        self._switch.brief = length is not None and length <= self._executed


class WarnOfNegativeLosses(keras.callbacks.Callback):
    """Warns once per `fit`, at the end of the first epoch in which a task's mean loss is negative.

    It reads the logs of Keras, so it adds nothing to the cost of a step.

    Args:
        record: Names the tasks.
    """

    def __init__(self, record: ProbeRecord) -> None:
        super().__init__()
        self._record = record
        self._warned = False

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Read the epoch's mean losses."""
        means = {task: (logs or {}).get(f"{task}_loss", 0.0) for task in self._record.tasks}
        negative = [task for task, mean in means.items() if np.mean(mean) < 0]
        if negative and not self._warned:
            self._warned = True
            warnings.warn(
                f"The losses of {negative} are negative. Affinity is the share of a loss that a "
                "step takes away: it changes its sign with the loss, and jumps where that passes "
                "through 0. Add a constant to these losses that keeps them positive (gradients "
                "stay the same), or use lookahead='cosine', which doesn't divide by losses.",
                stacklevel=2,
            )


def with_own_callbacks(callbacks: Any, model: Any, record: ProbeRecord, switch: ProbeSwitch) -> Any:
    """Return the `callbacks` argument of `fit` with the callbacks of this module before all others.

    Args:
        callbacks: What `fit` was given: None, a callback, a nested list of them, or a
            `CallbackList`.
        model: The `TAGModel`.
        record: Its record.
        switch: Its switch.

    Returns:
        A list, or the `CallbackList`.
    """
    own: list[keras.callbacks.Callback] = [
        RecordEpochs(record),
        EveryByLength(switch, model.steps_per_execution),
    ]
    # A cosine does not divide by losses.
    if model.lookahead != "cosine":
        own.append(WarnOfNegativeLosses(record))
    # First, so that what the others save at the end of an epoch holds the whole epoch.
    if not isinstance(callbacks, keras.callbacks.CallbackList):
        return [*own, *keras.tree.flatten(callbacks or [])]
    # The list may be of an earlier `fit`.
    kinds = (RecordEpochs, EveryByLength, WarnOfNegativeLosses)
    others = [callback for callback in callbacks.callbacks if not isinstance(callback, kinds)]
    callbacks.callbacks = [*own, *others]
    callbacks.set_params(callbacks.params)
    return callbacks
