"""The argument `alone`: the score of a network with a single task."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Alone = float | str | Mapping[str, float | str] | None


def lone_scores(
    alone: Alone, score: str, tasks: Sequence[str], affinity: np.ndarray
) -> list[float | None]:
    """Return the unweighted score of every lone task; None where a lone task is forbidden.

    Args:
        alone: "forbid", a number, "self" (the task's own diagonal entry), or a mapping from task
            to one of these (a task that it leaves out gets the default). None is the default:
            forbidden under "partners", 1 under "members", where a task on its own keeps all of
            its own progress.
        score: "partners", "members" or "function" (whose default is NaN: ask the function).
        tasks: The task names, in the order of rows and columns.
        affinity: `[num_tasks, num_tasks]`.

    Returns:
        One score per task.

    Raises:
        ValueError: An `alone` of another kind, unknown tasks, or "self" on an unmeasured diagonal.
    """
    if isinstance(alone, Mapping):
        unknown = sorted(map(str, set(alone) - set(tasks)))
        if unknown:
            raise ValueError(
                f"Expected `alone` to name tasks of the affinity, {sorted(tasks)}. Received: "
                f"alone with {unknown}."
            )
        choices: list[Any] = [alone.get(task) for task in tasks]
    else:
        choices = [alone] * len(tasks)
    return [
        _lone_score(choice, score, task, float(affinity[index, index]))
        for index, (task, choice) in enumerate(zip(tasks, choices, strict=True))
    ]


def _lone_score(choice: Any, score: str, task: str, diagonal: float) -> float | None:
    if choice is None:
        return {"partners": None, "members": 1.0, "function": math.nan}[score]
    if isinstance(choice, str):
        if choice == "forbid":
            return None
        if choice == "self":
            if math.isnan(diagonal):
                raise ValueError(
                    f"alone='self' reads the affinity's diagonal, and task {task!r} has none: "
                    "it was never measured. Give a number, or measure with more probes."
                )
            return diagonal
    number = isinstance(choice, int | float | np.number) and not isinstance(choice, bool)
    if number and math.isfinite(choice):
        return float(choice)
    raise ValueError(
        "Expected `alone` to be None, 'forbid', 'self', a finite number, or a mapping from task to "
        f"one of these. Received: alone={choice!r} for task {task!r}."
    )
