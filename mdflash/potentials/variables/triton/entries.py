"""The beads of a variable as its kernel reads them: M entries, taken `BLOCK` at a time by one program, in float64."""

from __future__ import annotations

from typing import NamedTuple

import triton
import triton.language as tl
from torch import Tensor

from mdflash.compiled.triton.vectors import load_vector

_BLOCK = tl.constexpr(128)  # always the same: the order of a sum does not depend on how many there are


class Variables(NamedTuple):
    """n variables with M entries in all, on the device; see `VariableArrays` and `bias.cpu.Biases`.

    Attributes:
        first: [n + 1] int32; variable b has the entries first[b]:first[b + 1].
        beads: [M] int32, counted within the molecule.
        weight: [M] float64.
        reference: [M, 3] float64 Å.
        start: [n, 5] int32; group k of variable b has its entries start[b, k]:start[b, k + 1].
        constant_at: [n] int32 where the constants of a variable begin.
        constants: float64, three or more of each variable.
    """

    first: Tensor
    beads: Tensor
    weight: Tensor
    reference: Tensor
    start: Tensor
    constant_at: Tensor
    constants: Tensor


@triton.jit
def entries(at: int, end: tl.tensor) -> tuple[tl.tensor, tl.tensor]:
    """[BLOCK] entries from `at` on, and which of them are before `end`."""
    m = at + tl.arange(0, _BLOCK)
    return m, m < end


@triton.jit
def position(
    v: tl.core.base_value, x: tl.tensor, m: tl.tensor, inside: tl.tensor
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Where the beads of entries are; x points to the molecule's positions."""
    return load_vector(x, tl.load(v.beads + m, mask=inside, other=0), inside)


@triton.jit
def store(g: tl.tensor, m: tl.tensor, inside: tl.tensor, gx: tl.tensor, gy: tl.tensor, gz: tl.tensor) -> None:
    """Write the gradient of entries; g points to that of entry 0."""
    tl.store(g + 3 * m, gx, mask=inside)
    tl.store(g + 3 * m + 1, gy, mask=inside)
    tl.store(g + 3 * m + 2, gz, mask=inside)


@triton.jit
def center(
    v: tl.core.base_value, b: tl.tensor, x: tl.tensor, K: tl.constexpr
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """The weighted center of group K."""
    cx = tl.zeros([_BLOCK], tl.float64)
    cy = tl.zeros([_BLOCK], tl.float64)
    cz = tl.zeros([_BLOCK], tl.float64)
    first = tl.load(v.first + b)
    end = first + tl.load(v.start + 5 * b + K + 1)
    for at in range(first + tl.load(v.start + 5 * b + K), end, _BLOCK):
        m, inside = entries(at, end)
        w = tl.load(v.weight + m, mask=inside, other=0.0)
        p = position(v, x, m, inside)
        cx += w * p[0]
        cy += w * p[1]
        cz += w * p[2]
    return tl.sum(cx, axis=0), tl.sum(cy, axis=0), tl.sum(cz, axis=0)


@triton.jit
def spread(v: tl.core.base_value, b: tl.tensor, slope: tl.tuple, g: tl.tensor, K: tl.constexpr) -> None:
    """From dq/d(center) of group K to the gradient of its entries."""
    first = tl.load(v.first + b)
    end = first + tl.load(v.start + 5 * b + K + 1)
    for at in range(first + tl.load(v.start + 5 * b + K), end, _BLOCK):
        m, inside = entries(at, end)
        w = tl.load(v.weight + m, mask=inside, other=0.0)
        store(g, m - first, inside, w * slope[0], w * slope[1], w * slope[2])


@triton.jit
def scale(v: tl.core.base_value, b: tl.tensor, g: tl.tensor, factor: tl.tensor) -> None:
    """Multiply the gradient of every entry, in the program that has stored it."""
    tl.debug_barrier()  # another thread may have stored it
    first = tl.load(v.first + b)
    end = tl.load(v.first + b + 1)
    for at in range(first, end, _BLOCK):
        m, inside = entries(at, end)
        p = load_vector(g, m - first, inside)
        store(g, m - first, inside, factor * p[0], factor * p[1], factor * p[2])
