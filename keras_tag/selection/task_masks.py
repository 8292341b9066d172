"""Sets of tasks as bit masks: bit j is task j of the name-sorted tasks."""

from collections.abc import Iterable


def bits(mask: int) -> list[int]:
    """Return the positions of the ones of a bit mask, ascending."""
    positions = []
    while mask:
        low = mask & -mask
        positions.append(low.bit_length() - 1)
        mask ^= low
    return positions


def mask_of(positions: Iterable[int]) -> int:
    """Return the bit mask with ones at these positions."""
    mask = 0
    for position in positions:
        mask |= 1 << int(position)
    return mask


def first_of(masks: Iterable[int]) -> list[int]:
    """Return for every set those of its tasks that no set before it has."""
    found, seen = [], 0
    for mask in masks:
        found.append(mask & ~seen)
        seen |= mask
    return found
