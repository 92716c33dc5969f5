"""Arrays of zeros for compiled functions.

numba compiles what it has for `np.zeros` and `np.empty` again for every caller, two or three functions each, and keeps
none of them on disk. These are compiled once and kept.
"""

from __future__ import annotations

import numpy as np

from mdflash.compiled.jit import njit
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
