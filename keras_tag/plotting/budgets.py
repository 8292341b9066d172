"""The plot of the best objective over the budget."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_tag.plotting.style import COLOURS, new_axes, plain_frame
from keras_tag.selection.grouping import Grouping

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_NUMBERS = 12


def plot_budget_curve(curve: Mapping[Any, Grouping], ax: "Axes | None" = None) -> "Axes":
    """Plot the objective of the best groups over the budget.

    A filled point is proven to be optimal. At an open point the time ran out; a bar reaches from it
    to the bound that no groups can pass.

    Args:
        curve: Budget -> `Grouping`, as `budget_curve` returns.
        ax: Where to draw. None: a new figure.

    Returns:
        The matplotlib `Axes`. Nothing is shown or saved.

    Raises:
        ValueError: No budget, or groupings without an objective.

    Example:
        >>> curve = keras_tag.budget_curve(affinity, range(1, 6))
        >>> keras_tag.plotting.plot_budget_curve(curve)
    """
    if not curve:
        raise ValueError("Expected at least one budget. Received: curve={}.")
    unscored = [budget for budget, grouping in curve.items() if np.isnan(grouping.objective)]
    if unscored:
        raise ValueError(
            "Expected groupings with an objective, as `budget_curve` returns. Received: none at "
            f"budgets {unscored}."
        )
    ax = ax if ax is not None else new_axes((5.6, 3.6))
    budgets = sorted(curve)
    groupings = [curve[budget] for budget in budgets]
    objective = np.array([grouping.objective for grouping in groupings])
    colour = COLOURS[0][0]
    ax.plot(budgets, objective, "o-", color=colour, linewidth=1.4, markersize=7)
    for budget, grouping in zip(budgets, groupings, strict=True):
        if grouping.status != "optimal":
            ends = [grouping.objective, grouping.bound]
            ax.plot([budget] * 2, ends, color=colour, linewidth=1, marker="_", markersize=9)
            ax.plot(budget, ends[0], "o", color=colour, markersize=7, markerfacecolor="white")
    if len(budgets) <= _MOST_NUMBERS:
        # Above the line, on its free side.
        rises = objective[-1] >= objective[0]
        for budget, value in zip(budgets, objective, strict=True):
            ax.annotate(
                f"{value:.3g}",
                (budget, value),
                xytext=(-3 if rises else 3, 6),
                textcoords="offset points",
                ha="right" if rises else "left",
                fontsize=8,
            )
    plain_frame(ax)
    ax.margins(0.1, 0.16)
    if len(budgets) <= _MOST_NUMBERS:
        ax.set_xticks(budgets)
    if any(grouping.cost != len(grouping.groups) for grouping in groupings):
        ax.set_xlabel("budget: what the networks may cost together")
    else:
        ax.set_xlabel("budget: how many networks")
    scores = sorted({grouping.score for grouping in groupings})
    ax.set_ylabel(f"sum of the tasks' scores\n({', '.join(scores)})")
    return ax
