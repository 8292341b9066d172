"""Task objectives: the name in Keras's logs, the direction, and values as positive losses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

# Keras's metrics and losses of which less is better, by the names that they log.
_ERRORS = {
    "loss",
    "mae",
    "mean_absolute_error",
    "mse",
    "mean_squared_error",
    "root_mean_squared_error",
    "mape",
    "mean_absolute_percentage_error",
    "msle",
    "mean_squared_logarithmic_error",
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "sparse_categorical_crossentropy",
    "kl_divergence",
    "hinge",
    "squared_hinge",
    "categorical_hinge",
    "huber",
    "log_cosh",
    "logcosh",
    "poisson",
}


@dataclass(frozen=True)
class Objective:
    """A value in Keras's logs, and whether less or more of it is better.

    Args:
        name: The name in the logs, such as "val_smile_auc".
        direction: "min" or "max".

    Raises:
        ValueError: Another direction.

    Example:
        >>> Objective("val_smile_auc", "max")
        Objective(name='val_smile_auc', direction='max')
    """

    name: str
    direction: Literal["min", "max"]

    def __post_init__(self) -> None:
        if self.direction not in ("min", "max"):
            raise ValueError(
                f"Expected `direction` to be 'min' or 'max'. Received: {self.direction!r}."
            )

    def inside(self, value: float) -> float:
        """Return the value as the search compares it: less is better."""
        return value if self.direction == "min" else -value


def objectives_by_task(objective: Any, tasks: Sequence[str]) -> dict[str, Objective]:
    """Return the objective of every task.

    Args:
        objective: None, or a mapping of some tasks to a name in the logs or an `Objective`.
        tasks: The tasks.

    Returns:
        Task -> objective; the validation loss where nothing else was said.

    Raises:
        ValueError: Unknown tasks, names of other tasks or of the training data, or a name whose
            direction is not known for certain.
    """
    if objective is not None and not isinstance(objective, Mapping):
        raise ValueError(
            "Expected `objective` to be None or a dict by task, such as "
            f"{{{tasks[0]!r}: 'val_{tasks[0]}_mae'}}. Received: objective={objective!r}."
        )
    given = dict(objective or {})
    unknown = [task for task in given if task not in tasks]
    if unknown:
        raise ValueError(
            f"Expected `objective` to name tasks of {list(tasks)}. Received others: {unknown}."
        )
    return {task: _objective(given.get(task), task) for task in tasks}


def _objective(given: Any, task: str) -> Objective:
    if given is None:
        return Objective(f"val_{task}_loss", "min")
    name = given.name if isinstance(given, Objective) else given
    prefix = f"val_{task}_"
    if not isinstance(name, str) or not name.startswith(prefix):
        raise ValueError(
            f"Expected the objective of task {task!r} to be a name in the logs that begins with "
            f"{prefix!r}: what the task reaches on validation data. Received: {given!r}."
        )
    if isinstance(given, Objective):
        return given
    if name.removeprefix(prefix) not in _ERRORS:
        raise ValueError(
            f"Expected to know whether less or more of {name!r} is better; directions are never "
            f"guessed. Give keras_tag.Objective({name!r}, 'max') (or 'min')."
        )
    return Objective(name, "min")


@dataclass(frozen=True)
class LossScale:
    """How values of one task are taken for positive losses, whose ratios can be compared.

    Args:
        kind: "ratio": values are positive losses. "error": one minus a share such as an accuracy.
            "exponential": values of any sign, `exp(inside value / unit)`.
        objective: The task's.
        unit: What counts as much as a ratio of e, for "exponential".
    """

    kind: Literal["ratio", "error", "exponential"]
    objective: Objective
    unit: float = 1.0

    @classmethod
    def of(cls, objective: Objective, values: Sequence[float], joint: float) -> "LossScale":
        """Choose the scale for all values of a task.

        Args:
            objective: The task's.
            values: What the task reached in all networks.
            joint: What it reached in the joint run.
        """
        seen = np.asarray([joint, *values], float)
        if objective.direction == "min" and (seen > 0).all():
            return cls("ratio", objective)
        if objective.direction == "max" and ((seen >= 0) & (seen < 1)).all():
            return cls("error", objective)
        unit = abs(joint) or float(np.median(np.abs(seen))) or 1.0
        return cls("exponential", objective, unit)

    def loss(self, value: float) -> float:
        """Return the value as a positive loss."""
        if self.kind == "ratio":
            return value
        if self.kind == "error":
            return 1.0 - value
        return float(np.exp(np.clip(self.objective.inside(value) / self.unit, -300.0, 300.0)))

    def worth(self, value: float) -> float:
        """Return how much the objective changes per unit of the logarithm of the loss."""
        return self.unit if self.kind == "exponential" else self.loss(value)

    def gain(self, value: float, change: float) -> float:
        """Return how much better the objective is once the logarithm of the loss has changed.

        Args:
            value: Before the change.
            change: Of the logarithm; below 0 is better.
        """
        return -self.worth(value) * (change if self.kind == "exponential" else np.expm1(change))
