"""Parameters of a test, most of them left to CI."""

import pytest


def quick(every, chosen, nightly=()):
    """Return `every` as parameters; those that are not among the chosen are slow or nightly."""

    def marks(one):
        if one in chosen:
            return []
        return pytest.mark.nightly if one in nightly else pytest.mark.slow

    return [
        pytest.param(*(one if isinstance(one, tuple) else (one,)), marks=marks(one))
        for one in every
    ]
