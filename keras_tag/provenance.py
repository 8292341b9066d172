"""Versions of the packages that a file was made with."""

from importlib.metadata import PackageNotFoundError, version

_PACKAGES = ("keras", "tensorflow", "numpy", "ortools")


def versions() -> dict[str, str]:
    """Return package name -> installed version, from the packages' metadata.

    No package is imported. A package that is not installed under its own name (tf-nightly instead
    of tensorflow) is left out. The version of keras_tag is "0+unknown" in a source checkout that
    was never installed.

    Returns:
        The versions of keras_tag, keras, tensorflow, numpy and ortools.
    """
    found = {"keras_tag": "0+unknown"}
    for package in ("keras_tag", *_PACKAGES):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
