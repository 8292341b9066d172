"""What notebooks show of an `Affinity` and a `Grouping`: plain HTML tables."""

from html import escape
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from keras_tag.affinity import Affinity
    from keras_tag.selection.grouping import Grouping

# Beyond this a table is no longer read but scrolled: a picture says more.
_MOST_TASKS = 20
# The ends of matplotlib's RdBu, as `plotting.plot_affinity` has them.
_HELPS, _HARMS = (5, 48, 97), (103, 0, 31)
_CELL = "text-align:right;padding:2px 8px;"


def affinity_html(affinity: "Affinity") -> str:
    """The means with standard errors where there are any; blue helps, red harms."""
    n = len(affinity.tasks)
    off = np.abs(affinity.mean[~np.eye(n, dtype=bool)])
    limit = float(np.nanmax(off, initial=0.0)) or float(np.nanmax(np.abs(affinity.mean), initial=0))
    caption = escape(repr(affinity).split("\n", 1)[0])
    if n > _MOST_TASKS:
        return f"<p>{caption}</p><p>Draw it with <code>keras_tag.plotting.plot_affinity</code>.</p>"
    head = "".join(f'<th style="{_CELL}">{escape(task)}</th>' for task in affinity.tasks)
    lines = []
    for i, task in enumerate(affinity.tasks):
        cells = "".join(_cell(affinity, i, j, limit) for j in range(n))
        lines.append(f'<tr><th style="text-align:left">{escape(task)}</th>{cells}</tr>')
    return (
        f'<table><caption style="caption-side:top;text-align:left">{caption}</caption>'
        f"<thead><tr><th></th>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    )


def grouping_html(grouping: "Grouping") -> str:
    """A line for each network: whom it serves, with scores, and who helps."""
    lines = []
    for index in range(len(grouping.groups)):
        served = []
        for task in grouping.served(index):
            score = grouping.task_scores[task]
            served.append(f"<b>{escape(task)}</b>" + ("" if np.isnan(score) else f" {score:.3g}"))
        helpers = escape(", ".join(grouping.helpers(index)))
        left = "text-align:left;padding:2px 8px;"
        lines.append(
            f'<tr><td style="{_CELL}">{index}</td><td style="{left}">{", ".join(served)}</td>'
            f'<td style="{left}">{helpers}</td></tr>'
        )
    caption = escape(str(grouping).split("\n", 1)[0])
    return (
        f'<table><caption style="caption-side:top;text-align:left">{caption}</caption>'
        "<thead><tr><th>network</th><th>serves (score)</th><th>helped by</th></tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table>"
    )


def _cell(affinity: "Affinity", i: int, j: int, limit: float) -> str:
    value, error = affinity.mean[i, j], affinity.standard_error[i, j]
    if np.isnan(value):
        return f'<td style="{_CELL}background:#b0b0b0;color:black" title="not measured">-</td>'
    share = min(1.0, abs(value) / limit) if limit else 0.0
    end = _HELPS if value > 0 else _HARMS
    colour = ",".join(str(round(255 + share * (part - 255))) for part in end)
    ink = "white" if share > 0.45 else "black"
    named = f"{escape(affinity.tasks[i])} &rarr; {escape(affinity.tasks[j])}"
    sure = "" if np.isnan(error) else f" &plusmn; {error:.2g}"
    title = f"{named}: {value:.4g}{sure}, {affinity.count[i, j]} probes"
    return (
        f'<td style="{_CELL}background:rgb({colour});color:{ink}" title="{title}">'
        f"{value:.3g}{sure}</td>"
    )
