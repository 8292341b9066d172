"""Says when a loss is negative: an affinity is a share of a loss, and a negative one has none."""

import warnings
from typing import Any

import keras
import numpy as np

from keras_tag.tag_model.probe_record import ProbeRecord


class WarnOfNegativeLosses(keras.callbacks.Callback):
    """Warns once per `fit`, at the end of the first epoch in which a task's mean loss is negative.

    It reads what Keras logs anyway, so that steps cost nothing more.

    Args:
        record: Knows the tasks.
    """

    def __init__(self, record: ProbeRecord) -> None:
        super().__init__()
        self._record = record
        self._warned = False

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Look at the epoch's mean losses."""
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
