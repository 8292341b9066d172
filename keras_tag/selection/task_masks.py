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
