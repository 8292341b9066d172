"""The report of a search: one HTML file with its pictures inside. It never imports TensorFlow."""

import dataclasses
import io
import os
from typing import TYPE_CHECKING, Any

from keras_tag.atomic_files import write_atomically
from keras_tag.search.results import Results
from keras_tag.search.summary import duration, number
from keras_tag.wording import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# How small a picture may be shown, relative to its own size.
_LEAST_SCALE = 0.75
# What matplotlib would write into every picture, such as the time.
_METADATA = ("Date", "Creator", "Format", "Type")
# Text stays text: it is small, can be searched, and is drawn in the reader's font.
_SVG: Any = {"svg.fonttype": "none", "svg.hashsalt": "keras_tag"}


def write_report(results: Results, path: str | os.PathLike[str]) -> None:
    """Write the report of a search, finished or not.

    Args:
        results: With the joint run at least.
        path: The file; it needs no other.

    Raises:
        ValueError: The joint run is not done.
    """
    content = report_html(results).encode()
    write_atomically(path, lambda opened: opened.write(content))


def report_html(results: Results) -> str:
    """Return the report as HTML.

    Args:
        results: With the joint run at least.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("keras_tag.search", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"number": number, "duration": duration, "counted": counted}
    template = environment.get_template("report.html.j2")
    grouping = results.grouping()
    indices = {frozenset(group): index for index, group in enumerate(grouping.groups)}
    networks = {
        outcome.number: indices[frozenset(outcome.group)]
        for outcome in results.done
        if frozenset(outcome.group) in indices
    }
    return template.render(
        results=results,
        grouping=grouping,
        networks=networks,
        tasks=results.tasks(),
        singles=any(row.single is not None for row in results.tasks()),
        pictures=pictures(results),
    )


def pictures(results: Results) -> list[dict[str, Any]]:
    """Return the pictures with their titles and captions, as SVG.

    Args:
        results: With the joint run at least.
    """
    from matplotlib.figure import Figure

    from keras_tag.plotting import affinity_size, groups_size, plot_affinity, plot_groups

    assert results.affinity is not None
    grouping = results.grouping()
    # As they are logged: of what is better the larger it is, the search compares the negative.
    reached = {row.task: row.reached for row in results.tasks()}
    grouping = dataclasses.replace(grouping, task_scores=reached)
    groups = Figure(groups_size(grouping), layout="constrained")
    plot_groups(grouping, groups.subplots())
    affinity = Figure(affinity_size(len(results.affinity.tasks)), layout="constrained")
    plot_affinity(results.affinity, affinity.subplots())
    return [
        {
            "title": "Which network serves which task",
            "caption": "The numbers are the objectives that the tasks reach.",
            "svg": svg(groups),
        },
        {
            "title": "Best total after each training",
            "caption": "The least sum of the objectives, over all groupings of the networks that "
            "were trained so far. Training 0 is the joint run.",
            "svg": svg(progress_figure(results)),
        },
        {
            "title": "Affinity",
            "caption": "Measured during the joint run. Row: whose update. Column: whose loss. "
            "Blue helps, red harms.",
            "svg": svg(affinity),
        },
    ]


def progress_figure(results: Results) -> "Figure":
    """Return the best total against the number of trainings.

    Args:
        results: With the joint run at least.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    from keras_tag.plotting.style import COLOURS, GRID

    figure = Figure((5.6, 3.2), layout="constrained")
    axes = figure.subplots()
    known = [(k, total) for k, total in results.totals() if total is not None]
    colour = COLOURS[0][0]
    if known:
        axes.step(*zip(*known, strict=True), where="post", color=colour)
        axes.plot(*zip(*known, strict=True), "o", color=colour, markersize=4)
    axes.set_xlabel("training")
    axes.set_ylabel("best total so far")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", color=GRID, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def svg(figure: "Figure") -> str:
    """Return a figure as an SVG element to be put into HTML.

    Args:
        figure: The figure.
    """
    import matplotlib as mpl

    file = io.StringIO()
    with mpl.rc_context(_SVG):
        figure.savefig(file, format="svg", metadata=dict.fromkeys(_METADATA))
    text = file.getvalue()
    # On narrow screens it is scrolled, rather than made so small that it can't be read.
    least = round(_LEAST_SCALE * 96 * figure.get_figwidth())
    return text[text.index("<svg") :].replace("<svg", f'<svg style="min-width: {least}px"', 1)
