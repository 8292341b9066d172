"""The constraints on groups: sizes, links and overlap; and the weights of tasks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Constraints:
    """The constraints that every group must meet.

    Args:
        tasks: The task names, sorted.
        overlap: Whether a group may train tasks that another one serves.
        min_size: The least number of tasks in a group.
        max_size: The largest number of tasks in a group.
        must_link: Pairs of tasks that every group trains together or not at all.
        cannot_link: Pairs of tasks that no group trains together.
    """

    tasks: tuple[str, ...]
    overlap: bool
    min_size: int
    max_size: int
    must_link: tuple[tuple[int, int], ...]
    cannot_link: tuple[tuple[int, int], ...]

    @classmethod
    def check(
        cls,
        tasks: Sequence[str],
        overlap: Any,
        min_size: Any,
        max_size: Any,
        must_link: Any,
        cannot_link: Any,
    ) -> "Constraints":
        """Validate the arguments against the tasks and refuse contradictions.

        Raises:
            ValueError: Names the argument, or the constraints that contradict each other.
        """
        count = len(tasks)
        least, most = int(min_size), count if max_size is None else min(count, int(max_size))
        if least > most:
            raise ValueError(
                f"Expected min_size <= max_size and no more than the {count} tasks there are. "
                f"Received: min_size={min_size}, max_size={max_size}."
            )
        linked = _pairs("must_link", must_link, tasks)
        apart = _pairs("cannot_link", cannot_link, tasks)
        constraints = cls(tuple(tasks), overlap, least, most, linked, apart)
        blocks = constraints.blocks()
        for a, b in apart:
            if blocks[a] == blocks[b]:
                raise ValueError(
                    f"must_link ties {tasks[a]!r} and {tasks[b]!r} together, cannot_link keeps "
                    "them apart: no group can train either. Drop one of the two."
                )
        for block in blocks:
            if block.bit_count() > most:
                names = [tasks[i] for i in range(count) if block >> i & 1]
                raise ValueError(
                    f"must_link ties {len(names)} tasks together, {names}, more than "
                    f"max_size={max_size} allows in a group."
                )
        return constraints

    def blocks(self) -> list[int]:
        """Return for every task the tasks that must_link ties to it, itself included, as a mask."""
        blocks = [1 << task for task in range(len(self.tasks))]
        for a, b in self.must_link:
            joined = blocks[a] | blocks[b]
            for task in range(len(self.tasks)):
                if joined >> task & 1:
                    blocks[task] = joined
        return blocks

    def allows(self, group: int) -> bool:
        """Return whether one group (a bit mask of any length) is allowed."""
        return (
            self.min_size <= group.bit_count() <= self.max_size
            and all((group >> a & 1) == (group >> b & 1) for a, b in self.must_link)
            and not any(group >> a & group >> b & 1 for a, b in self.cannot_link)
        )

    def describe(self) -> str:
        """Return the constraints that are in force, as they would be written in the call."""
        count = len(self.tasks)
        parts = []
        if not self.overlap:
            parts.append("overlap=False")
        if self.min_size > 1:
            parts.append(f"min_size={self.min_size}")
        if self.max_size < count:
            parts.append(f"max_size={self.max_size}")
        for name, pairs in (("must_link", self.must_link), ("cannot_link", self.cannot_link)):
            if pairs:
                named = [(self.tasks[a], self.tasks[b]) for a, b in pairs]
                parts.append(f"{name}={named}")
        return ", ".join(parts)


def check_weights(weights: Any, tasks: Sequence[str]) -> list[float]:
    """Return one weight per task, 1 where none is given.

    Args:
        weights: None, or a mapping from task to a finite number that is not negative.
        tasks: The task names.

    Returns:
        The weights in the order of `tasks`.

    Raises:
        ValueError: Another kind, unknown tasks, or negative or infinite weights.
    """
    if weights is None:
        return [1.0] * len(tasks)
    if not isinstance(weights, Mapping) or set(weights) - set(tasks):
        raise ValueError(
            f"Expected `weights` to map tasks out of {sorted(tasks)} to numbers. Received: "
            f"weights={weights!r}."
        )
    values = [_weight(task, weights.get(task, 1.0)) for task in tasks]
    if not any(values):
        raise ValueError("Expected a positive weight for at least one task. All weights are 0.")
    return values


def _weight(task: str, weight: Any) -> float:
    try:
        value = float(weight)
    except (TypeError, ValueError):
        value = np.nan
    if not np.isfinite(value) or value < 0:
        raise ValueError(
            f"Expected every weight to be a finite number that is not negative. Received: "
            f"weights[{task!r}]={weight!r}."
        )
    return value


def check_overlap(overlap: Any) -> None:
    """Check that `overlap` is True or False.

    Raises:
        ValueError: Anything else.
    """
    if not isinstance(overlap, bool):
        raise ValueError(f"Expected `overlap` to be True or False. Received: {overlap!r}.")


def check_sizes(min_size: Any, max_size: Any) -> None:
    """Check that both limits are numbers of tasks.

    Raises:
        ValueError: Anything else; None is allowed for `max_size` only.
    """
    for name, value in (("min_size", min_size), ("max_size", max_size)):
        if value is None and name == "max_size":
            continue
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
            raise ValueError(
                f"Expected `{name}` to be a number of tasks, an integer of at least 1. Received: "
                f"{name}={value!r}."
            )


def as_pairs(name: str, pairs: Any) -> tuple[Any, ...]:
    """Return the pairs of an argument as a tuple, as they are.

    Raises:
        ValueError: Not a sequence.
    """
    if isinstance(pairs, str) or not isinstance(pairs, Iterable):
        raise ValueError(f"Expected `{name}` to be a sequence of pairs. Received: {pairs!r}.")
    return tuple(pairs)


def _pairs(name: str, pairs: Any, tasks: Sequence[str]) -> tuple[tuple[int, int], ...]:
    position = {task: index for index, task in enumerate(tasks)}
    found = set()
    for pair in pairs:
        named = [] if isinstance(pair, str) or not isinstance(pair, Iterable) else list(pair)
        unknown = [task for task in named if not isinstance(task, str) or task not in position]
        if unknown:
            raise ValueError(
                f"Expected `{name}` to name tasks out of {sorted(tasks)}. Received: {unknown}."
            )
        if len(named) != 2 or len(set(named)) != 2:
            raise ValueError(
                f"Expected `{name}` to hold pairs of two different tasks. Received: {pair!r}."
            )
        first, second = sorted(position[task] for task in named)
        found.add((first, second))
    return tuple(sorted(found))
