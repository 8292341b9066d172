"""Tables of a measurement: `pandas.DataFrame`s, and the HTML that notebooks show."""

from html import escape
from typing import TYPE_CHECKING

import numpy as np

from keras_tag.affinity.measurement import Measurement
from keras_tag.affinity.standard_errors import SamplingErrors
from keras_tag.notebook_html import NUMBER, table

if TYPE_CHECKING:
    import pandas as pd

# A larger table has to be scrolled; a picture is easier to read.
_MOST_TASKS = 20
# The ends of matplotlib's RdBu, as `plotting.plot_affinity` has them.
_HELPS, _HARMS = (5, 48, 97), (103, 0, 31)


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
            **_names(measurement.tasks),
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
        mean, count = part.mean()
        errors = SamplingErrors.of_run(part, np.ones(len(part.row)))
        columns = {
            "run": int(run),
            "row": int(row),
            "epoch": int(part.epoch[0]),
            **_names(measurement.tasks),
            "mean": mean.ravel(),
            "standard_error": errors.standard_error.ravel(),
            "count": count.ravel(),
        }
        frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True)


def html_table(measurement: Measurement, caption: str) -> str:
    """Return the means as an HTML table, with standard errors where they are known.

    Args:
        measurement: The means are shown in colours: blue helps, red harms. With more than 20 tasks
            the table is replaced by a line that names `plot_affinity`.
        caption: The line above the table.

    Returns:
        HTML.
    """
    n = len(measurement.tasks)
    if n > _MOST_TASKS:
        return (
            f"<p>{escape(caption)}</p>"
            "<p>Draw it with <code>keras_tag.plotting.plot_affinity</code>.</p>"
        )
    off_diagonal = np.abs(measurement.mean[~np.eye(n, dtype=bool)])
    # The colours span what is off the diagonal, unless nothing is there.
    limit = float(np.nanmax(off_diagonal, initial=0.0))
    limit = limit or float(np.nanmax(np.abs(measurement.mean), initial=0.0))
    head = "".join(f'<th style="{NUMBER}">{escape(task)}</th>' for task in measurement.tasks)
    rows = [
        f'<th style="text-align:left">{escape(task)}</th>'
        + "".join(_cell(measurement, i, j, limit) for j in range(n))
        for i, task in enumerate(measurement.tasks)
    ]
    return table(caption, f"<th></th>{head}", rows)


def _cell(measurement: Measurement, i: int, j: int, limit: float) -> str:
    value, error = measurement.mean[i, j], measurement.standard_error[i, j]
    if np.isnan(value):
        return f'<td style="{NUMBER}background:#b0b0b0;color:black" title="not measured">-</td>'
    share = min(1.0, abs(value) / limit) if limit else 0.0
    end = _HELPS if value > 0 else _HARMS
    colour = ",".join(str(round(255 + share * (part - 255))) for part in end)
    ink = "white" if share > 0.45 else "black"
    pair = f"{escape(measurement.tasks[i])} &rarr; {escape(measurement.tasks[j])}"
    spread = "" if np.isnan(error) else f" &plusmn; {error:.2g}"
    title = f"{pair}: {value:.4g}{spread}, {measurement.count[i, j]} probes"
    return (
        f'<td style="{NUMBER}background:rgb({colour});color:{ink}" title="{title}">'
        f"{value:.3g}{spread}</td>"
    )


def _names(tasks: tuple[str, ...]) -> dict[str, list[str]]:
    return {
        "source": [task for task in tasks for _ in tasks],
        "target": list(tasks) * len(tasks),
    }
