"""Colours, sizes and labels of all plots."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# With more tasks, numbers in the cells can't be read, whatever the size.
MOST_TASKS_WITH_NUMBERS = 12
# Okabe and Ito's colours, which every kind of colour vision tells apart. Plots never rely on colour
# alone. The second of each pair is the colour of a text on the first.
COLOURS = (
    ("#0072B2", "white"),
    ("#E69F00", "black"),
    ("#009E73", "black"),
    ("#CC79A7", "black"),
    ("#56B4E9", "black"),
    ("#D55E00", "black"),
    ("#555555", "white"),
)
MARKERS = "osD^vPX"
UNMEASURED = "#b0b0b0"
GRID = "#d9d9d9"


def new_axes(size: tuple[float, float]) -> "Axes":
    """Return the axes of a new figure of this size, in inches."""
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=size, layout="constrained")[1]


def affinity_size(num_tasks: int) -> tuple[float, float]:
    """Return the size, in inches, of the figure that `plot_affinity` makes for this many tasks."""
    cell = 0.62 if num_tasks <= MOST_TASKS_WITH_NUMBERS else 0.26
    side = max(cell * num_tasks, 2.0)
    return side + 2.8, side + 1.8


def cell_points(ax: "Axes", num_tasks: int) -> float:
    """Return about how large a cell of a matrix will be, in points (1/72 inch).

    The labels will take some of the axes' space; to choose font sizes it is near enough.
    """
    extent = ax.get_window_extent()
    return min(extent.width, extent.height) / num_tasks * 72 / ax.figure.dpi


def literal(name: str) -> str:
    """Return a task's name as text that matplotlib draws as it is: a dollar begins no formula."""
    return name.replace("$", r"\$")


def name_tasks(ax: "Axes", tasks: Sequence[str], cell: float) -> None:
    """Write the task names along both axes of a matrix."""
    size = min(9.0, max(4.0, 0.45 * cell))
    names = [literal(task) for task in tasks]
    ax.set_xticks(range(len(tasks)), names, rotation=90, fontsize=size)
    ax.set_yticks(range(len(tasks)), names, fontsize=size)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)


def write_cells(ax: "Axes", texts: np.ndarray, colours: np.ndarray, size: float) -> None:
    """Write a text into every cell of a matrix."""
    for (row, column), text in np.ndenumerate(texts):
        colour = colours[row, column]
        ax.text(column, row, text, color=colour, ha="center", va="center", fontsize=size)


def plain_frame(ax: "Axes") -> None:
    """Give the axes of a curve a light grid and two spines."""
    ax.grid(color=GRID, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
