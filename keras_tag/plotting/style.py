"""What all pictures share: colours, sizes, labels."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Above so many tasks, numbers in the cells help nobody, whatever the size.
MOST_TASKS_WITH_NUMBERS = 12
# Okabe and Ito's colours, told apart with every kind of colour vision. Never the only sign.
# The second of each pair is the colour of a text on the first.
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
    """The axes of a new figure of so many inches."""
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=size, layout="constrained")[1]


def matrix_size(num_tasks: int) -> tuple[float, float]:
    """Inches at which a matrix of so many tasks can be read."""
    cell = 0.62 if num_tasks <= MOST_TASKS_WITH_NUMBERS else 0.26
    side = max(cell * num_tasks, 2.0)
    return side + 2.8, side + 1.8


def cell_points(ax: "Axes", num_tasks: int) -> float:
    """How large a cell of a matrix will be, in points of 1/72 inch.

    Asked before the labels take their room; near enough to choose sizes.
    """
    extent = ax.get_window_extent()
    return min(extent.width, extent.height) / num_tasks * 72 / ax.figure.dpi


def literal(name: str) -> str:
    """A task's name as text that matplotlib draws as it is: a dollar begins no formula."""
    return name.replace("$", r"\$")


def name_tasks(ax: "Axes", tasks: Sequence[str], cell: float) -> None:
    """Task names along both axes of a matrix."""
    size = min(9.0, max(4.0, 0.45 * cell))
    names = [literal(task) for task in tasks]
    ax.set_xticks(range(len(tasks)), names, rotation=90, fontsize=size)
    ax.set_yticks(range(len(tasks)), names, fontsize=size)
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)


def plain_frame(ax: "Axes") -> None:
    """Axes of a curve: a light grid, two spines."""
    ax.grid(color=GRID, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
