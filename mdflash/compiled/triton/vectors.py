"""Vectors in Triton: tuples of three tensors, and rows of [.., 3] arrays as such."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def load_row(x: tl.tensor, i: tl.core.base_value) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Row i of a [.., 3] array, one number each."""
    return tl.load(x + 3 * i), tl.load(x + 3 * i + 1), tl.load(x + 3 * i + 2)


@triton.jit
def load_vector(x: tl.tensor, i: tl.tensor, mask: tl.tensor) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """The rows i of a [.., 3] array, as three tensors."""
    return (
        tl.load(x + 3 * i, mask=mask, other=0.0),
        tl.load(x + 3 * i + 1, mask=mask, other=0.0),
        tl.load(x + 3 * i + 2, mask=mask, other=0.0),
    )


@triton.jit
def minus(a: tl.tuple, b: tl.tuple) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """a - b."""
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


@triton.jit
def dot(a: tl.tuple, b: tl.tuple) -> tl.tensor:
    """a . b."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@triton.jit
def cross(a: tl.tuple, b: tl.tuple) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """a x b."""
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


@triton.jit
def over(a: tl.tuple, s: tl.tensor) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """a / s."""
    return a[0] / s, a[1] / s, a[2] / s


@triton.jit
def length(a: tl.tuple, inside: tl.tensor) -> tl.tensor:
    """|a|, and 1 in the lanes that hold nothing."""
    return tl.where(inside, tl.sqrt(dot(a, a)), 1.0)
