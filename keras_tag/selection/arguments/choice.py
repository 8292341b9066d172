"""The arguments of a choice of groups, in one place.

`ChoiceArguments` types them for `**choice`, `Choice` holds their defaults and checks them. Every
function that chooses groups takes `**choice: Unpack[ChoiceArguments]`, makes a `Choice` of it at
once, and is decorated with `lists_arguments`, so that `help()` shows the arguments one by one.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any, Literal, TypedDict, TypeVar

from keras_tag.selection.arguments.affinities import check_risk
from keras_tag.selection.arguments.constraints import (
    Constraints,
    as_pairs,
    check_overlap,
    check_sizes,
    check_weights,
)
from keras_tag.selection.arguments.costs import Costs
from keras_tag.selection.arguments.lone_tasks import Alone

# A score given as a function: (sorted names of the group, task) -> value.
ScoreFunction = Callable[[tuple[str, ...], str], float]
Score = Literal["members", "partners"] | ScoreFunction
Pairs = Iterable[tuple[str, str]]

Function = TypeVar("Function", bound=Callable[..., Any])


class GroupArguments(TypedDict, total=False):
    """Arguments that say which groups are allowed and how much tasks matter."""

    overlap: bool
    min_size: int
    max_size: int | None
    weights: Mapping[str, float] | None
    must_link: Pairs
    cannot_link: Pairs


class ChoiceArguments(GroupArguments, total=False):
    """The keyword arguments of `select_groups` that make a `Choice`."""

    score: Score
    alone: Alone
    costs: Costs
    risk: float


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What is asked of a choice of groups, besides the budget. `select_groups` explains each.

    Args:
        score: The group score.
        alone: The score of a lone task.
        overlap: Whether a group may train tasks that another group serves.
        min_size: The least number of tasks in a group.
        max_size: The largest number of tasks in a group; None for no limit.
        weights: How much each task matters.
        costs: What a network costs.
        must_link: Pairs of tasks that every network trains together or not at all.
        cannot_link: Pairs of tasks that no network trains together.
        risk: How many standard errors every affinity loses before groups are chosen.

    Raises:
        ValueError: An argument of the wrong kind.
    """

    score: Score = "members"
    alone: Alone = None
    overlap: bool = True
    min_size: int = 1
    max_size: int | None = None
    weights: Mapping[str, float] | None = None
    costs: Costs = None
    must_link: Pairs = ()
    cannot_link: Pairs = ()
    risk: float = 0.0

    def __post_init__(self) -> None:
        check_score(self.score)
        check_overlap(self.overlap)
        check_sizes(self.min_size, self.max_size)
        # A generator could be read only once.
        object.__setattr__(self, "must_link", as_pairs("must_link", self.must_link))
        object.__setattr__(self, "cannot_link", as_pairs("cannot_link", self.cannot_link))
        object.__setattr__(self, "risk", check_risk(self.risk))

    @classmethod
    def of(
        cls, function: str, arguments: Mapping[str, Any], kind: type = ChoiceArguments
    ) -> "Choice":
        """Make a choice of the keyword arguments that a function was called with.

        Args:
            function: The name of the function, for the message.
            arguments: Its `**choice`.
            kind: The `TypedDict` that lists the arguments that it takes.

        Returns:
            The choice.

        Raises:
            TypeError: An argument that the function does not take.
            ValueError: An argument of the wrong kind.
        """
        known = [field.name for field in fields(cls) if field.name in kind.__annotations__]
        for name in arguments:
            if name not in known:
                close = get_close_matches(name, known, n=1)
                raise TypeError(
                    f"{function}() got an unexpected keyword argument {name!r}."
                    + (f" Did you mean {close[0]!r}?" if close else "")
                    + f" It chooses groups by {', '.join(known)}."
                )
        return cls(**arguments)

    def constraints(self, tasks: Sequence[str]) -> Constraints:
        """Return what groups of these tasks must look like.

        Args:
            tasks: The task names, sorted.

        Raises:
            ValueError: Unknown tasks, or constraints that contradict each other.
        """
        return Constraints.check(
            tasks, self.overlap, self.min_size, self.max_size, self.must_link, self.cannot_link
        )

    def weights_of(self, tasks: Sequence[str]) -> list[float]:
        """Return one weight per task, in the order of `tasks`.

        Raises:
            ValueError: Unknown tasks, or weights that are negative or infinite.
        """
        return check_weights(self.weights, tasks)

    def settings(self) -> dict[str, Any]:
        """Return argument name -> value, as the metadata of a `Grouping` store them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def check_score(score: Any) -> None:
    """Check that `score` is one of the closed forms or a function.

    Raises:
        ValueError: Anything else.
    """
    if not callable(score) and not (isinstance(score, str) and score in ("members", "partners")):
        raise ValueError(
            "Expected `score` to be 'members', 'partners' or a function (group, task) -> float. "
            f"Received: score={score!r}."
        )


def lists_arguments(kind: type) -> Callable[[Function], Function]:
    """Return a decorator that shows a function's `**choice` as single arguments in `help()`.

    Args:
        kind: The `TypedDict` of the arguments; their defaults are those of `Choice`.
    """

    def decorate(function: Function) -> Function:
        signature = inspect.signature(function)
        own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        single = [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=field.default,
                annotation=field.type,
            )
            for field in fields(Choice)
            if field.name in kind.__annotations__
        ]
        function.__signature__ = signature.replace(parameters=[*own, *single])  # type: ignore[attr-defined]
        return function

    return decorate
