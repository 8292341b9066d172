"""The name of a loss with its settings, by which losses can be told apart."""

from typing import Any

import keras


def named_with_settings(loss: Any) -> str:
    """Return the name of a loss; with its numbers, such as a delta, where it is a `Loss` with some.

    Args:
        loss: What was given to `compile(loss=...)` for one task.
    """
    if not isinstance(loss, keras.losses.Loss):
        return str(loss if isinstance(loss, str) else getattr(loss, "name", type(loss).__name__))
    # Not from its configuration: that of `Huber` lacks delta.
    attributes = {**vars(loss), **getattr(loss, "_fn_kwargs", {})}
    settings = {
        name: value
        for name, value in sorted(attributes.items())
        if isinstance(value, bool | int | float) and not name.startswith("__")
    }
    return f"{loss.name} {settings}"
