"""Pictures of an `Affinity` and of a `Grouping`, on matplotlib `Axes`. Never imports TensorFlow."""

import math
from typing import TYPE_CHECKING, Literal

import numpy as np

from keras_tag.affinity import Affinity
from keras_tag.selection.grouping import Grouping

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

# Above so many tasks, numbers in the cells help nobody, whatever the size.
_MOST_TASKS_WITH_NUMBERS = 12
# A number such as -0.12 in 8 points needs a cell this wide, in points (1/72 inch).
_LEAST_CELL_WITH_NUMBER = 26.0
# Okabe and Ito's colours, told apart with every kind of colour vision. Never the only sign.
# The second of each pair is the colour of a text on the first.
_COLOURS = (
    ("#0072B2", "white"),
    ("#E69F00", "black"),
    ("#009E73", "black"),
    ("#CC79A7", "black"),
    ("#56B4E9", "black"),
    ("#D55E00", "black"),
    ("#555555", "white"),
)
_UNMEASURED = "#b0b0b0"
_GRID = "#d9d9d9"


def affinity_size(num_tasks: int) -> tuple[float, float]:
    """The size in inches at which `plot_affinity` draws so many tasks when it makes the figure."""
    cell = 0.62 if num_tasks <= _MOST_TASKS_WITH_NUMBERS else 0.26
    side = max(cell * num_tasks, 2.0)
    return side + 2.8, side + 1.8


def groups_size(grouping: Grouping) -> tuple[float, float]:
    """The size in inches at which `plot_groups` draws a grouping when it makes the figure."""
    return max(1.1 * len(grouping.groups) + 2.4, 5.2), max(0.3 * len(grouping.tasks), 0.9) + 1.5


def plot_affinity(affinity: Affinity, ax: "Axes | None" = None) -> "Axes":
    """A heatmap: rows are sources (whose update), columns targets (whose loss).

    Blue helps, red harms. The colours span the largest value *off* the diagonal, because what a
    task's update does for itself is much larger and would leave all else pale. Diagonal cells stand
    apart in white frames and have the scale's last colour. Up to 12 tasks the numbers are written
    into the cells, in units of the power of ten that the colour bar names. Grey: not measured.

    Args:
        affinity: What to draw.
        ax: Where to. None: a new figure of `affinity_size`.

    Returns:
        The matplotlib `Axes`. Nothing is shown or saved.

    Example:
        >>> keras_tag.plotting.plot_affinity(tag.affinity()).figure.savefig("affinity.png")
    """
    from matplotlib.patches import Rectangle

    n = len(affinity.tasks)
    ax = ax if ax is not None else _new_axes(affinity_size(n))
    # Before the labels take their room; near enough to choose sizes.
    extent = ax.get_window_extent()
    cell = min(extent.width, extent.height) / n * 72 / ax.figure.dpi
    exponent, limit = _scale(affinity.mean)
    values = affinity.mean / 10.0**exponent
    # The middle of the diverging map is white, so that grey is left for "not measured".
    colours = _diverging().with_extremes(bad=_UNMEASURED)
    image = ax.imshow(values, colours, vmin=-limit, vmax=limit)
    unit = f", in units of $10^{{{exponent}}}$" if exponent else ""
    ax.figure.colorbar(
        image, ax=ax, label=f"affinity{unit}", extend=_extend(values, limit), shrink=0.8
    )
    for k in range(n):
        ax.add_patch(
            Rectangle((k - 0.5, k - 0.5), 1, 1, fill=False, edgecolor="white", linewidth=1.5)
        )
    if n <= _MOST_TASKS_WITH_NUMBERS and cell >= _LEAST_CELL_WITH_NUMBER:
        _write_numbers(ax, values, limit)
    _label_axes(ax, affinity.tasks, min(9.0, max(4.0, 0.45 * cell)))
    return ax


def plot_groups(grouping: Grouping, ax: "Axes | None" = None) -> "Axes":
    """Who trains with whom: a row per task, a column per network.

    A filled square: the network trains the task and serves it (the number is the task's score
    there, where it has one). An open square: the task is only trained there, to help the others.
    Tasks are ordered by the network that serves them.

    Args:
        grouping: What to draw.
        ax: Where to. None: a new figure of `groups_size`.

    Returns:
        The matplotlib `Axes`. Nothing is shown or saved.

    Example:
        >>> keras_tag.plotting.plot_groups(grouping).figure.savefig("groups.png")
    """
    from matplotlib.patches import Rectangle

    ax = ax if ax is not None else _new_axes(groups_size(grouping))
    rows = [task for index in range(len(grouping.groups)) for task in grouping.served(index)]
    columns = range(len(grouping.groups))
    for index in columns:
        colour, text_colour = _COLOURS[index % len(_COLOURS)]
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
    ax.set_yticks(range(len(rows)), rows)
    ax.tick_params(length=0)
    ax.set_axisbelow(True)
    ax.grid(axis="y", color=_GRID, linewidth=0.6)
    ax.spines[:].set_visible(False)
    ax.set_xlabel("filled: trained and served here\nopen: trained here only to help others")
    return ax


def _new_axes(size: tuple[float, float]) -> "Axes":
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=size, layout="constrained")[1]


def _diverging() -> "Colormap":
    """Red over white to blue: told apart with every kind of colour vision."""
    import matplotlib as mpl

    return mpl.colormaps["RdBu"]


def _scale(mean: np.ndarray) -> tuple[int, float]:
    """The power of ten to write affinities in, and the colour limit in that unit."""
    off_diagonal = np.abs(mean[~np.eye(len(mean), dtype=bool)])
    sizes = off_diagonal if np.nanmax(off_diagonal, initial=0.0) > 0 else np.abs(mean)
    largest = float(np.nanmax(sizes, initial=0.0))
    if largest == 0:
        return 0, 1.0
    exponent = math.floor(math.log10(largest))
    # From 0.1 up, and for the few numbers above 1, plain numbers are read more easily.
    exponent = 0 if -1 <= exponent <= 2 else exponent
    return exponent, largest / 10.0**exponent


def _extend(values: np.ndarray, limit: float) -> Literal["neither", "min", "max", "both"]:
    """Which ends of the colour bar have values beyond them."""
    above, below = np.nanmax(values, initial=0.0) > limit, np.nanmin(values, initial=0.0) < -limit
    if above and below:
        return "both"
    return "max" if above else "min" if below else "neither"


def _write_numbers(ax: "Axes", values: np.ndarray, limit: float) -> None:
    for (source, target), value in np.ndenumerate(values):
        pale = not abs(value) > 0.6 * limit
        ax.text(
            target,
            source,
            "-" if np.isnan(value) else f"{round(value, 2) + 0.0:.2f}",  # No "-0.00".
            ha="center",
            va="center",
            fontsize=8,
            color="black" if pale else "white",
        )


def _label_axes(ax: "Axes", tasks: tuple[str, ...], size: float) -> None:
    ax.set_xticks(range(len(tasks)), tasks, rotation=90, fontsize=size)
    ax.set_yticks(range(len(tasks)), tasks, fontsize=size)
    ax.set_xlabel("target: whose loss")
    ax.set_ylabel("source: whose update")
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
