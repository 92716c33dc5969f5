"""`njit` for modules that describe something as well as compute it: numba is imported when a function is first used.

A list that the schema of system.yaml is made from must be read without numba, which takes longer to import than a file
takes to check. Functions of such modules may call each other, and compiled functions anywhere may call them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., Any])


class DeferredFunction:
    """A function that is compiled when it is first called, from Python or from compiled code."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.__wrapped__ = function
        self.__name__, self.__doc__, self.__module__ = function.__name__, function.__doc__, function.__module__

    @cached_property
    def compiled(self) -> Any:
        """The function of numba, kept on disk as all of the package."""
        from mdflash.compiled.jit import njit

        return njit(cache=True, error_model="numpy")(self.__wrapped__)

    @property
    def _numba_type_(self) -> Any:
        """What numba takes this object for where compiled code names it."""
        from numba import typeof

        return typeof(self.compiled)

    def __call__(self, *arguments: Any) -> Any:
        return self.compiled(*arguments)


def njit(function: Function) -> Function:
    """As `compiled.jit.njit` with `cache=True, error_model="numpy"`."""
    return cast(Function, DeferredFunction(function))
