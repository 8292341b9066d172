"""What a choice of groups was made with: the metadata of a `Grouping`."""

import json
from collections.abc import Mapping
from typing import Any

from keras_tag.provenance import versions


def chosen_with(affinity: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Versions, the arguments of the choice, and what the affinities say of themselves.

    Args:
        affinity: An `Affinity`, or `GroupScores`.
        settings: Argument name -> value.

    Returns:
        "versions", "settings" and, if it is known, "affinity"; plain JSON types.
    """
    plain = {name: _plain(value) for name, value in settings.items()}
    found = {"versions": versions(), "settings": plain}
    measured = getattr(affinity, "metadata", {})
    return {**found, "affinity": measured} if measured else found


def _plain(value: Any) -> Any:
    if callable(value):  # Its repr is another in every process.
        return getattr(value, "__qualname__", type(value).__name__)
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError):
        return repr(value)
