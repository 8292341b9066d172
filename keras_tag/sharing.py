"""Which trainable variables are shared, and by whom.

A variable is shared when the losses of at least two tasks depend on it. Dependence is found by
gradient connection, not by looking at layers, so it holds for subclassed and nested models too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf


@dataclass(frozen=True, eq=False)
class Sharing:
    """The shared variables of a model and who uses which.

    Args:
        tasks: The n task names.
        variables: The shared trainable variables, in the model's order.
        used: `[num_tasks, num_shared]`, whether a task's loss depends on a variable.
    """

    tasks: tuple[str, ...]
    variables: tuple[Any, ...]
    used: np.ndarray

    def users(self, index: int) -> tuple[str, ...]:
        """The tasks whose losses depend on shared variable `index`."""
        return tuple(t for t, used in zip(self.tasks, self.used[:, index], strict=True) if used)


def find_sharing(
    tasks: Sequence[str],
    variables: Sequence[Any],
    used: np.ndarray,
    chosen: Callable[[Any], bool] | None,
) -> Sharing:
    """Pick the shared variables.

    Args:
        tasks: The n task names.
        variables: The model's trainable variables.
        used: `[num_tasks, num_variables]`, from `connections`.
        chosen: None for every variable that two tasks depend on; otherwise only those of them
            for which this says yes.

    Returns:
        The `Sharing`.

    Raises:
        ValueError: No variable is left.
    """
    by_two = np.sum(used, axis=0) >= 2
    candidates = [v.path for v, two in zip(variables, by_two, strict=True) if two]
    if not by_two.any():
        raise ValueError(
            "Expected a model in which at least two tasks share trainable variables. Received a "
            f"model in which none of the {len(variables)} trainable variables is used by two of "
            f"the tasks {list(tasks)}: separate networks have no affinity. Is the trunk frozen "
            "(`trainable=False`), or behind a `stop_gradient`?"
        )
    if chosen is not None:
        by_two &= np.array([bool(chosen(v)) for v in variables])
        if not by_two.any():
            raise ValueError(
                "Expected `shared` to select at least one trainable variable that two tasks' "
                f"losses depend on. It selects none. The candidates are {candidates}."
            )
    index = np.flatnonzero(by_two).tolist()
    return Sharing(tuple(tasks), tuple(variables[i] for i in index), used[:, index])


def connections(
    values: Sequence[tf.Tensor], variables: Sequence[Any], tape: tf.GradientTape
) -> np.ndarray:
    """Which of the values depend on which variables, through the recorded operations.

    Args:
        values: One tensor per task, computed under `tape`.
        variables: Trainable Keras variables.
        tape: A persistent tape that is not recording any more.

    Returns:
        `[num_tasks, num_variables]`, bool.
    """
    sources = [v.value for v in variables]
    return np.array(
        [[g is not None for g in tape.gradient(value, sources)] for value in values], dtype=bool
    ).reshape(len(values), len(variables))


def shared_filter(shared: Any) -> Callable[[Any], bool] | None:
    """What the user's `shared=` argument means, as a predicate on variables.

    Args:
        shared: None; a predicate `variable -> bool`; or a sequence whose entries are layers,
            layer names or (parts of) variable paths.

    Returns:
        None or a predicate.

    Raises:
        ValueError: Anything else.
    """
    if shared is None:
        return None
    if callable(shared) and not isinstance(shared, keras.layers.Layer):
        predicate: Callable[[Any], bool] = shared
        return predicate
    entries = [shared] if isinstance(shared, (str, keras.layers.Layer)) else list(shared)
    names: list[str] = []
    identities: set[int] = set()
    for entry in entries:
        if isinstance(entry, str):
            names.append(f"/{entry.strip('/')}/")
        elif isinstance(entry, keras.layers.Layer):
            identities.update(id(v) for v in entry.trainable_variables)
        else:
            raise ValueError(
                "Expected `shared` to be None, a predicate on variables, or a sequence of layers "
                f"and layer names. Received an entry: {entry!r}."
            )

    def chosen(variable: Any) -> bool:
        path = f"/{variable.path}/"
        return id(variable) in identities or any(name in path for name in names)

    return chosen
