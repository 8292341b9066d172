"""The plot of a grouping."""

from typing import TYPE_CHECKING

import numpy as np

from keras_tag.plotting.style import COLOURS, GRID, literal, new_axes
from keras_tag.selection.grouping import Grouping

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# What the number in a box is, by the score of the grouping.
_NUMBERS = {
    "members": "number: share of its own progress that it keeps (alone: 1)",
    "partners": "number: mean affinity of the other members for it",
    "measured": "number: what it reached",
}


def groups_size(grouping: Grouping) -> tuple[float, float]:
    """Return the size, in inches, of the figure that `plot_groups` makes for a grouping."""
    return max(1.1 * len(grouping.groups) + 2.4, 5.2), max(0.3 * len(grouping.tasks), 0.9) + 1.7


def plot_groups(grouping: Grouping, ax: "Axes | None" = None) -> "Axes":
    """Plot which tasks train together: a row per task, a column per network.

    A filled square: the network trains the task and serves it (the number is the task's score
    there, where it has one). An open square: the task is only trained there, to help the others.
    Tasks are ordered by the network that serves them.

    Args:
        grouping: What to draw.
        ax: Where to draw. None: a new figure of `groups_size`.

    Returns:
        The matplotlib `Axes`. Nothing is shown or saved.

    Example:
        >>> keras_tag.plotting.plot_groups(grouping).figure.savefig("groups.png")
    """
    from matplotlib.patches import Rectangle

    ax = ax if ax is not None else new_axes(groups_size(grouping))
    rows = [task for index in range(len(grouping.groups)) for task in grouping.served(index)]
    columns = range(len(grouping.groups))
    for index in columns:
        colour, text_colour = COLOURS[index % len(COLOURS)]
        for task in grouping.groups[index]:
            row = rows.index(task)
            serves = grouping.serves[task] == index
            box = Rectangle(
                (index - 0.4, row - 0.34),
                0.8,
                0.68,
                facecolor=colour if serves else "white",
                edgecolor=colour,
                linewidth=1.5,
            )
            ax.add_patch(box)
            score = grouping.task_scores[task]
            text = ("" if np.isnan(score) else f"{score:.2f}") if serves else "helps"
            ax.text(
                index,
                row,
                text,
                color=text_colour if serves else "black",
                ha="center",
                va="center_baseline",
                fontsize=8,
            )
    ax.set_xlim(-0.6, len(columns) - 0.4)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_xticks(columns, [f"network {index}" for index in columns])
    ax.xaxis.tick_top()
    ax.set_yticks(range(len(rows)), [literal(task) for task in rows])
    ax.tick_params(length=0)
    ax.set_axisbelow(True)
    ax.grid(axis="y", color=GRID, linewidth=0.6)
    ax.spines[:].set_visible(False)
    numbers = _NUMBERS.get(grouping.score, "number: the task's score")
    if all(np.isnan(score) for score in grouping.task_scores.values()):
        numbers = ""
    ax.set_xlabel(
        "filled: trained and served here\nopen: trained here only to help others"
        + f"\n{numbers}" * bool(numbers)
    )
    return ax
