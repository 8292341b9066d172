"""The shared variables of a model, and the tasks that share each.

A variable is shared when the losses of at least two tasks depend on it. Dependence is found by
gradient connection, not by looking at layers, so it holds for subclassed and nested models too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Sharing:
    """The tasks that use each trainable variable, and which variables a probe moves.

    Args:
        tasks: The n task names.
        trainable: The model's trainable variables.
        used: `[num_tasks, num_trainable]` bool, whether a task's loss depends on a variable.
        shared: `[num_trainable]` bool, whether probes move a variable.
    """

    tasks: tuple[str, ...]
    trainable: tuple[Any, ...]
    used: np.ndarray
    shared: np.ndarray

    @property
    def variables(self) -> tuple[Any, ...]:
        """The shared variables, in the model's order."""
        return tuple(v for v, s in zip(self.trainable, self.shared, strict=True) if s)

    @property
    def used_shared(self) -> np.ndarray:
        """`[num_tasks, num_shared]` bool, whether a task's loss depends on a shared variable."""
        return self.used[:, self.shared]

    def report(self) -> "pd.DataFrame":
        """Return one row per trainable variable: path, size, whether probes move it, its tasks."""
        import pandas as pd

        frame = pd.DataFrame(self.used.T, columns=list(self.tasks))
        frame.insert(0, "parameters", [int(np.prod(v.shape)) for v in self.trainable])
        frame.insert(1, "shared", self.shared)
        frame.index = pd.Index([v.path for v in self.trainable], name="variable")
        return frame


def find_sharing(
    tasks: Sequence[str],
    trainable: Sequence[Any],
    used: np.ndarray,
    chosen: Callable[[Any], bool] | None,
) -> Sharing:
    """Pick the shared variables.

    Args:
        tasks: The n task names.
        trainable: The model's trainable variables.
        used: `[num_tasks, num_trainable]`, from `Backward.connections`.
        chosen: None for every variable that two tasks depend on; otherwise only those of them
            for which this is true.

    Returns:
        The `Sharing`.

    Raises:
        ValueError: No variable is left.
    """
    shared = np.sum(used, axis=0) >= 2
    candidates = [v.path for v, two in zip(trainable, shared, strict=True) if two]
    if not candidates:
        raise ValueError(
            "Expected a model in which at least two tasks share trainable variables. Received a "
            f"model in which none of the {len(trainable)} trainable variables is used by two of "
            f"the tasks {list(tasks)}: separate networks have no affinity. Is the trunk frozen "
            "(`trainable=False`), or behind a `stop_gradient`?"
        )
    if chosen is not None:
        shared &= np.array([bool(chosen(v)) for v in trainable])
        if not shared.any():
            raise ValueError(
                "Expected `shared` to select at least one trainable variable that two tasks' "
                f"losses depend on. It selects none. The candidates are {candidates}."
            )
    return Sharing(tuple(tasks), tuple(trainable), used, shared)


def shared_filter(shared: Any) -> Callable[[Any], bool] | None:
    """Return the user's `shared=` argument as a predicate on variables.

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


def serialize_shared(shared: Any) -> Any:
    """Return the user's `shared=` argument for `get_config`: layers become variable paths.

    A layer is another object after loading; the paths of its variables are the same.
    """
    if shared is None or isinstance(shared, str):
        return shared
    if callable(shared) and not isinstance(shared, keras.layers.Layer):
        return keras.saving.serialize_keras_object(shared)
    entries = [shared] if isinstance(shared, keras.layers.Layer) else shared
    paths: list[str] = []
    for entry in entries:
        paths += [entry] if isinstance(entry, str) else [v.path for v in entry.trainable_variables]
    return paths
