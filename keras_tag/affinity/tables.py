"""Tables of a measurement: `pandas.DataFrame`s."""

from typing import TYPE_CHECKING

import numpy as np

from keras_tag.affinity.measurement import Measurement
from keras_tag.affinity.standard_errors import SamplingErrors

if TYPE_CHECKING:
    import pandas as pd


def square_frame(measurement: Measurement) -> "pd.DataFrame":
    """Return the means: index "source", columns "target"."""
    import pandas as pd

    return pd.DataFrame(
        measurement.mean,
        index=pd.Index(measurement.tasks, name="source"),
        columns=pd.Index(measurement.tasks, name="target"),
    )


def long_frame(measurement: Measurement) -> "pd.DataFrame":
    """Return one row per pair: source, target, mean, standard_error, count."""
    import pandas as pd

    return pd.DataFrame(
        {
            "source": [task for task in measurement.tasks for _ in measurement.tasks],
            "target": list(measurement.tasks) * len(measurement.tasks),
            "mean": measurement.mean.ravel(),
            "standard_error": measurement.standard_error.ravel(),
            "count": measurement.count.ravel(),
        }
    )


def epoch_frame(measurement: Measurement) -> "pd.DataFrame":
    """Return one row per pair and epoch: run, row, epoch, and the columns of `long_frame`.

    Args:
        measurement: With a history.

    Returns:
        The frame; see `Affinity.to_epoch_frame`.

    Raises:
        ValueError: There is no history.
    """
    import pandas as pd

    history = measurement.history
    if history is None:
        raise ValueError(
            "Expected an affinity with a history. Received: one without, such as a table. "
            "`to_long_frame()` has one row per pair."
        )
    frames = []
    for run, row in np.unique(np.stack([history.run, history.row], axis=1), axis=0):
        part = history.part((history.run == run) & (history.row == row))
        errors = SamplingErrors.of_run(part)
        frame = long_frame(Measurement(measurement.tasks, *part.mean(), errors=errors))
        for place, name in enumerate(("run", "row", "epoch")):
            frame.insert(place, name, int(getattr(part, name)[0]))
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)
