"""The argument `costs`: the cost of a network, by size or by group."""

import math
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np

# Costs are whole numbers of millionths.
_UNITS = 10**6
# What a float is off by for having been computed.
_ROUNDING = Fraction(1, 10**12)
# CP-SAT adds up costs of 40 bits and more wrongly.
_MOST_UNITS = 10**9

# (task names of a group, sorted) -> cost, or None for a group that can't be chosen.
GroupCost = Callable[[tuple[str, ...]], Fraction | None]
Costs = (
    Mapping[int, float]
    | Sequence[float]
    | Mapping[tuple[str, ...], float]
    | Callable[[tuple[str, ...]], float]
    | None
)


def amount(name: str, value: Any) -> Fraction:
    """Read a cost or a budget as the decimal number that it prints as: 0.1 is one tenth.

    Three networks at 0.1 then fit into a budget of 0.3, which they do not in binary floats. What
    misses a decimal number of 6 places by rounding only, as 0.1 + 0.2 does, is that number.

    Args:
        name: The argument, for the message.
        value: An int, float, NumPy number, Decimal or Fraction.

    Returns:
        The number.

    Raises:
        ValueError: Not a finite number, or negative.
    """
    kinds = int | float | Fraction | Decimal | np.integer | np.floating
    known = isinstance(value, kinds) and not isinstance(value, bool) and value == value
    if not known or not 0 <= value < math.inf:
        raise ValueError(
            f"Expected `{name}` to be a finite number that is not negative. Received: {value!r}."
        )
    exact: Fraction = value if isinstance(value, Fraction) else Fraction(str(value))
    near = Fraction(round(exact * _UNITS), _UNITS)
    return near if abs(near - exact) <= _ROUNDING * max(Fraction(1), exact) else exact


def cost_of(name: str, value: Any) -> Fraction:
    """Read a cost.

    Args:
        name: The argument, for the message.
        value: The cost.

    Returns:
        A number of at most 6 decimal places.

    Raises:
        ValueError: Not such a number.
    """
    cost = amount(name, value)
    if (cost * _UNITS).denominator > 1:
        raise ValueError(
            f"Expected `{name}` to be a number of at most 6 decimal places, so that costs can be "
            f"added up exactly. Received: {value!r}. Give round(cost, 6), or costs and budget in a "
            "smaller unit."
        )
    return cost


def whole_costs(costs: Sequence[Fraction]) -> tuple[list[int], Fraction]:
    """Return costs as whole multiples of the largest possible unit.

    Args:
        costs: The costs.

    Returns:
        The multiples, and the unit.

    Raises:
        ValueError: Costs that are too far apart.
    """
    units = [int(cost * _UNITS) for cost in costs]
    divisor = math.gcd(*units) or 1
    if max(units, default=0) > _MOST_UNITS * divisor:
        raise ValueError(
            f"Expected `costs` of at most {_MOST_UNITS:.0e} times their largest common unit. "
            f"Received: up to {float(max(costs)):g}, in units of {divisor / _UNITS:g}. Round them."
        )
    return [cost // divisor for cost in units], Fraction(divisor, _UNITS)


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
        return {size: cost_of(f"costs[{size}]", cost) for size, cost in sizes.items()}
    if isinstance(costs, Sequence) and not isinstance(costs, str):
        return {i + 1: cost_of(f"costs[{i}]", cost) for i, cost in enumerate(costs)}
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
            table[tuple(sorted(group))] = cost_of(f"costs[{group!r}]", cost)
        return table.get
    if callable(costs):
        return lambda group: cost_of(f"costs({group!r})", costs(group))
    raise ValueError(
        "Expected `costs` to be a mapping from size or from group, a sequence by size, or a "
        f"callable. Received: costs={costs!r}."
    )
