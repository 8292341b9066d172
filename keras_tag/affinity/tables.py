"""An `Affinity` as `pandas.DataFrame`s, square, long, and long by epoch."""

from typing import TYPE_CHECKING

import numpy as np

from keras_tag.affinity.standard_errors import SamplingErrors

if TYPE_CHECKING:
    import pandas as pd

    from keras_tag.affinity.affinity import Affinity


def square_frame(affinity: "Affinity") -> "pd.DataFrame":
    """The means: index "source", columns "target"."""
    import pandas as pd

    return pd.DataFrame(
        affinity.mean,
        index=pd.Index(affinity.tasks, name="source"),
        columns=pd.Index(affinity.tasks, name="target"),
    )


def long_frame(affinity: "Affinity") -> "pd.DataFrame":
    """One row per pair: source, target, mean, standard_error, count."""
    import pandas as pd

    return pd.DataFrame(
        {
            **_names(affinity.tasks),
            "mean": affinity.mean.ravel(),
            "standard_error": affinity.standard_error.ravel(),
            "count": affinity.count.ravel(),
        }
    )


def epochs_frame(affinity: "Affinity") -> "pd.DataFrame":
    """One row per pair and epoch: run, row, epoch, and what `long_frame` has."""
    import pandas as pd

    history = affinity.history
    assert history is not None
    frames = []
    for run, row in np.unique(np.stack([history.run, history.row], axis=1), axis=0):
        part = history.part((history.run == run) & (history.row == row))
        mean, count = part.mean()
        errors = SamplingErrors.of_run(part, np.ones(len(part.row)))
        columns = {
            "run": int(run),
            "row": int(row),
            "epoch": int(part.epoch[0]),
            **_names(affinity.tasks),
            "mean": mean.ravel(),
            "standard_error": errors.standard_error.ravel(),
            "count": count.ravel(),
        }
        frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True)


def _names(tasks: tuple[str, ...]) -> dict[str, list[str]]:
    return {
        "source": [task for task in tasks for _ in tasks],
        "target": list(tasks) * len(tasks),
    }
