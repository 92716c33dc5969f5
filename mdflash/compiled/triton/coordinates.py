"""Internal coordinates of beads in Triton; definitions as in `compiled.coordinates`."""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators

from __future__ import annotations

import triton
import triton.language as tl

_PI = tl.constexpr(3.141592653589793)


@triton.jit
def atan2(y, x):
    """The angle of (x, y) in float64, rad in [-pi, pi]; atan2(0, 0) = 0. Cephes, atan.c."""
    ax = tl.abs(x)
    ay = tl.abs(y)
    longer = tl.maximum(ax, ay)
    r = tl.minimum(ax, ay) / tl.where(longer > 0, longer, 1.0)
    far = r > 0.66
    s = tl.where(far, (r - 1.0) / (r + 1.0), r)
    z = s * s
    p = (-8.750608600031904122785e-1 * z - 1.615753718733365076637e1) * z - 7.500855792314704667340e1
    p = (p * z - 1.228866684490136173410e2) * z - 6.485021904942025371773e1
    q = ((z + 2.485846490142306297962e1) * z + 1.650270098316988542046e2) * z + 4.328810604912902668951e2
    q = (q * z + 4.853903996359136964868e2) * z + 1.945506571482613964425e2
    a = s + s * z * (p / q)
    a = tl.where(far, a + 0.25 * _PI, a)
    a = tl.where(ay > ax, 0.5 * _PI - a, a)
    a = tl.where(x < 0, _PI - a, a)
    return tl.where(y < 0, -a, a)
