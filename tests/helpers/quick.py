"""Parameters of a test, most of them left to CI."""

import pytest


def quick(every, chosen):
    """Return `every` as parameters; those that are not among the chosen are marked as slow."""
    return [
        pytest.param(
            *(one if isinstance(one, tuple) else (one,)),
            marks=[] if one in chosen else pytest.mark.slow,
        )
        for one in every
    ]
