"""Which versions made a file."""

from importlib.metadata import PackageNotFoundError, version

_PACKAGES = ("keras", "tensorflow", "numpy", "ortools")


def versions() -> dict[str, str]:
    """Package name -> version; nothing is imported, and what is not installed is left out."""
    from keras_tag import __version__

    found = {"keras_tag": __version__}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # Or installed under another name, such as tf-nightly.
            continue
    return found
