"""Vectors in Triton: rows of [.., 3] arrays, as three tensors."""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def load_row(x, i):
    """Row i of a [.., 3] array, one number each."""
    return tl.load(x + 3 * i), tl.load(x + 3 * i + 1), tl.load(x + 3 * i + 2)


@triton.jit
def load_vector(x, i, mask):
    """The rows i of a [.., 3] array, as three tensors."""
    return (
        tl.load(x + 3 * i, mask=mask, other=0.0),
        tl.load(x + 3 * i + 1, mask=mask, other=0.0),
        tl.load(x + 3 * i + 2, mask=mask, other=0.0),
    )


@triton.jit
def cross(ax, ay, az, bx, by, bz):
    return ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
