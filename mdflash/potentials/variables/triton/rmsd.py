"""The distance from a structure, superposed, on the device; see `variables.rmsd`."""

from __future__ import annotations

import triton
import triton.language as tl

from mdflash.compiled.triton.vectors import dot, load_vector, minus
from mdflash.potentials.variables.triton import entries
from mdflash.potentials.variables.triton.entries import _BLOCK
from mdflash.potentials.variables.triton.superposition import superposition


@triton.jit
def _sums(
    v: tl.core.base_value, b: tl.tensor, x: tl.tensor, middle: tl.tuple, ROW: tl.constexpr
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """A row of s = sum of reference_a (x - middle)_b."""
    sx = tl.zeros([_BLOCK], tl.float64)
    sy = tl.zeros([_BLOCK], tl.float64)
    sz = tl.zeros([_BLOCK], tl.float64)
    end = tl.load(v.first + b + 1)
    for at in range(tl.load(v.first + b), end, _BLOCK):
        m, inside = entries.entries(at, end)
        away = minus(entries.position(v, x, m, inside), middle)
        ref = tl.load(v.reference + 3 * m + ROW, mask=inside, other=0.0)
        sx += ref * away[0]
        sy += ref * away[1]
        sz += ref * away[2]
    return tl.sum(sx, axis=0), tl.sum(sy, axis=0), tl.sum(sz, axis=0)


@triton.jit
def value_gradient(v: tl.core.base_value, b: tl.tensor, x: tl.tensor, g: tl.tensor) -> tl.tensor:
    """q of variable b; overwrites its g."""
    middle = entries.center(v, b, x, 0)
    s0 = _sums(v, b, x, middle, 0)
    s1 = _sums(v, b, x, middle, 1)
    s2 = _sums(v, b, x, middle, 2)
    r = superposition(s0[0], s0[1], s0[2], s1[0], s1[1], s1[2], s2[0], s2[1], s2[2])
    total = tl.zeros([_BLOCK], tl.float64)
    first = tl.load(v.first + b)
    end = tl.load(v.first + b + 1)
    for at in range(first, end, _BLOCK):
        m, inside = entries.entries(at, end)
        ref = load_vector(v.reference, m, inside)
        there = minus(entries.position(v, x, m, inside), middle)
        turned = (
            r[0] * ref[0] + r[1] * ref[1] + r[2] * ref[2],
            r[3] * ref[0] + r[4] * ref[1] + r[5] * ref[2],
            r[6] * ref[0] + r[7] * ref[1] + r[8] * ref[2],
        )
        away = minus(there, turned)
        total += tl.where(inside, dot(away, away), 0.0)
        entries.store(g, m - first, inside, away[0], away[1], away[2])
    n = end - first
    q = tl.sqrt(tl.sum(total, axis=0) / n)
    entries.scale(v, b, g, 1.0 / tl.where(q > 0.0, n * q, 1.0))
    return q
