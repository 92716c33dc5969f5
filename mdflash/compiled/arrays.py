"""Arrays of zeros for compiled functions.

numba compiles what it has for `np.zeros` and `np.empty` again for every caller, two or three functions each, and keeps
none of them on disk. These are compiled once and kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types
from numba.core.runtime.context import NRTContext

from mdflash.compiled.jit import intrinsic, njit
from mdflash.core.types import FloatArray, IntArray


@njit(cache=True)
def integers(n: int) -> IntArray:
    """[n] zeros."""
    return np.zeros(n, np.int64)


@njit(cache=True)
def numbers(n: int) -> FloatArray:
    """[n] zeros."""
    return np.zeros(n)


@njit(cache=True)
def vectors(n: int) -> FloatArray:
    """[n, 3] zeros."""
    return np.zeros((n, 3))


@intrinsic
def release(typing_context: Any, array: Any) -> tuple[Any, Callable[..., None]]:
    """Give an array back that a function returned to one which counts no references; the last that is done with it."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        NRTContext(context, True).decref(builder, signature.args[0], args[0])
        return context.get_dummy_value()

    return types.void(array), generate
