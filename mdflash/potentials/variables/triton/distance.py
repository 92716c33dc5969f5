"""The distance of two centers on the device; see `variables.distance`."""

from __future__ import annotations

import triton
import triton.language as tl

from mdflash.compiled.triton.vectors import dot, over
from mdflash.potentials.variables.triton.entries import center, spread


@triton.jit
def _nearest(d: tl.tensor, edge: tl.tensor) -> tl.tensor:
    """A component of the way to the nearest image; edge 0: there is none."""
    return d - edge * tl.floor(d / tl.where(edge > 0.0, edge, 1.0) + 0.5)


@triton.jit
def value_gradient(v: tl.core.base_value, b: tl.tensor, x: tl.tensor, g: tl.tensor) -> tl.tensor:
    """r of variable b; overwrites its g, 0 where the centers are in one place."""
    a = center(v, b, x, 0)
    c = center(v, b, x, 1)
    edges = v.constants + tl.load(v.constant_at + b)
    d = (
        _nearest(c[0] - a[0], tl.load(edges)),
        _nearest(c[1] - a[1], tl.load(edges + 1)),
        _nearest(c[2] - a[2], tl.load(edges + 2)),
    )
    r = tl.sqrt(dot(d, d))
    d = over(d, tl.where(r > 0.0, r, 1.0))
    spread(v, b, (-d[0], -d[1], -d[2]), g, 0)
    spread(v, b, d, g, 1)
    return r
