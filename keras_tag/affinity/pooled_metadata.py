"""What several measurements were made with, and whether their mean is the mean of anything."""

import warnings
from collections.abc import Sequence
from typing import Any, Literal

from keras_tag.affinity.affinity import Affinity

# Another of these, and Z is another quantity.
_QUANTITY = ("lookahead",)
# Another of these, and Z is the same quantity of another size.
_SIZE = ("lookahead_rate", "steps", "learning_rate", "optimizer", "batch_size", "missing")


def pooled_metadata(how: Literal["combine", "merge"], parts: Sequence[Affinity]) -> dict[str, Any]:
    """The metadata of a mean over several measurements.

    Args:
        how: "combine" or "merge", for messages.
        parts: The measurements. What one doesn't know of itself is not compared.

    Returns:
        "runs", a list with the metadata of every measurement; empty if no part has any.

    Raises:
        ValueError: They are of different look-ahead kinds.
    """
    runs = [run for part in parts for run in part.metadata.get("runs", [part.metadata])]
    if not any(runs):
        return {}
    mixed = _differing(runs, _QUANTITY)
    if mixed:
        raise ValueError(
            f"Expected affinities of one kind for `{how}`: numbers of different kinds have no "
            f"common mean. Received: {mixed}."
        )
    mixed = {**_differing(runs, _SIZE), **_differing_losses(runs)}
    if mixed:
        warnings.warn(
            f"`{how}` of affinities that were measured with different settings: {mixed}. Sizes of "
            "affinities depend on them; what differs between the runs is then not chance alone.",
            stacklevel=4,
        )
    return {"runs": runs}


def _differing(runs: list[dict[str, Any]], names: Sequence[str]) -> dict[str, list[Any]]:
    """Setting -> its values, where they differ among the runs that know them."""
    found = {}
    for name in names:
        known = [run["settings"][name] for run in runs if name in run.get("settings", {})]
        values = [value for i, value in enumerate(known) if value not in known[:i]]
        if len(values) > 1:
            found[name] = values
    return found


def _differing_losses(runs: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """The same for the losses of tasks that several runs have."""
    by_task: dict[str, list[Any]] = {}
    for run in runs:
        for task, loss in (run.get("settings", {}).get("losses") or {}).items():
            if loss not in by_task.setdefault(task, []):
                by_task[task].append(loss)
    return {f"loss of {task!r}": losses for task, losses in by_task.items() if len(losses) > 1}
