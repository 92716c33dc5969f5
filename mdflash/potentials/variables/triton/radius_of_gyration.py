"""The radius of gyration on the device; see `variables.radius_of_gyration`."""

from __future__ import annotations

import triton
import triton.language as tl

from mdflash.compiled.triton.vectors import dot, minus
from mdflash.potentials.variables.triton import entries
from mdflash.potentials.variables.triton.entries import _BLOCK


@triton.jit
def value_gradient(v: tl.core.base_value, b: tl.tensor, x: tl.tensor, g: tl.tensor) -> tl.tensor:
    """q of variable b; overwrites its g."""
    middle = entries.center(v, b, x, 0)
    total = tl.zeros([_BLOCK], tl.float64)
    first = tl.load(v.first + b)
    end = tl.load(v.first + b + 1)
    for at in range(first, end, _BLOCK):
        m, inside = entries.entries(at, end)
        w = tl.load(v.weight + m, mask=inside, other=0.0)
        away = minus(entries.position(v, x, m, inside), middle)
        total += w * dot(away, away)
        entries.store(g, m - first, inside, w * away[0], w * away[1], w * away[2])
    q = tl.sqrt(tl.sum(total, axis=0))
    entries.scale(v, b, g, 1.0 / tl.where(q > 0.0, q, 1.0))
    return q
