"""The callback that `TAGModel.fit` adds: it reads what Keras tells to callbacks only."""

import warnings
from typing import Any

import keras
import numpy as np

from keras_tag.tag_model.probe_record import ProbeRecord
from keras_tag.tag_model.probed_steps import ProbeSwitch
from keras_tag.tag_model.schedule import every_by_length


class FollowFit(keras.callbacks.Callback):
    """Tells the parts of a `TAGModel` where in `fit` they are.

    It sets how often and from where on steps are probed, by the length of the `fit` that begins. It
    tells a record which epoch it is. And it warns once per `fit`, at the end of the first epoch in
    which a task's mean loss is negative: it reads the logs of Keras, so that adds nothing to the
    cost of a step.

    Args:
        model: The `TAGModel`.
        record: Its record.
        switch: Its switch.
    """

    def __init__(self, model: Any, record: ProbeRecord, switch: ProbeSwitch) -> None:
        super().__init__()
        # Keras sets it in a list of callbacks, not in a user's `CallbackList`.
        self.set_model(model)
        self._record = record
        self._switch = switch
        self._warned = False

    def on_train_begin(self, logs: Any = None) -> None:
        """Set the switch: Keras knows the length if the data, or a `CallbackList`, say it."""
        known, executed = self.params or {}, self.model.steps_per_execution
        steps, epochs = known.get("steps"), known.get("epochs")
        length = steps * epochs if steps and epochs else None
        self._switch.every = every_by_length(length, executed)
        self._switch.brief = length is not None and length <= executed

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Begin an epoch of the record."""
        self._record.begin_epoch(epoch)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """End the record's epoch, and read its mean losses."""
        self._record.end_epoch()
        means = {task: (logs or {}).get(f"{task}_loss", 0.0) for task in self._record.tasks}
        negative = [task for task, mean in means.items() if np.mean(mean) < 0]
        # A cosine does not divide by losses.
        if negative and not self._warned and self.model.lookahead != "cosine":
            self._warned = True
            warnings.warn(
                f"The losses of {negative} are negative. Affinity is the share of a loss that a "
                "step takes away: it changes its sign with the loss, and jumps where that passes "
                "through 0. Add a constant to these losses that keeps them positive (gradients "
                "stay the same), or use lookahead='cosine', which doesn't divide by losses.",
                stacklevel=2,
            )


def with_own_callback(callbacks: Any, own: FollowFit) -> Any:
    """Return the `callbacks` argument of `fit` with one callback before all others.

    Args:
        callbacks: What `fit` was given: None, a callback, a nested list of them, or a
            `CallbackList`.
        own: The callback.

    Returns:
        A list, or the `CallbackList`.
    """
    # First, so that what the others save at the end of an epoch holds the whole epoch.
    if not isinstance(callbacks, keras.callbacks.CallbackList):
        return [own, *keras.tree.flatten(callbacks or [])]
    # The list may be of an earlier `fit`.
    others = [one for one in callbacks.callbacks if not isinstance(one, FollowFit)]
    callbacks.callbacks = [own, *others]
    callbacks.set_params(callbacks.params)
    return callbacks
