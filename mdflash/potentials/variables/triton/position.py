"""How far beads are from fixed points, on the device; see `variables.position`."""

from __future__ import annotations

import triton
import triton.language as tl

from mdflash.compiled.triton.vectors import load_vector, minus
from mdflash.potentials.variables.triton import entries
from mdflash.potentials.variables.triton.entries import _BLOCK


@triton.jit
def value_gradient(v: tl.core.base_value, b: tl.tensor, x: tl.tensor, g: tl.tensor) -> tl.tensor:
    """q of variable b; overwrites its g."""
    total = tl.zeros([_BLOCK], tl.float64)
    first = tl.load(v.first + b)
    end = tl.load(v.first + b + 1)
    for at in range(first, end, _BLOCK):
        m, inside = entries.entries(at, end)
        away = minus(entries.position(v, x, m, inside), load_vector(v.reference, m, inside))
        total += away[0] * away[0] + away[1] * away[1] + away[2] * away[2]
        entries.store(g, m - first, inside, away[0], away[1], away[2])
    q = tl.sqrt(tl.sum(total, axis=0))
    entries.scale(v, b, g, 1.0 / tl.where(q > 0.0, q, 1.0))
    return q
