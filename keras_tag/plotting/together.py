"""The plot of how often two tasks train together."""

from typing import TYPE_CHECKING

import numpy as np

from keras_tag.plotting.style import (
    MOST_TASKS_WITH_NUMBERS,
    affinity_size,
    cell_points,
    name_tasks,
    new_axes,
    write_cells,
)
from keras_tag.resampling import Stability

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Orange on blue, which every kind of colour vision tells apart, on pale and on dark.
_CHOSEN = "#E69F00"
_ITSELF = "#dddddd"
# A number such as 100 in 8 points needs a cell of this many points.
_LEAST_CELL_WITH_NUMBER = 20.0


def plot_stability(stability: Stability, ax: "Axes | None" = None) -> "Axes":
    """Plot the share of the draws in which two tasks train together.

    A darker pair trains together more often. Pairs that the chosen grouping trains together have
    orange frames. A framed dark cell or an unframed pale cell is certain; others are not. Tasks are
    in the order of the networks that serve them.

    Args:
        stability: What `keras_tag.stability(affinity, budget)` returned.
        ax: Where to draw. None: a new figure.

    Returns:
        The matplotlib `Axes`. Nothing is shown or saved.

    Example:
        >>> keras_tag.plotting.plot_stability(keras_tag.stability(tag.affinity(), budget=3))
    """
    import matplotlib as mpl
    from matplotlib.patches import Rectangle

    grouping = stability.grouping
    tasks = [task for index in range(len(grouping.groups)) for task in grouping.served(index)]
    order = [stability.tasks.index(task) for task in tasks]
    together = np.array(stability.together)[np.ix_(order, order)]
    np.fill_diagonal(together, np.nan)  # A task is always with itself.
    n = len(tasks)
    ax = ax if ax is not None else new_axes(affinity_size(n))
    cell = cell_points(ax, n)
    colours = mpl.colormaps["Blues"].with_extremes(bad=_ITSELF)
    image = ax.imshow(100 * together, colours, vmin=0, vmax=100)
    ax.figure.colorbar(image, ax=ax, label="trained together, % of the draws", shrink=0.8)
    for i, j in np.ndindex(n, n):
        if i != j and any({tasks[i], tasks[j]} <= set(group) for group in grouping.groups):
            frame = Rectangle(
                (j - 0.44, i - 0.44), 0.88, 0.88, fill=False, edgecolor=_CHOSEN, linewidth=1.5
            )
            ax.add_patch(frame)
    if n <= MOST_TASKS_WITH_NUMBERS and cell >= _LEAST_CELL_WITH_NUMBER:
        texts = np.where(np.eye(n, dtype=bool), "", np.vectorize("{:.0f}".format)(100 * together))
        write_cells(ax, texts, np.where(together > 0.6, "white", "black"), 8)
    name_tasks(ax, tasks, cell)
    ax.set_xlabel("orange frame: chosen to train together")
    ax.set_title(
        f"the very best groups in {stability.frequency:.0%},\n"
        f"as good or nearly in {stability.confidence():.0%} of the draws",
        fontsize=9,
    )
    return ax
