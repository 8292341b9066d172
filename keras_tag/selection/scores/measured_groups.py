"""`GroupScores`: the scores that trained groups reached."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from keras_tag.selection.arguments.costs import Costs, cost_of, group_cost
from keras_tag.task_names import check_group
from keras_tag.wording import counted


@dataclass(frozen=True)
class MeasuredGroup:
    """One trained network: its tasks, what it scored on them, and what it costs."""

    tasks: tuple[str, ...]
    scores: Mapping[str, float]
    cost: Fraction


@dataclass(frozen=True, eq=False, repr=False)
class GroupScores:
    """Measured scores of trained groups, to choose among with `select_groups`.

    Nothing is predicted here: only groups that were measured can be chosen, and the objective is
    in the table's own units.

    Args:
        groups: A mapping {(task, ...): {task: value}}, or a list of entries `((task, ...),
            {task: value})` or `((task, ...), {task: value}, cost)`. In a list the same tasks may
            appear twice, such as a full-size network and a cheaper half-size one. A task of the
            group that has no value can't be served by it.
        sense: "max" if larger values are better, "min" for losses.
        costs: What a network costs, for entries without a cost of their own: by size ({1: 0.5, 2:
            1.0} or a sequence), by group ({("a", "b"): 1.0}) or a callable of the sorted task
            names. By default every network costs 1.

    Raises:
        ValueError: No groups, values for tasks that the group does not train, values that are not
            finite, a group twice in a mapping, costs that are missing or negative.

    Example:
        >>> measured = GroupScores(
        ...     [(("a",), {"a": 0.3}, 1.0), (("a",), {"a": 0.4}, 0.5), (("b",), {"b": 0.2}, 1.0),
        ...      (("a", "b"), {"a": 0.5, "b": 0.1}, 1.0)], sense="min")
        >>> select_groups(measured, budget=1.5).objective
        0.5

    Reference:
        Standley et al., "Which Tasks Should Be Learned Together in Multi-task Learning?", ICML
        2020, arXiv:1905.07553.
    """

    groups: Any
    sense: Literal["max", "min"] = "max"
    costs: Costs = None

    def __post_init__(self) -> None:
        if self.sense not in ("max", "min"):
            raise ValueError(
                "Expected `sense` to be 'max' (larger is better) or 'min' (losses). Received: "
                f"sense={self.sense!r}."
            )
        listed = [_parse(entry) for entry in _listed(self.groups)]
        if not listed:
            raise ValueError("Expected at least one measured group. Received: none.")
        names = sorted({task for tasks, _, _ in listed for task in tasks})
        default = group_cost(self.costs, names)
        entries = []
        for tasks, scores, own in listed:
            cost = default(tuple(sorted(tasks))) if own is None else own
            if cost is None:
                raise ValueError(
                    f"Expected `costs` to cover every measured group. There is none for {tasks}."
                )
            entries.append(MeasuredGroup(tasks, scores, cost))
        object.__setattr__(self, "_entries", tuple(entries))

    @property
    def entries(self) -> tuple[MeasuredGroup, ...]:
        """The measured groups, in the order given."""
        entries: tuple[MeasuredGroup, ...] = self.__dict__["_entries"]
        return entries

    @property
    def tasks(self) -> tuple[str, ...]:
        """Every task of any group, in order of appearance."""
        return tuple(dict.fromkeys(task for entry in self.entries for task in entry.tasks))

    def __repr__(self) -> str:
        groups, tasks = counted(len(self.entries), "group"), counted(len(self.tasks), "task")
        return f"GroupScores of {groups} of {tasks}, sense={self.sense!r}"


def _listed(groups: Any) -> list[tuple[Any, ...]]:
    if not isinstance(groups, Mapping):
        if isinstance(groups, str) or not isinstance(groups, Iterable):
            raise ValueError(
                "Expected `groups` to be a mapping {(task, ...): {task: value}} or a list of "
                f"entries ((task, ...), {{task: value}}, cost). Received: {groups!r}."
            )
        return [tuple(entry) for entry in groups]
    seen: dict[frozenset[str], Any] = {}
    for tasks in groups:
        key = frozenset([tasks]) if isinstance(tasks, str) else frozenset(tasks)
        if key in seen:
            raise ValueError(
                f"Expected each group once in a mapping. Received: {seen[key]!r} and {tasks!r}. "
                "Give a list of entries with their costs if both are meant."
            )
        seen[key] = tasks
    return list(groups.items())


def _parse(
    entry: tuple[Any, ...],
) -> tuple[tuple[str, ...], dict[str, float], Fraction | None]:
    if len(entry) not in (2, 3) or not isinstance(entry[1], Mapping):
        raise ValueError(
            "Expected an entry ((task, ...), {task: value}) or ((task, ...), {task: value}, cost). "
            f"Received: {entry!r}."
        )
    tasks = check_group((entry[0],) if isinstance(entry[0], str) else entry[0])
    unknown = sorted(map(str, set(entry[1]) - set(tasks)))
    if unknown:
        raise ValueError(
            f"Expected values for the tasks of the group only. Received: group {tasks} "
            f"with values for {unknown}."
        )
    scores = {}
    for task, value in entry[1].items():
        scores[task] = float(value)
        if not math.isfinite(scores[task]):
            raise ValueError(
                f"Expected measured values to be finite; leave out what was not measured. "
                f"Received: {scores[task]} for {task!r} in group {tasks}."
            )
    cost = cost_of("cost", entry[2]) if len(entry) == 3 else None
    return tasks, scores, cost
