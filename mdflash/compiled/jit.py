"""numba's decorators, typed, with machine code kept by `compiled.cache`.

A decorated function keeps its Python signature, so calls of kernels are type-checked like any others; numba itself
infers types from what a function is called with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar, overload

import numba
import numba.extending
from numba import int64, prange
from numba.core.compiler import Compiler

from mdflash.compiled.cache import KernelCache
from mdflash.compiled.dispatcher import KernelDispatcher
from mdflash.compiled.names import NamedByContent
from mdflash.compiled.processor import target, use_level
from mdflash.compiled.progress import compilation
from mdflash.compiled.units import UnitDispatcher

__all__ = ["compilation", "int64", "intrinsic", "make_ready", "njit", "prange"]

use_level()
target()

Function = TypeVar("Function", bound=Callable[..., Any])
Arguments = ParamSpec("Arguments")


@overload
def njit(function: Function) -> Function: ...
@overload
def njit(
    *, cache: bool = False, unit: bool = False, borrow: bool = False, **options: Any
) -> Callable[[Function], Function]: ...
def njit(
    function: Callable[..., Any] | None = None,
    *,
    cache: bool = False,
    unit: bool = False,
    borrow: bool = False,
    **options: Any,
) -> Any:
    """As `numba.njit`; with `cache` the compiled function is kept on disk, with `unit` callers do not link it.

    With `borrow` it counts no references to arrays: it makes none, and what other functions return to it, it gives back
    by `arrays.release`. numba counts those of all arguments at every call, by instructions that lock memory.
    """

    def compiled(function: Callable[..., Any]) -> Any:
        compiler = NamedByContent if cache else Compiler
        settings = {"nopython": True, "boundscheck": None, "_nrt": not borrow, **options}  # (else that of the caller)
        dispatcher = (UnitDispatcher if unit else KernelDispatcher)(
            function, targetoptions=settings, pipeline_class=compiler
        )
        if cache:
            dispatcher._cache = KernelCache(function, repr(sorted(options.items()) + ["borrow"] * borrow))
        return dispatcher

    return compiled if function is None else compiled(function)


def make_ready(function: Callable[..., Any], *arguments: object) -> None:
    """Compile a function, or load it from the disk, for arguments of these types; it is not called."""
    dispatcher: Any = function
    dispatcher.compile(tuple(numba.typeof(argument) for argument in arguments))


Result = TypeVar("Result")
Build = Callable[Concatenate[Any, Arguments], tuple[Any, Callable[..., Result]]]
"""From the typing context and numba's types of the arguments: the signature, and what generates the code."""


@overload
def intrinsic(build: Build[Arguments, Result]) -> Callable[Arguments, Result]: ...
@overload
def intrinsic(*, prefer_literal: bool) -> Callable[[Build[Arguments, Result]], Callable[Arguments, Result]]: ...
def intrinsic(build: Callable[..., Any] | None = None, **options: Any) -> Any:
    """As `numba.extending.intrinsic`; callers see the result that the code generator declares."""
    made = numba.extending.intrinsic(**options) if options else numba.extending.intrinsic
    return made if build is None else made(build)
