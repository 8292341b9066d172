"""The heatmap of an affinity."""

from typing import TYPE_CHECKING, Literal

import numpy as np

from keras_tag.affinity import Affinity
from keras_tag.affinity.measurement import largest_effect, power_of_ten
from keras_tag.plotting.style import (
    MOST_TASKS_WITH_NUMBERS,
    UNMEASURED,
    affinity_size,
    cell_points,
    name_tasks,
    new_axes,
    write_cells,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# A number such as -0.12 in 8 points needs a cell this wide, in points (1/72 inch), and a line of
# text is this high.
_LEAST_CELL_WITH_NUMBER = 26.0
_LINE = 10.0


def plot_affinity(
    affinity: Affinity, ax: "Axes | None" = None, *, errors: bool = False, counts: bool = False
) -> "Axes":
    """Plot a heatmap: rows are sources (whose update), columns targets (whose loss).

    Blue helps, red harms. The colours span the values *off* the diagonal: a task's effect on itself
    is much larger and would leave all other cells pale. Diagonal cells have white frames; where
    they exceed the scale they have its last colour. Up to 12 tasks the numbers are written into the
    cells, in units of the power of ten that the colour bar names. Grey cells were not measured.

    Args:
        affinity: What to draw.
        ax: Where to draw. None: a new figure of `affinity_size`.
        errors: Write each standard error under its number. A dot marks a pair whose 95% interval
            contains 0: it may help or harm. The dots are drawn where numbers do not fit, too.
        counts: Write how many probes (or tables) each number is from.

    Returns:
        The matplotlib `Axes`. Nothing is shown or saved.

    Raises:
        ValueError: `errors` of an affinity that has none.

    Example:
        >>> keras_tag.plotting.plot_affinity(tag.affinity()).figure.savefig("affinity.png")
    """
    import matplotlib as mpl
    from matplotlib.patches import Rectangle

    if errors and not np.isfinite(affinity.standard_error).any():
        raise ValueError(
            "Expected an affinity with standard errors for `errors=True`. Received: one without. "
            "They come with tag.affinity() after at least 8 probes of a pair, and with "
            "Affinity.combine; a table has none."
        )
    n = len(affinity.tasks)
    ax = ax if ax is not None else new_axes(affinity_size(n))
    cell = cell_points(ax, n)
    exponent = power_of_ten(affinity.mean)
    unit = 10.0**exponent
    limit = (largest_effect(affinity.mean) or unit) / unit
    values = affinity.mean / unit
    # From red over white to blue, which every kind of colour vision tells apart; grey is left for
    # pairs that were not measured.
    colours = mpl.colormaps["RdBu"].with_extremes(bad=UNMEASURED)
    image = ax.imshow(values, colours, vmin=-limit, vmax=limit)
    named = f" in units of $10^{{{exponent}}}$" if exponent else ""
    ax.figure.colorbar(
        image,
        ax=ax,
        label=f"affinity{named}\nblue: it helps, red: it harms",
        extend=_extend(values, limit),
        shrink=0.8,
    )
    for k in range(n):
        ax.add_patch(
            Rectangle((k - 0.5, k - 0.5), 1, 1, fill=False, edgecolor="white", linewidth=1.5)
        )
    ink = np.where(np.abs(values) > 0.6 * limit, "white", "black")
    room = max(_LEAST_CELL_WITH_NUMBER, _LINE * (1 + errors + counts))
    if n <= MOST_TASKS_WITH_NUMBERS and cell >= room:
        lines = [np.vectorize(_number)(values)]
        if errors:
            lines.append(np.vectorize(_error)(affinity.standard_error / unit))
        if counts:
            lines.append(np.vectorize("n={}".format)(affinity.count))
        texts = np.vectorize(lambda *of_cell: "\n".join(of_cell))(*lines)
        write_cells(ax, texts, ink, 8 if len(lines) == 1 else 6.5)
    if errors:
        _mark_unsure(ax, affinity, ink, cell)
    name_tasks(ax, affinity.tasks, cell)
    dots = "\ndot: the 95% interval contains 0" * errors
    ax.set_xlabel(f"target: which task's loss{dots}")
    ax.set_ylabel("source: which task's step")
    return ax


def _extend(values: np.ndarray, limit: float) -> Literal["neither", "min", "max", "both"]:
    """Return which ends of the colour bar have values beyond them."""
    above, below = np.nanmax(values, initial=0.0) > limit, np.nanmin(values, initial=0.0) < -limit
    return ("neither", "min", "max", "both")[below + 2 * above]


def _number(value: float) -> str:
    return "-" if np.isnan(value) else f"{round(value, 2) + 0.0:.2f}"  # No "-0.00".


def _error(value: float) -> str:
    return "±?" if np.isnan(value) else f"±{value:.2g}" if value < 0.01 else f"±{value:.2f}"


def _mark_unsure(ax: "Axes", affinity: Affinity, ink: np.ndarray, cell: float) -> None:
    lower, upper = affinity.interval()
    source, target = np.nonzero((lower <= 0) & (upper >= 0))
    size = max(1.5, 0.1 * cell)
    ax.scatter(target + 0.36, source - 0.36, size**2, ink[source, target], linewidths=1)
