"""The linear programme over the columns seen so far, and its prices.

maximise    sum over columns c of value(c) x(c)
such that   sum over c serving j of x(c) = 1      for every task j      (price: task[j])
            sum of cost(c) x(c) + unspent = budget                      (price: budget)
"""

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import numpy as np

from keras_tag.selection.solver import or_tools
from keras_tag.selection.solver.columns import Column, ColumnSource, Duals
from keras_tag.selection.task_masks import bits


class MasterProblem:
    """A growing linear programme, solved by GLOP from where it stood.

    Args:
        num_tasks: The number of tasks.
        budget: The budget in whole units.
    """

    def __init__(self, num_tasks: int, budget: int) -> None:
        # The LP wrapper alone: it loads in a twentieth of the time of CP-SAT.
        pywraplp = or_tools.load("ortools.linear_solver.pywraplp")

        self.columns: list[Column] = []
        self._seen: dict[tuple[int, int], float] = {}
        self._num_tasks, self._budget = num_tasks, budget
        self._solver = pywraplp.Solver.CreateSolver("GLOP")
        self._basic = pywraplp.Solver.BASIC
        self._optimal = pywraplp.Solver.OPTIMAL
        self._from_scratch = pywraplp.MPSolverParameters()
        self._from_scratch.SetIntegerParam(
            pywraplp.MPSolverParameters.INCREMENTALITY,
            pywraplp.MPSolverParameters.INCREMENTALITY_OFF,
        )
        self._prices = np.zeros(num_tasks + 1)
        self._values: list[float] = []
        self._basic_columns: list[int] = []
        self._unspent_is_basic = True
        # Before the first solution every row prices nothing.
        self._basic_rows = list(range(num_tasks))
        self._rows = [self._solver.Constraint(1.0, 1.0) for _ in range(num_tasks)]
        # Costs may be large whole numbers; GLOP likes coefficients around 1.
        self._cost_scale = 2.0 ** -budget.bit_length()
        scaled = budget * self._cost_scale
        self._rows.append(self._solver.Constraint(scaled, scaled))
        self._unspent = self._solver.NumVar(0.0, self._solver.infinity(), "")
        self._rows[-1].SetCoefficient(self._unspent, 1.0)
        self._objective = self._solver.Objective()
        self._objective.SetMaximization()
        self._variables: list[Any] = []

    def add(self, columns: Iterable[Column]) -> int:
        """Add columns that are new, or better than what serves the same at the same cost.

        Returns:
            How many were added.
        """
        before = len(self.columns)
        for column in columns:
            key = (column.served, column.cost)
            if column.value <= self._seen.get(key, -np.inf):
                continue
            self._seen[key] = column.value
            variable = self._solver.NumVar(0.0, self._solver.infinity(), "")
            for task in bits(column.served):
                self._rows[task].SetCoefficient(variable, 1.0)
            self._rows[-1].SetCoefficient(variable, column.cost * self._cost_scale)
            self._objective.SetCoefficient(variable, column.value)
            self.columns.append(column)
            self._variables.append(variable)
        return len(self.columns) - before

    def solve(self) -> Duals:
        """Solve to GLOP's tolerances (about 1e-7 of the normalised unit).

        Should GLOP give up, the prices stay what they were: any prices give a valid bound.
        """
        self._run()
        prices = self._prices
        return Duals(prices[:-1], max(0.0, float(prices[-1]) * self._cost_scale))

    def magnify(self, task: list[Fraction], budget: Fraction, excess: list[float]) -> None:
        """Solve again with enlarged excesses, so that GLOP sees differences below 1e-7.

        Prices and objective only move by constants, so the feasible set and the optimal bases
        are those of the programme itself.
        """
        largest = max(excess, default=0.0)
        scale = 1.0 / max(largest, 1e-300)
        for variable, value in zip(self._variables, excess, strict=True):
            self._objective.SetCoefficient(variable, max(value * scale, -1e4))
        unspent = -float(budget / Fraction(self._cost_scale)) * scale
        self._objective.SetCoefficient(self._unspent, max(unspent, -1e4))
        self._run()
        for variable, column in zip(self._variables, self.columns, strict=True):
            self._objective.SetCoefficient(variable, column.value)
        self._objective.SetCoefficient(self._unspent, 0.0)

    def rounded_duals(self) -> tuple[list[Fraction], Fraction]:
        """Return the prices as GLOP has them, taken for exact."""
        prices = [Fraction(float(price)) for price in self._prices]
        return prices[:-1], prices[-1] * Fraction(self._cost_scale)

    def exact_duals(self, source: ColumnSource) -> tuple[list[Fraction], Fraction]:
        """Return the prices of the present basis without rounding: B^T y = values of the basis."""
        size = self._num_tasks + 1
        system: list[tuple[list[int], Fraction]] = []
        for index in self._basic_columns:
            column = self.columns[index]
            left = [column.served >> task & 1 for task in range(self._num_tasks)]
            system.append(([*left, column.cost], source.exact(column)))
        if self._unspent_is_basic:
            system.append(([0] * self._num_tasks + [1], Fraction(0)))
        for row in self._basic_rows:
            system.append(([int(column == row) for column in range(size)], Fraction(0)))
        prices = _solve_rationally([left for left, _ in system], [right for _, right in system])
        return prices[:-1], prices[-1]

    def solution(self) -> list[Column] | None:
        """Return the columns of the present solution if it is a whole one, else None.

        GLOP keeps to a budget up to rounding only: a solution that is dearer by a hair is none.
        """
        if not self._values or any(1e-6 < value < 1 - 1e-6 for value in self._values):
            return None
        chosen = [
            column for column, value in zip(self.columns, self._values, strict=False) if value > 0.5
        ]
        return chosen if sum(column.cost for column in chosen) <= self._budget else None

    def _run(self) -> None:
        solved = self._solver.Solve() == self._optimal
        # Numbers of very different size (1e-6 .. 1e6) upset it now and then; from scratch it
        # mostly manages.
        if not solved and self._solver.Solve(self._from_scratch) != self._optimal:
            return
        # Noted at once: the wrapper forgets its solution when the programme changes.
        self._prices = np.array([row.dual_value() for row in self._rows])
        self._values = [variable.solution_value() for variable in self._variables]
        self._basic_columns = [
            index
            for index, variable in enumerate(self._variables)
            if variable.basis_status() == self._basic
        ]
        self._unspent_is_basic = self._unspent.basis_status() == self._basic
        self._basic_rows = [
            index for index, row in enumerate(self._rows) if row.basis_status() == self._basic
        ]


def _solve_rationally(matrix: list[list[int]], right: list[Fraction]) -> list[Fraction]:
    """Solve a regular square system exactly, by Gauss-Jordan on the small left side.

    The right side's rationals may be long (products of diagonals), so they are touched only
    where the left side forces it.
    """
    size = len(matrix)
    rows = [[Fraction(entry) for entry in row] for row in matrix]
    values = list(right)
    for pivot in range(size):
        choice = next(row for row in range(pivot, size) if rows[row][pivot])
        rows[pivot], rows[choice] = rows[choice], rows[pivot]
        values[pivot], values[choice] = values[choice], values[pivot]
        inverse = 1 / rows[pivot][pivot]
        if inverse != 1:
            rows[pivot] = [entry * inverse if entry else entry for entry in rows[pivot]]
            values[pivot] *= inverse
        base = rows[pivot]
        nonzero = [column for column in range(pivot, size) if base[column]]
        for row in range(size):
            factor = rows[row][pivot]
            if row == pivot or not factor:
                continue
            for column in nonzero:
                rows[row][column] -= factor * base[column]
            values[row] -= factor * values[pivot]
    return values
