"""The linear programme over the columns seen so far, and its prices.

maximise    sum over columns c of value(c) x(c)
such that   sum over c serving j of x(c) = 1      for every task j      (price: task[j])
            sum of cost(c) x(c) <= budget                               (price: unit)
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from keras_tag.selection.solver import or_tools
from keras_tag.selection.solver.columns import Column, Prices
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
        self._optimal = pywraplp.Solver.OPTIMAL
        self._from_scratch = pywraplp.MPSolverParameters()
        self._from_scratch.SetIntegerParam(
            pywraplp.MPSolverParameters.INCREMENTALITY,
            pywraplp.MPSolverParameters.INCREMENTALITY_OFF,
        )
        self._prices = np.zeros(num_tasks + 1)
        self._values: list[float] = []
        self._rows = [self._solver.Constraint(1.0, 1.0) for _ in range(num_tasks)]
        # Costs may be large whole numbers; GLOP likes coefficients around 1.
        self._cost_scale = 2.0 ** -budget.bit_length()
        scaled = budget * self._cost_scale
        self._rows.append(self._solver.Constraint(-self._solver.infinity(), scaled))
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

    def solve(self) -> Prices:
        """Solve to GLOP's tolerances (about 1e-7 of the normalised unit).

        Should GLOP give up, the prices stay what they were: any prices give a valid bound.
        """
        solved = self._solver.Solve() == self._optimal
        # Numbers of very different size (1e-6 .. 1e6) upset it now and then; from scratch it
        # mostly manages.
        if solved or self._solver.Solve(self._from_scratch) == self._optimal:
            # Noted at once: the wrapper forgets its solution when the programme changes.
            self._prices = np.array([row.dual_value() for row in self._rows])
            self._values = [variable.solution_value() for variable in self._variables]
        return Prices(self._prices[:-1], max(0.0, float(self._prices[-1]) * self._cost_scale))

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
