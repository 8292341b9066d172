"""Labels, losses and metrics given for a joint model, read for networks of some of its tasks."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras


class MadeNetworks:
    """A `build_model` that returns networks that were made before.

    Args:
        networks: In the order in which they are asked for.
        output_names: The outputs of the joint model in the order of its lists; None: not known.
    """

    def __init__(
        self, networks: Iterable[keras.Model], output_names: Sequence[str] | None = None
    ) -> None:
        self._networks = iter(networks)
        self.output_names = output_names

    def __call__(self, tasks: Sequence[str]) -> keras.Model:
        """Return the next network."""
        return next(self._networks)


def by_name(
    given: Any,
    argument: str,
    tasks: Sequence[str],
    joint_outputs: Sequence[str] | None,
    others: Iterable[str] | None = None,
) -> dict[str, Any]:
    """Return what was given for a joint model by the names of its outputs.

    Args:
        given: A dict by name, or a list in the order of the joint model's outputs.
        argument: What it is, for the error.
        tasks: The tasks of the networks.
        joint_outputs: The outputs of the joint model in the order of its lists. None: not known;
            then a list is one of the tasks, in the grouping's order.
        others: Names that a dict may have where the joint model's are not known; None: any.

    Returns:
        By name, also of outputs that are no task of the networks.

    Raises:
        ValueError: A list of another length, or a name that is certainly wrong.
    """
    names = tuple(tasks if joint_outputs is None else joint_outputs)
    if isinstance(given, Mapping):
        if joint_outputs is None and others is None:
            return dict(given)
        known = {*tasks, *names, *(others or () if joint_outputs is None else ())}
        unknown = [name for name in given if name not in known]
        if unknown:
            raise ValueError(
                f"Expected `{argument}` to name tasks of {list(names)}. Received other names: "
                f"{unknown}."
            )
        return dict(given)
    if len(given) != len(names):
        whose = "tasks of the grouping" if joint_outputs is None else "joint model's outputs"
        raise ValueError(
            f"Expected a list `{argument}` to have an entry for each of the {whose}, in this "
            f"order: {list(names)}. Received {len(given)} entries. A dict by task is never "
            "mistaken."
        )
    return dict(zip(names, given, strict=True))


def metrics_by_task(
    given: Any,
    argument: str,
    tasks: Sequence[str],
    served: Iterable[str],
    joint_outputs: Sequence[str] | None,
    others: Iterable[str],
) -> Any:
    """Return the metrics of the served tasks, from those given for a joint model.

    Args:
        given: As for Keras's `compile`.
        argument: "metrics" or "weighted_metrics".
        tasks: See `by_name`.
        served: The tasks that are served.
        joint_outputs: See `by_name`.
        others: See `by_name`.

    Returns:
        A dict by served task, or None without any; a list for a lone output as it was given.

    Raises:
        ValueError: See `by_name`.
    """
    served = list(served)
    if not given:
        return None
    outputs = len(tasks if joint_outputs is None else joint_outputs)
    if isinstance(given, (list, tuple)) and len(served) == 1 and len(given) != outputs:
        return given
    if isinstance(given, (list, tuple)) and outputs == 1:
        return given
    if not isinstance(given, (Mapping, list, tuple)):
        return given  # Keras says what is wrong with it.
    named = by_name(given, argument, tasks, joint_outputs, others)
    return {task: named[task] for task in served if named.get(task) is not None} or None
