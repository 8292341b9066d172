"""Compile a numerical function with numba, keeping its type."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """The function, compiled at its first call.

    Nothing is cached on disk: a package folder need not be writable, and a stale or shared cache
    is a worse trouble than a few seconds once per process.
    """
    return cast(Function, njit(function))
