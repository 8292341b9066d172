"""Compilation of numerical functions with numba."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Compile a function at its first call, cached on disk where that is possible.

    Compiling takes some seconds once per machine; where neither the package's folder nor the
    user's cache folder can be written, once per process. numba compiles a function once more for
    every constant among its arguments (a literal 0 is a type of its own): pass variables.
    """
    options = {"error_model": "numpy"}
    try:
        return cast(Function, njit(cache=True, **options)(function))
    except RuntimeError:
        return cast(Function, njit(**options)(function))
