"""Checks of the arguments that several data sets have."""

from collections.abc import Iterable, Sequence


def check_at_least_1(**numbers: int) -> None:
    """Check that numbers are at least 1.

    Args:
        **numbers: By the names of the arguments.

    Raises:
        ValueError: One is less.
    """
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"Expected `{name}` >= 1. Received: {name}={number}.")


def chosen_tasks(tasks: Sequence[str], known: Iterable[str]) -> tuple[str, ...]:
    """Return the tasks that were asked for.

    Args:
        tasks: The argument `tasks`: some names, or one.
        known: All names.

    Raises:
        ValueError: No task, an unknown or repeated one.
    """
    names = (tasks,) if isinstance(tasks, str) else tuple(tasks)
    known = list(known)
    if not names or not set(names) <= set(known) or len(set(names)) != len(names):
        raise ValueError(
            f"Expected `tasks` to be one or more of {known}, each once. Received: tasks={tasks!r}."
        )
    return names
