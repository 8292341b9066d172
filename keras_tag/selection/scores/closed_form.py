"""The closed forms of the two group scores, as exact rationals and in floats.

With A[i, j] the weighted affinity of source i for target j, a group S gives its member j

    partners:  sum over i in S, i != j, of A[i, j] / (|S| - 1)
    members:   sum over i in S         of A[i, j] / |S|,   A[i, j] = weight_j Z[i, j] / Z[j, j]

so both are a sum over the group divided by |S| - `left_out`, and a lone task is a case of its own.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain

import numpy as np

from keras_tag.selection.task_masks import bits, mask_of


@dataclass(frozen=True, eq=False, kw_only=True)
class FloatScore:
    """The scores of every group in floats.

    Args:
        array: `[num_tasks, num_tasks]`, rows source, columns target: A in the formula, with a zero
            diagonal for "partners".
        lone_array: `[num_tasks]`, the weighted score of every lone task; -inf where it is
            forbidden.
        left_out: 1 for "partners" (the mean leaves out the task itself), 0 for "members".
    """

    array: np.ndarray
    lone_array: np.ndarray
    left_out: int

    @classmethod
    def of(
        cls,
        affinity: np.ndarray,
        score: str,
        lone: Sequence[float | None],
        weights: Sequence[float],
    ) -> "FloatScore":
        """Compute the scores without normalising them.

        Args:
            affinity: `[num_tasks, num_tasks]`, finite where the score reads it.
            score: "members", which needs a positive diagonal, or "partners".
            lone: The unweighted score of every lone task, None to forbid it.
            weights: How much each task matters.

        Returns:
            The scores.
        """
        if score == "members":
            terms = affinity / np.diagonal(affinity)
        else:
            terms = np.where(np.eye(len(affinity), dtype=bool), 0.0, affinity)
        # Forbidden stays forbidden with weight 0.
        alone = [-np.inf if v is None else v * w for v, w in zip(lone, weights, strict=True)]
        return FloatScore(
            array=terms * np.array(weights),
            lone_array=np.array(alone),
            left_out=int(score == "partners"),
        )

    def network(self, trained: int, served: int) -> float:
        """Return the sum of the scores of the served tasks; -inf for a forbidden lone task.

        Args:
            trained: The group, as a bit mask.
            served: The tasks whose scores are added, as a bit mask.
        """
        members = bits(trained)
        if len(members) == 1:
            return float(self.lone_array[members[0]])
        total = self.array[np.ix_(members, bits(served))].sum()
        return float(total) / (len(members) - self.left_out)

    def value(self, networks: Iterable[tuple[int, int]]) -> float:
        """Return the sum of `network` over networks, as (trained, served) masks."""
        return sum(self.network(trained, served) for trained, served in networks)

    def table(self, member: np.ndarray) -> np.ndarray:
        """Return the score of every task in every group; of a task outside a group, anything.

        Args:
            member: `[num_groups, num_tasks]`, 1.0 where a group trains a task, else 0.0.

        Returns:
            `[num_groups, num_tasks]`.
        """
        sizes = member.sum(axis=1)
        scores: np.ndarray = member @ self.array / np.maximum(sizes - self.left_out, 1)[:, None]
        single = np.flatnonzero(sizes == 1)
        scores[single] = np.where(member[single] > 0, self.lone_array, 0.0)
        return scores


@dataclass(frozen=True, eq=False, kw_only=True)
class ExactScore(FloatScore):
    """The scores of every group as exact rationals, and in floats.

    Args:
        tasks: The task names, sorted.
        terms: Exact `[num_tasks][num_tasks]`, what `array` holds in floats.
        lone: The exact weighted score of every lone task; None where it is forbidden.
        exponent: Normalised units are 2**exponent: the largest of all scores is about 1.
    """

    tasks: tuple[str, ...]
    terms: list[list[Fraction]]
    lone: list[Fraction | None]
    exponent: int

    @classmethod
    def build(
        cls,
        tasks: Sequence[str],
        affinity: np.ndarray,
        score: str,
        lone: Sequence[float | None],
        weights: Sequence[float],
    ) -> "ExactScore":
        """Compute the scores exactly and normalise them.

        Args:
            tasks: The task names, sorted.
            affinity: `[num_tasks, num_tasks]` float64, rows source, columns target, in the order
                of `tasks`; finite where the score reads it.
            score: "members" or "partners".
            lone: The unweighted score of every lone task, None to forbid it.
            weights: How much each task matters.

        Returns:
            The scores.
        """
        weight = [Fraction(float(w)) for w in weights]

        def entry(source: int, target: int) -> Fraction:
            if score == "partners":
                return (
                    Fraction(float(affinity[source, target])) if source != target else Fraction(0)
                )
            own = Fraction(float(affinity[target, target]))
            return Fraction(float(affinity[source, target])) / own

        places = range(len(tasks))
        terms = [[entry(i, j) * weight[j] for j in places] for i in places]
        alone = [
            None if value is None else Fraction(float(value)) * w
            for value, w in zip(lone, weight, strict=True)
        ]
        known = [value for value in (*chain(*terms), *alone) if value is not None]
        exponent = power_of_two_above(max(map(abs, known)))
        unit = Fraction(2) ** -exponent
        terms = [[value * unit for value in row] for row in terms]
        alone = [None if value is None else value * unit for value in alone]
        return cls(
            tasks=tuple(tasks),
            terms=terms,
            lone=alone,
            left_out=int(score == "partners"),
            exponent=exponent,
            array=np.array(terms, np.float64),
            lone_array=np.array([-np.inf if v is None else float(v) for v in alone]),
        )

    def member(self, group: int, task: int) -> Fraction:
        """Return the exact score of one member of a group (a bit mask), in normalised units."""
        members = bits(group)
        if len(members) == 1:
            lone = self.lone[task]
            assert lone is not None
            return lone
        total = sum((self.terms[i][task] for i in members), Fraction(0))
        return total / (len(members) - self.left_out)

    def best_helpers(self, served: int, others: Iterable[int], count: int) -> int:
        """Return so many of some other tasks that give most to the served ones.

        Args:
            served: The served tasks, as a bit mask.
            others: The tasks to choose from, ascending.
            count: How many to choose.

        Returns:
            The helpers as a bit mask; of equally good ones the first by name.
        """
        if not count:
            return 0
        tasks = bits(served)
        worth = self.array[:, tasks].sum(axis=1)
        ordered = sorted(others, key=lambda task: -worth[task])
        edge, near = worth[ordered[count - 1]], 1e-12 * (1 + len(tasks))
        sure = [task for task in ordered if worth[task] > edge + near]
        close = [task for task in ordered if abs(worth[task] - edge) <= near]
        if len(close) > 1:
            # What floats can't tell apart.
            exact = {t: sum((self.terms[t][j] for j in tasks), Fraction(0)) for t in close}
            close.sort(key=lambda task: (-exact[task], task))
        return mask_of(sure + close[: count - len(sure)])


def power_of_two_above(value: Fraction) -> int:
    """Return an e with value <= 2**e, hardly larger; 0 for 0. The value may be beyond any float."""
    if not value:
        return 0
    return value.numerator.bit_length() - value.denominator.bit_length() + 1
