"""The angle of three centers on the device; see `variables.angle`."""

from __future__ import annotations

import triton
import triton.language as tl

from mdflash.compiled.triton.coordinates import angle, arms, bend
from mdflash.potentials.variables.triton.entries import center, spread


@triton.jit
def value_gradient(v: tl.core.base_value, b: tl.tensor, x: tl.tensor, g: tl.tensor) -> tl.tensor:
    """theta of variable b; overwrites its g, 0 where it is straight."""
    always = b >= 0
    cosine, la, lb, p, q = arms(center(v, b, x, 0), center(v, b, x, 1), center(v, b, x, 2), always)
    theta, sine = angle(cosine, p, q, always)
    slope = tl.where(sine > 0.0, 1.0 / tl.where(sine > 0.0, sine, 1.0), 0.0)  # the force is minus the gradient
    for k in tl.static_range(3):
        spread(v, b, bend(k, slope, cosine, la, lb, p, q, always), g, k)
    return theta
