"""The plot of affinities over epochs."""

from typing import TYPE_CHECKING

import numpy as np

from keras_tag.affinity import Affinity
from keras_tag.plotting.style import COLOURS, MARKERS, literal, new_axes, plain_frame

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_OTHERS = "#a8a8a8"
_NAMED = len(COLOURS)


def plot_dynamics(
    affinity: Affinity, target: str | None = None, ax: "Axes | None" = None
) -> "Axes":
    """Plot the affinities of pairs of different tasks, epoch by epoch, as lines.

    The seven pairs with the largest affinity over all epochs, whether it helps or harms, have
    colours and markers of their own. The legend lists them in the order of their last values. All
    others are thin and grey, so that forty tasks can be read. A line has a gap where an epoch did
    not measure the pair. Several runs (`combine`, `merge`) are averaged over all their probes.

    Args:
        affinity: With a history, as `tag.affinity()` has.
        target: Only the pairs with this target; None: all pairs.
        ax: Where to draw. None: a new figure.

    Returns:
        The matplotlib `Axes`. Nothing is shown or saved.

    Raises:
        ValueError: No history, or an unknown task.

    Example:
        >>> keras_tag.plotting.plot_dynamics(tag.affinity(), target="depth")
    """
    from matplotlib.ticker import MaxNLocator

    if affinity.history is None or not len(affinity.history.row):
        raise ValueError(
            "Expected an affinity with a history. Received: one without, such as a table. "
            "tag.affinity() has one after fit."
        )
    if target is not None and target not in affinity.tasks:
        raise ValueError(
            f"Expected `target` to be one of {list(affinity.tasks)}. Received: {target!r}."
        )
    ax = ax if ax is not None else new_axes((7.2, 3.8))
    history = affinity.history
    epochs = np.unique(history.row)
    # [num_epochs, num_tasks, num_tasks]
    values = np.stack([history.part(history.row == epoch).mean()[0] for epoch in epochs])
    n = len(affinity.tasks)
    pairs = [
        (i, j) for i in range(n) for j in range(n) if i != j and target in (None, affinity.tasks[j])
    ]
    pairs.sort(key=lambda pair: -np.nan_to_num(abs(affinity.mean[pair]), nan=-1.0))
    # Transparent, so that many lines on top of each other still show where most of them are.
    faint = min(1.0, max(0.12, 40 / max(1, len(pairs) - _NAMED)))
    for i, j in pairs[_NAMED:]:
        ax.plot(epochs + 1, values[:, i, j], color=_OTHERS, linewidth=0.6, alpha=faint, zorder=1)
    named = sorted(pairs[:_NAMED], key=lambda pair: -_last(values[:, *pair]))
    for (i, j), (colour, _), marker in zip(named, COLOURS, MARKERS, strict=False):
        name = affinity.tasks[i] if target else f"{affinity.tasks[i]} → {affinity.tasks[j]}"
        ax.plot(
            epochs + 1,
            values[:, i, j],
            color=colour,
            marker=marker,
            markersize=4,
            markevery=max(1, len(epochs) // 12),
            linewidth=1.6,
            label=literal(name),
            zorder=3,
        )
    ax.axhline(0, color="black", linewidth=0.8, zorder=2)
    plain_frame(ax)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.ticklabel_format(axis="y", scilimits=(-2, 3), useMathText=True)
    ax.set_xlabel("trained epoch")
    ax.set_ylabel(f"affinity for {literal(target)}" if target else "affinity")
    if named:
        title = "source" if target else "source → target"
        more = f"\ngrey: {len(pairs) - _NAMED} others" if len(pairs) > _NAMED else ""
        ax.legend(
            loc="upper left",
            bbox_to_anchor=(1.01, 1.02),
            fontsize=8,
            title=title + more,
            title_fontsize=8,
            frameon=False,
        )
    return ax


def _last(series: np.ndarray) -> float:
    measured = series[np.isfinite(series)]
    return float(measured[-1]) if len(measured) else -np.inf
