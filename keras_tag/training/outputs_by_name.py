"""The arguments that a user gives by output, as a dict or a list, under the outputs' names."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from keras_tag.task_names import check_different


def outputs_by_name(outputs: Any, output_names: Sequence[str] | None) -> dict[str, Any]:
    """Return a model's outputs by name.

    Args:
        outputs: A dict or list of tensors, or of anything with a shape, or a single one.
        output_names: The names of a list; ignored for a dict.

    Raises:
        ValueError: Nested outputs, names that are no strings, or two outputs of one name.
    """
    if isinstance(outputs, Mapping):
        names, leaves = list(outputs), list(outputs.values())
        if not all(isinstance(name, str) for name in names):
            raise ValueError(
                f"Expected outputs that are named by strings. Received: {names}. Return a dict "
                "{task: output} whose keys are strings."
            )
    elif isinstance(outputs, (list, tuple)):
        leaves = list(outputs)
        names = list(output_names or [f"output_{i}" for i in range(len(leaves))])
    else:
        names, leaves = list(output_names or ["output"]), [outputs]
    if nested := [n for n, o in zip(names, leaves, strict=True) if keras.tree.is_nested(o)]:
        raise ValueError(
            "Expected a flat dict or list of outputs, one per task. Received nested outputs under "
            f"{nested}. Return one flat dict {{task: output}}."
        )
    names = [str(name) for name in names]
    check_different(names)
    return dict(zip(names, leaves, strict=True))


def by_output(
    structure: Any, names: Sequence[str], outputs: Any, what: str, *, spread: bool = False
) -> dict[str, Any]:
    """Return a structure given by the user as `{output name: entry}`, absent ones None.

    Args:
        structure: What was given: a dict, a list, or one entry.
        names: The outputs.
        outputs: The model's output, which says in which order a list is.
        what: The name of the argument, for errors.
        spread: Give one value to every output, as Keras does for a single loss or weight.

    Raises:
        ValueError: Losses of unknown outputs, a list of another length, one entry for several.
    """
    if isinstance(structure, Mapping):
        unknown = [key for key in structure if key not in names]
        if unknown and what == "loss":
            raise ValueError(
                f"Expected `loss` to name the model's outputs {list(names)}. Received unknown "
                f"names: {unknown}."
            )
        return {name: structure.get(name) for name in names}
    if isinstance(structure, (list, tuple)):
        if len(structure) != len(names):
            raise ValueError(
                f"Expected `{what}` to have an entry for each of the outputs {list(names)}. "
                f"Received {len(structure)} entries."
            )
        if isinstance(outputs, Mapping):
            # Keras pairs a list with a dict of outputs in the order of the sorted keys.
            return dict(zip(sorted(names), structure, strict=True))
        return dict(zip(names, structure, strict=True))
    if spread or len(names) == 1:
        return dict.fromkeys(names, structure)
    raise ValueError(
        f"Expected `{what}` to be a dict or list with an entry for each of the outputs "
        f"{list(names)}. Received: {type(structure).__name__}."
    )
