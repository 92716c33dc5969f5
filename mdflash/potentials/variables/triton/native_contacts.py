"""The fraction of native contacts on the device; see `variables.native_contacts`."""

from __future__ import annotations

import triton
import triton.language as tl

from mdflash.compiled.triton.vectors import dot, minus
from mdflash.potentials.variables.triton import entries
from mdflash.potentials.variables.triton.entries import _BLOCK


@triton.jit
def value_gradient(v: tl.core.base_value, b: tl.tensor, x: tl.tensor, g: tl.tensor) -> tl.tensor:
    """Q of variable b; overwrites its g. The two beads of each contact follow each other."""
    constants = v.constants + tl.load(v.constant_at + b)
    beta = tl.load(constants)
    stretch = tl.load(constants + 1)
    first = tl.load(v.first + b)
    contacts = (tl.load(v.first + b + 1) - first) // 2
    total = tl.zeros([_BLOCK], tl.float64)
    for at in range(0, contacts, _BLOCK):
        c, inside = entries.entries(at, contacts)
        m = first + 2 * c
        d = minus(entries.position(v, x, m + 1, inside), entries.position(v, x, m, inside))
        r = tl.sqrt(dot(d, d))
        share = 1.0 / (1.0 + tl.exp(beta * (r - stretch * tl.load(v.weight + m, mask=inside, other=0.0))))
        total += tl.where(inside, share, 0.0)
        slope = tl.where(r > 0.0, -beta * share * (1.0 - share) / contacts / tl.where(r > 0.0, r, 1.0), 0.0)
        entries.store(g, 2 * c, inside, -slope * d[0], -slope * d[1], -slope * d[2])
        entries.store(g, 2 * c + 1, inside, slope * d[0], slope * d[1], slope * d[2])
    return tl.sum(total, axis=0) / contacts
