"""numba's `njit`, with machine code kept by `compiled.cache`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
from numba import prange

from mdflash.compiled.cache import KernelCache

__all__ = ["njit", "prange"]


def njit(function: Callable[..., Any] | None = None, *, cache: bool = False, **options: Any) -> Any:
    """As `numba.njit`; with `cache` the compiled function is kept on disk."""

    def compiled(function: Callable[..., Any]) -> Any:
        dispatcher = numba.njit(**options)(function)
        if cache:
            dispatcher._cache = KernelCache(function, repr(sorted(options.items())))
        return dispatcher

    return compiled if function is None else compiled(function)
