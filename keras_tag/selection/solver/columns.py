"""Columns, each a network with the tasks that it serves and the group that it trains."""

import math
from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from keras_tag.selection.task_masks import bits


@dataclass(frozen=True, slots=True)
class Column:
    """One network of a possible solution.

    A solution is a choice of columns whose served sets partition the tasks. Sets of tasks are bit
    masks over the name-sorted tasks: bit j is task j.

    Args:
        served: The tasks whose predictions are taken from this network.
        group: The tasks it trains; contains `served`.
        value: Its part of the objective in normalised units, as a float for the linear programme.
        cost: What it takes from the budget, in whole units.
        row: The row of a group table it came from; -1 if it came from none.
    """

    served: int
    group: int
    value: float = field(compare=False)
    cost: int
    row: int = -1


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices: `task[j]` is what serving task j is worth, `unit` what a unit of the budget is.

    Any prices bound every solution: its value is what it pays plus the sum of its excesses.
    """

    task: np.ndarray
    unit: float

    def excess(self, column: Column) -> float:
        """Return a column's value less the prices of what it serves and costs."""
        paid = float(self.task[bits(column.served)].sum())
        return column.value - paid - self.unit * column.cost

    def most(self, budget: int) -> Fraction:
        """Return exactly what a solution pays at most: for all tasks, and for the whole budget."""
        return sum(map(Fraction, self.task.tolist()), Fraction(self.unit) * budget)

    def rounding(self, budget: int) -> float:
        """Return what an excess that is computed in floats may be off by."""
        largest = max(1.0, float(np.abs(self.task).max()), self.unit * budget)
        return 4 * len(self.task) ** 2 * float(np.finfo(np.float64).eps) * largest


@dataclass(frozen=True, slots=True)
class Listing:
    """The columns within a threshold.

    Args:
        columns: Those found.
        complete: Whether these are all.
        best: The largest excess among them.
        bound: No column's excess is above the larger of this and the threshold.
    """

    columns: list[Column]
    complete: bool
    best: float
    bound: float


class ColumnSource(ABC):
    """All networks that the score and the constraints allow, listed or searched for.

    Args:
        num_tasks: The number of tasks.
        costs: The costs that occur, in whole units.

    Attributes:
        most_listed: More columns than this within a threshold are not listed: only ties come in
            such numbers.
    """

    most_listed: int

    def __init__(self, num_tasks: int, costs: Collection[int]) -> None:
        self.num_tasks = num_tasks
        self.least_cost, self.most_cost = min(costs, default=1), max(costs, default=1)
        self._exact: dict[Column, Fraction] = {}

    def most_networks(self, budget: int) -> int:
        """Return how many networks a solution may have at most."""
        least = self.least_cost
        return min(self.num_tasks, budget // least) if least else self.num_tasks

    @abstractmethod
    def first_cover(self, budget: int, deadline: float) -> list[Column]:
        """Return some solution within the budget; raise `Uncoverable` if there is none."""

    def seeds(self, budget: int, deadline: float = math.inf) -> list[Column]:
        """Return further columns to start with; none where all groups are listed."""
        return []

    @abstractmethod
    def suggest(self, prices: Prices, deadline: float = math.inf) -> list[Column]:
        """Return columns of positive excess, if they are easily found; none is no proof."""

    @abstractmethod
    def within(
        self, prices: Prices, threshold: float, limit: int, deadline: float, tolerance: float
    ) -> Listing:
        """Return the columns whose excess reaches `threshold`.

        May stop at columns whose excess is above `tolerance`: then the prices are not right yet.

        Of columns that serve the same tasks at the same cost only the best need be given, and of
        equally good ones only the one with the smallest group, the first by name.
        """

    def ceiling(self, prices: Prices, known: float, deadline: float) -> float:
        """Return an excess that no column exceeds, given that none exceeds `known`."""
        return known

    @abstractmethod
    def most_value(self) -> float:
        """Return a sum of scores that no solution exceeds, at no effort."""

    @abstractmethod
    def member_score(self, column: Column, task: int) -> Fraction:
        """Return one served task's part of the value, exactly, in normalised units."""

    def exact(self, column: Column) -> Fraction:
        """Return the column's value without any rounding, in normalised units."""
        if column not in self._exact:
            members = (self.member_score(column, task) for task in bits(column.served))
            self._exact[column] = sum(members, Fraction(0))
        return self._exact[column]

    def preference(self, column: Column) -> tuple[Fraction, int, list[int], int]:
        """Return what is smallest for the best of the columns that serve the same at one cost."""
        return -self.exact(column), column.group.bit_count(), bits(column.group), column.row
