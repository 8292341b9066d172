"""Provenance of files: the versions and settings that made them, as plain JSON types."""

import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

_PACKAGES = ("keras_tag", "keras", "tensorflow", "numpy", "ortools")


def versions() -> dict[str, str]:
    """Return package name -> version of every package that is installed; nothing is imported.

    The version of keras_tag is "0+unknown" in a source checkout that was never installed.
    """
    found = {"keras_tag": "0+unknown"}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # Or it is installed under another name, such as tf-nightly.
            continue
    return found


def made_with(settings: Mapping[str, Any], source: Any = None) -> dict[str, Any]:
    """Return the metadata of a result.

    Args:
        settings: Argument name -> value.
        source: What the result was made from: an object whose `metadata` are passed on, if it has
            any.

    Returns:
        "versions", "settings" and, if the source has metadata, "affinity"; plain JSON types.
    """
    found = {
        "versions": versions(),
        "settings": {name: as_json(value) for name, value in settings.items()},
    }
    known = getattr(source, "metadata", {})
    return {**found, "affinity": known} if known else found


def as_json(value: Any) -> Any:
    """Return a value as plain JSON types; what JSON can't hold becomes what it prints as."""
    if callable(value):  # Its repr is another in every process.
        return getattr(value, "__qualname__", type(value).__name__)
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError):
        return repr(value)
