"""Vectors of three components, compiled. Loops over components compile many times faster than array expressions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mdflash.compiled.deferred import njit

if TYPE_CHECKING:
    from mdflash.core.types import FloatArray


@njit
def dot(a: FloatArray, b: FloatArray) -> float:
    """a . b"""
    product: float = a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
    return product


@njit
def between(a: FloatArray, b: FloatArray, out: FloatArray) -> float:
    """out = b - a; returns its length."""
    for d in range(3):
        out[d] = b[d] - a[d]
    return math.sqrt(dot(out, out))


@njit
def cross(a: FloatArray, b: FloatArray, out: FloatArray) -> float:
    """out = a x b; returns its length."""
    out[0] = a[1] * b[2] - a[2] * b[1]
    out[1] = a[2] * b[0] - a[0] * b[2]
    out[2] = a[0] * b[1] - a[1] * b[0]
    return math.sqrt(dot(out, out))


@njit
def divide(g: FloatArray, by: float) -> None:
    """g [M, 3] /= by; as it is where a variable is at its kink, and g is 0."""
    for m in range(g.shape[0]):
        for d in range(3):
            g[m, d] /= by if by > 0.0 else 1.0
