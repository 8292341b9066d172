"""The argument `costs`: the cost of a network, by size or by group."""

import math
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

# (task names of a group, sorted) -> cost, or None for a group that can't be chosen.
GroupCost = Callable[[tuple[str, ...]], Fraction | None]
Costs = (
    Mapping[int, float]
    | Sequence[float]
    | Mapping[tuple[str, ...], float]
    | Callable[[tuple[str, ...]], float]
    | None
)


def exact_number(name: str, value: Any) -> Fraction:
    """Read a cost or a budget as the decimal number it prints as: 0.1 is one tenth.

    Three networks at 0.1 then fit into a budget of 0.3, which they do not in binary floats.

    Args:
        name: The argument, for the message.
        value: An int, float, NumPy number, Decimal or Fraction.

    Returns:
        The number.

    Raises:
        ValueError: Not a finite number, or negative.
    """
    if isinstance(value, bool):
        raise _not_a_cost(name, value)
    if isinstance(value, int | Fraction | Decimal):
        number = Fraction(value) if not isinstance(value, Decimal) or value.is_finite() else None
    else:
        try:
            real = float(value)
        except (TypeError, ValueError) as error:
            raise _not_a_cost(name, value) from error
        number = Fraction(repr(real)) if math.isfinite(real) else None
    if number is None or number < 0 or isinstance(value, str):
        raise _not_a_cost(name, value)
    return number


def by_size(costs: Costs) -> dict[int, Fraction] | None:
    """Return the cost of each size if costs are given by size, else None.

    Args:
        costs: A mapping from size to cost, or a sequence whose k-th number is the cost of a
            network of k tasks; or costs of another kind.

    Returns:
        Size -> cost; sizes left out can't be chosen.

    Raises:
        ValueError: Something that is not a cost.
    """
    if isinstance(costs, Mapping):
        sizes = {key: cost for key, cost in costs.items() if isinstance(key, int)}
        if not sizes or len(sizes) < len(costs):
            return None
        return {size: exact_number(f"costs[{size}]", cost) for size, cost in sizes.items()}
    if isinstance(costs, Sequence) and not isinstance(costs, str):
        return {i + 1: exact_number(f"costs[{i}]", cost) for i, cost in enumerate(costs)}
    return None


def group_cost(costs: Costs, tasks: Sequence[str]) -> GroupCost:
    """Return the cost of every group, however it was given.

    Args:
        costs: None (every network costs 1), by size (see `by_size`), a mapping from tuples of
            task names, or a callable that takes a sorted tuple of them.
        tasks: All task names.

    Returns:
        A function of the sorted names.

    Raises:
        ValueError: Costs of another kind, unknown tasks, or something that is not a cost.
    """
    if costs is None:
        return lambda group: Fraction(1)
    sizes = by_size(costs)
    if sizes is not None:
        return lambda group: sizes.get(len(group))
    if isinstance(costs, Mapping):
        table: dict[tuple[str, ...], Fraction] = {}
        for group, cost in costs.items():
            if not isinstance(group, tuple | frozenset) or set(group) - set(tasks):
                raise ValueError(
                    "Expected the keys of `costs` to be all sizes (int) or all groups (tuples of "
                    f"names out of {sorted(tasks)}). Received: the key {group!r}."
                )
            table[tuple(sorted(group))] = exact_number(f"costs[{group!r}]", cost)
        return table.get
    if callable(costs):
        return lambda group: exact_number(f"costs({group!r})", costs(group))
    raise ValueError(
        "Expected `costs` to be a mapping from size or from group, a sequence by size, or a "
        f"callable. Received: costs={costs!r}."
    )


def _not_a_cost(name: str, value: Any) -> ValueError:
    return ValueError(
        f"Expected `{name}` to be a finite number that is not negative. Received: {value!r}."
    )
