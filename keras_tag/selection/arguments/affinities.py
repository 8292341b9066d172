"""Refuse affinities that the asked score can't be computed from."""

from typing import Any

import numpy as np

from keras_tag.affinity import Affinity


def check_affinity(affinity: Any) -> Affinity:
    """Let an `Affinity` of two tasks or more through.

    Args:
        affinity: Whatever the caller passed.

    Returns:
        The affinity.

    Raises:
        TypeError: Not an `Affinity`; a bare array does not say which way round it is.
        ValueError: A single task.
    """
    if not isinstance(affinity, Affinity):
        raise TypeError(
            "Expected `affinity` to be a keras_tag.Affinity or keras_tag.GroupScores. Received: "
            f"{type(affinity).__name__}. A table does not say whether a row is whose update or "
            "whose loss: wrap it, Affinity.from_array(matrix, tasks, rows='source'), or "
            "rows='target' if a row holds what happens to one task's loss."
        )
    if len(affinity.tasks) < 2:
        raise ValueError(
            f"Expected at least two tasks to group. Received: tasks={affinity.tasks}. A single "
            "task is trained by a single network."
        )
    return affinity


def check_measured(affinity: Affinity, score: str) -> None:
    """Refuse unmeasured pairs and, for "members", a diagonal that can't be divided by.

    Args:
        affinity: The affinity.
        score: "members" or "partners".

    Raises:
        ValueError: Names the pairs or tasks, and what to do.
    """
    missing = affinity.unmeasured
    if score == "partners":
        # The mean over the other members never reads the diagonal.
        missing = [(source, target) for source, target in missing if source != target]
    if missing:
        raise ValueError(
            "Expected every pair of tasks to be measured. Received: an affinity without the "
            f"(source, target) pairs {missing}. Measure with more probes, or leave tasks out with "
            "affinity.subset(tasks)."
        )
    if score == "members":
        diagonal = np.diagonal(affinity.mean)
        bad = {affinity.tasks[i]: float(diagonal[i]) for i in np.flatnonzero(diagonal <= 0)}
        if bad:
            raise ValueError(
                "Expected every task's update to help the task itself, for shares of that are what "
                f"is scored. Received: the diagonal entries {bad}. Measure with more probes, or "
                "leave these tasks out with affinity.subset(tasks); score='partners' does not read "
                "the diagonal."
            )
