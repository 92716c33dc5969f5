"""The torsion of four centers on the device; see `variables.dihedral`."""

from __future__ import annotations

import triton
import triton.language as tl

from mdflash.compiled.triton.coordinates import torsion, twist
from mdflash.potentials.variables.triton.entries import center, spread


@triton.jit
def value_gradient(v: tl.core.base_value, b: tl.tensor, x: tl.tensor, g: tl.tensor) -> tl.tensor:
    """phi of variable b; overwrites its g, 0 where three centers lie in a line."""
    always = b >= 0
    phi, cosine, _, axis, b2, ab, cb, p, p2, q, q2 = torsion(
        center(v, b, x, 0), center(v, b, x, 1), center(v, b, x, 2), center(v, b, x, 3), always
    )
    slope = 0.0 * cosine - 1.0  # the force is minus the gradient
    for k in tl.static_range(4):
        spread(v, b, twist(k, slope, axis, b2, ab, cb, p, p2, q, q2, always), g, k)
    return phi
