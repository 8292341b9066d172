"""The test of whether something is Keras's own."""

from typing import Any

_FAMILY = ("keras", "keras_hub", "keras_rs", "keras_tag")


def is_of_keras(thing: Any) -> bool:
    """Return whether a class, function or object is from Keras, a library of its family or here.

    Args:
        thing: Anything; of an object its class counts.
    """
    return str(getattr(thing, "__module__", "")).partition(".")[0] in _FAMILY
