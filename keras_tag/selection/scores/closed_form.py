"""The two group scores, as exact rationals and as normalised floats.

With A[i, j] the weighted affinity of source i for target j, a group S gives its member j

    partners:  sum over i in S, i != j, of A[i, j] / (|S| - 1)
    members:   sum over i in S         of A[i, j] / |S|,   A[i, j] = weight_j Z[i, j] / Z[j, j]

so both are a sum over the group divided by |S| - `left_out`, and a lone task is a case of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from keras_tag.selection.solver.columns import bits


@dataclass(frozen=True, eq=False)
class GroupScore:
    """Scores of every group, closed form in the affinities.

    Args:
        tasks: The task names, sorted.
        terms: Exact `[num_tasks][num_tasks]`, rows source, columns target: A in the formula, with
            a zero diagonal for "partners".
        lone: The exact weighted score of every lone task; None where it is forbidden.
        left_out: 1 for "partners" (the mean leaves out the task itself), 0 for "members".
        exponent: Normalised units are 2**exponent: the largest number in `array` is about 1.
    """

    tasks: tuple[str, ...]
    terms: tuple[tuple[Fraction, ...], ...]
    lone: tuple[Fraction | None, ...]
    left_out: int
    exponent: int
    array: np.ndarray
    lone_array: np.ndarray

    @classmethod
    def build(
        cls,
        tasks: Sequence[str],
        affinity: np.ndarray,
        score: str,
        lone: Sequence[float | None],
        weights: Sequence[float],
    ) -> "GroupScore":
        """Normalise the affinities (rows source, columns target, in the order of `tasks`).

        Args:
            tasks: The task names, sorted.
            affinity: `[num_tasks, num_tasks]` float64, finite where the score reads it.
            score: "members" or "partners".
            lone: The unweighted score of every lone task, None to forbid it.
            weights: How much each task matters.

        Returns:
            The scores.
        """
        num_tasks = len(tasks)
        weight = [Fraction(float(w)) for w in weights]
        rows = []
        for i in range(num_tasks):
            row = []
            for j in range(num_tasks):
                if score == "partners":
                    entry = Fraction(float(affinity[i, j])) if i != j else Fraction(0)
                else:
                    entry = Fraction(float(affinity[i, j])) / Fraction(float(affinity[j, j]))
                row.append(entry * weight[j])
            rows.append(tuple(row))
        alone = tuple(
            None if value is None else Fraction(float(value)) * w
            for value, w in zip(lone, weight, strict=True)
        )
        largest = max(
            [abs(entry) for row in rows for entry in row] + [abs(v) for v in alone if v is not None]
        )
        exponent = power_of_two_above(largest)
        unit = Fraction(2) ** -exponent
        terms = tuple(tuple(entry * unit for entry in row) for row in rows)
        alone = tuple(None if value is None else value * unit for value in alone)
        return cls(
            tasks=tuple(tasks),
            terms=terms,
            lone=alone,
            left_out=int(score == "partners"),
            exponent=exponent,
            array=np.array([[float(entry) for entry in row] for row in terms]),
            lone_array=np.array([-np.inf if v is None else float(v) for v in alone]),
        )

    def member(self, group: int, task: int) -> Fraction:
        """The exact score of one member of a group (a bit mask), in normalised units."""
        members = bits(group)
        if len(members) == 1:
            lone = self.lone[task]
            assert lone is not None
            return lone
        total = sum((self.terms[i][task] for i in members), Fraction(0))
        return total / (len(members) - self.left_out)


def power_of_two_above(value: Fraction) -> int:
    """An e with value <= 2**e, hardly larger; 0 for 0. Also for values that no float can hold."""
    if not value:
        return 0
    return value.numerator.bit_length() - value.denominator.bit_length() + 1
