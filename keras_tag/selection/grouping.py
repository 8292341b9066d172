"""`Grouping`: the tasks that train together, and the network that serves each."""

import json
import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, BinaryIO, Literal, SupportsIndex

from keras_tag.atomic_files import write_atomically
from keras_tag.task_names import check_group
from keras_tag.wording import counted

_FORMAT = "keras_tag.Grouping"
_FORMAT_VERSION = 1


@dataclass(frozen=True, repr=False)
class Grouping:
    """The groups, one per network, and for every task the one group that serves it.

    A task may be trained in several groups (in all but one of them as a helper), but its
    prediction is taken from exactly one: the group that serves it.

    Args:
        groups: One tuple of task names per network. Every group serves at least one task.
        serves: Task name -> index into `groups` of the network that serves it.
        task_scores: Task name -> its score in the group that serves it; NaN for a grouping
            without scores.
        objective: The sum over the tasks, maximised (or minimised).
        bound: No grouping within the budget is better than this, by proof.
        status: "optimal" (objective and bound meet), "feasible" (the best found in the time
            given) or "given" (made by hand or by a baseline, see `from_groups`).
        score: The group score that was used: "members", "partners", ...
        cost: What the networks take from the budget (their number, if they have no costs).
        statistics: How the solver got there: rounds, columns, seconds. Not compared.
        metadata: What it was found with, as far as that is known: "versions", "settings" of the
            choice, and "affinity", the metadata of the affinities. Plain JSON types. Not compared.
        frequency: In which share of the resampled affinities no other groups are better; groups
            that differ only by tasks that they train without serving them count as the same. NaN
            where that was not computed. Not compared.
        replicates: How many affinities were resampled for that; 0 if none were, though there are
            standard errors: more than 15 tasks, no proof in time, or too fine a budget. None if
            there are no errors. Not compared.

    Raises:
        ValueError: A served task that its group does not train, or a group that serves no task.

    Example:
        >>> grouping = Grouping.from_groups([("a", "b"), ("c", "b")])
        >>> grouping.serves["b"], grouping.helpers(1)
        (0, ('b',))
    """

    groups: tuple[tuple[str, ...], ...]
    serves: Mapping[str, int]
    task_scores: Mapping[str, float] = field(default_factory=dict)
    objective: float = math.nan
    bound: float = math.nan
    status: Literal["optimal", "feasible", "given"] = "given"
    score: str = "given"
    cost: float = math.nan
    statistics: Mapping[str, float] = field(default_factory=dict, compare=False)
    metadata: Mapping[str, Any] = field(default_factory=dict, compare=False)
    frequency: float = field(default=math.nan, compare=False)
    replicates: int | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        groups = _check_groups(self.groups)
        if not _maps_to(_is_index, self.serves):
            raise ValueError(
                "Expected `serves` to map every task to the index of its group. Received: "
                f"serves={self.serves!r}."
            )
        serves = {str(task): int(index) for task, index in self.serves.items()}
        for task, index in serves.items():
            if not 0 <= index < len(groups) or task not in groups[index]:
                raise ValueError(
                    f"Expected every task to be served by a group that trains it. Received: "
                    f"serves[{task!r}]={index}, groups={groups}."
                )
        for index, group in enumerate(groups):
            if index not in serves.values():
                raise ValueError(f"Expected every group to serve a task. {group} serves none.")
            if set(group) - set(serves):
                raise ValueError(
                    f"Expected every trained task to be served. No group serves "
                    f"{sorted(set(group) - set(serves))} of group {group}."
                )
        known = {task: score for task, score in self.task_scores.items() if score is not None}
        scores = {task: float(known.get(task, math.nan)) for task in serves}
        object.__setattr__(self, "groups", groups)
        object.__setattr__(self, "serves", MappingProxyType(serves))
        object.__setattr__(self, "task_scores", MappingProxyType(scores))
        if math.isnan(self.cost):
            object.__setattr__(self, "cost", float(len(groups)))
        object.__setattr__(self, "statistics", MappingProxyType(dict(self.statistics)))
        object.__setattr__(self, "metadata", MappingProxyType(dict(self.metadata)))

    @classmethod
    def from_groups(
        cls, groups: Iterable[Iterable[str]], serves: Mapping[str, int] | None = None
    ) -> "Grouping":
        """Make a grouping by hand.

        Args:
            groups: The tasks of every network, in an order or as a set.
            serves: Task -> index of its group. By default each task is served by the first group
                that trains it.

        Returns:
            A `Grouping` with status "given" and no scores.

        Raises:
            ValueError: See the class.
        """
        named = _check_groups(groups)
        if serves is None:
            pairs = [(task, index) for index, group in enumerate(named) for task in group]
            first = dict(reversed(pairs))
            serves = {task: first[task] for task, _ in pairs}
        return cls(named, serves)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The served tasks, in the order of `serves`."""
        return tuple(self.serves)

    @property
    def gap(self) -> float:
        """The largest distance to the optimum: |bound - objective|, 0 when proven."""
        return 0.0 if self.status == "optimal" else abs(self.bound - self.objective)

    def served(self, index: int) -> tuple[str, ...]:
        """Return the tasks whose predictions are taken from group `index`, in the group's order."""
        return tuple(task for task in self.groups[index] if self.serves[task] == index)

    def helpers(self, index: int) -> tuple[str, ...]:
        """Return the tasks that group `index` trains but does not serve, in the group's order."""
        return tuple(task for task in self.groups[index] if self.serves[task] != index)

    def to_dict(self) -> dict[str, Any]:
        """Return the grouping as plain JSON types (NaN as None), for `from_dict`."""
        values = {part.name: _plain(getattr(self, part.name)) for part in fields(self)}
        return {"format": _FORMAT, "format_version": _FORMAT_VERSION, **values}

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any]) -> "Grouping":
        """Read what `to_dict` gave.

        Args:
            mapping: Plain JSON types.

        Returns:
            The `Grouping`.

        Raises:
            ValueError: Not a grouping, or of a newer format.
        """
        if not isinstance(mapping, Mapping) or mapping.get("format") != _FORMAT:
            raise ValueError(
                f"Expected the mapping of a grouping ({_FORMAT!r}). Received: {mapping!r}."
            )
        # All else in the mapping of a newer version may be of another kind.
        version = mapping.get("format_version", 0)
        if _is_index(version) and version > _FORMAT_VERSION:
            raise ValueError(
                f"The grouping is of format {version}; this keras_tag reads up to "
                f"{_FORMAT_VERSION}. Update keras_tag to read it."
            )
        given = {name: value for name, value in mapping.items() if name in _FIELDS}
        wrong = [name for name in _FIELDS if name not in given and name not in _LATER]
        wrong += [name for name, value in given.items() if not _FIELDS[name](value)]
        if given.get("status") in ("optimal", "feasible"):
            wrong += [name for name in ("objective", "bound") if given.get(name, 0) is None]
        if wrong:
            raise ValueError(
                f"Expected the mapping of a grouping, as `to_dict` gives it. Received one in which "
                f"{wrong} are missing or of another kind: {mapping!r}."
            )
        del given["format_version"]
        statistics = _with_nan(given.get("statistics", {}))
        replicates = given.get("replicates")
        return cls(**{**_with_nan(given), "statistics": statistics, "replicates": replicates})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the grouping as JSON, atomically.

        Args:
            path: Where to. The name is taken as it is.
        """

        def write(file: BinaryIO) -> None:
            text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"
            file.write(text.encode("utf-8"))

        write_atomically(path, write)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Grouping":
        """Read what `save` wrote.

        Args:
            path: The JSON file.

        Returns:
            The `Grouping`.

        Raises:
            ValueError: Not a grouping, or of a newer format.
        """
        try:
            with open(path, encoding="utf-8") as file:
                content = json.load(file)
        except (ValueError, RecursionError) as error:
            raise ValueError(
                f"Expected a file written by `Grouping.save`. Received: path={str(path)!r}, which "
                f"can't be read as JSON ({error})."
            ) from error
        return cls.from_dict(content)

    def __str__(self) -> str:
        networks, tasks = counted(len(self.groups), "network"), counted(len(self.serves), "task")
        lines = [f"{networks} for {tasks}, {self._describe_objective()}"]
        for index in range(len(self.groups)):
            served = ", ".join(self._describe_task(task) for task in self.served(index))
            helpers = ", ".join(self.helpers(index))
            lines.append(f"  {index}: serves {served}" + (f"; helped by {helpers}" * bool(helpers)))
        return "\n".join(lines)

    __repr__ = __str__

    def _describe_objective(self) -> str:
        if self.status == "given":
            return "given"
        text = f"score {self.score!r} = {self.objective:.4g} ({self.status}"
        if self.status != "optimal":
            return text + f", at most {self.gap:.3g} from the optimum)"
        # The arithmetic is exact; the affinities that it was done with are not.
        of = {"members": "affinities", "partners": "affinities", "measured": "measurements"}
        text += f" for these {of.get(self.score, 'scores')}"
        if self.replicates == 0:
            text += "; not resampled"
        elif self.replicates:
            share = f"{self.frequency:.0%} of {self.replicates}"
            text += f"; the same groups in {share} resampled affinities"
        return text + ")"

    def _describe_task(self, task: str) -> str:
        score = self.task_scores[task]
        if math.isnan(score):
            return task
        # Of a prediction more than two digits mean nothing.
        return f"{task} ({score:.2g})" if abs(score) < 1 else f"{task} ({score:.4g})"


def _check_groups(groups: Any) -> tuple[tuple[str, ...], ...]:
    if isinstance(groups, str) or not isinstance(groups, Iterable):
        raise ValueError(
            f"Expected `groups` to be a sequence of groups of task names. Received: {groups!r}."
        )
    return tuple(map(check_group, groups))


def _is_index(value: Any) -> bool:
    return isinstance(value, SupportsIndex) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    # JSON's whole numbers may be longer than any float.
    return isinstance(value, float) or (_is_index(value) and abs(value) < 2**63)


def _maps_to(fits: Callable[[Any], bool], value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(key, str) and fits(entry) for key, entry in value.items()
    )


def _number_or_none(value: Any) -> bool:
    return value is None or _is_number(value)


# What `from_dict` expects under each name.
_FIELDS: dict[str, Callable[[Any], bool]] = {
    "format_version": _is_index,
    "groups": lambda value: isinstance(value, list | tuple),
    "serves": lambda value: _maps_to(_is_index, value),
    "task_scores": lambda value: _maps_to(_number_or_none, value),
    "objective": _number_or_none,
    "bound": _number_or_none,
    "status": lambda value: value in ("optimal", "feasible", "given"),
    "score": lambda value: isinstance(value, str),
    "cost": _number_or_none,
    "statistics": lambda value: _maps_to(_number_or_none, value),
    "metadata": lambda value: isinstance(value, Mapping),
    "frequency": _number_or_none,
    "replicates": lambda value: value is None or _is_index(value),
}
# Of these, what groupings that were saved by an earlier version may lack.
_LATER = {"cost", "statistics", "metadata", "frequency", "replicates"}


def _plain(value: Any) -> Any:
    """Return a field as plain JSON types."""
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _with_nan(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return numbers as they were before `_plain`, which has no word for NaN."""
    return {name: math.nan if value is None else value for name, value in values.items()}
