"""Checks of the model that a callback of `TAGModel` is given."""

from typing import Any


def check_tag_model(model: Any, name: str) -> None:
    """Raise for a model that measures no affinity.

    Args:
        model: The model in `fit`.
        name: The callback's.

    Raises:
        ValueError: Not a `TAGModel`.
    """
    if not hasattr(model, "pause_probing"):
        raise ValueError(
            f"Expected {name} to be a callback of a keras_tag.TAGModel. Received: model={model!r}. "
            "Wrap the joint model: keras_tag.TAGModel(model)."
        )
