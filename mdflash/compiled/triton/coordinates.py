"""Internal coordinates of beads in Triton; definitions as in `compiled.coordinates`."""

from __future__ import annotations

import triton
import triton.language as tl

from mdflash.compiled.triton.vectors import cross, dot, length, minus, over

_PI = tl.constexpr(3.141592653589793)
STRAIGHT = tl.constexpr(1e-12)
_STRAIGHT_FLOAT32 = tl.constexpr(1e-6)


@triton.jit
def straight(v: tl.tensor) -> tl.tensor:
    """The sine below which an angle is straight, in the arithmetic of v: what is left of its plane is rounding."""
    return v * 0.0 + (_STRAIGHT_FLOAT32 if v.dtype == tl.float32 else STRAIGHT)  # type: ignore[no-any-return]


@triton.jit
def atan2(y: tl.tensor, x: tl.tensor) -> tl.tensor:
    """The angle of (x, y), rad in [-pi, pi]; atan2(0, 0) = 0. Cephes, atan.c."""
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


@triton.jit
def arms(
    xi: tl.tuple, xj: tl.tuple, xk: tl.tuple, inside: tl.tensor
) -> tuple[
    tl.tensor, tl.tensor, tl.tensor, tuple[tl.tensor, tl.tensor, tl.tensor], tuple[tl.tensor, tl.tensor, tl.tensor]
]:
    """The angle at j: its cosine, the lengths of its arms, and the unit vectors along them."""
    a = minus(xi, xj)
    b = minus(xk, xj)
    la = length(a, inside)
    lb = length(b, inside)
    a = over(a, la)
    b = over(b, lb)
    return dot(a, b), la, lb, a, b


@triton.jit
def angle(cosine: tl.tensor, a: tl.tuple, b: tl.tuple, inside: tl.tensor) -> tuple[tl.tensor, tl.tensor]:
    """theta, rad in [0, pi], and its sine."""
    sine = length(cross(a, b), inside)
    return atan2(sine, cosine), sine


@triton.jit
def bend(
    who: tl.tensor,
    slope: tl.tensor,
    cosine: tl.tensor,
    la: tl.tensor,
    lb: tl.tensor,
    a: tl.tuple,
    b: tl.tuple,
    inside: tl.tensor,
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """The force of u on bead `who` of an angle, where it is inside; slope = du/d(cosine)."""
    # on i: -slope/la (b - c a), on k: -slope/lb (a - c b), on j: minus both
    gi = tl.where(inside & (who != 2), tl.where(who == 0, -slope, slope) / la, 0.0)
    gk = tl.where(inside & (who != 0), tl.where(who == 2, -slope, slope) / lb, 0.0)
    return (
        gi * (b[0] - cosine * a[0]) + gk * (a[0] - cosine * b[0]),
        gi * (b[1] - cosine * a[1]) + gk * (a[1] - cosine * b[1]),
        gi * (b[2] - cosine * a[2]) + gk * (a[2] - cosine * b[2]),
    )


@triton.jit
def torsion(
    xi: tl.tuple, xj: tl.tuple, xk: tl.tuple, xl: tl.tuple, inside: tl.tensor,
) -> tuple[
    tl.tensor, tl.tensor, tl.tensor, tl.tensor, tl.tensor, tl.tensor, tl.tensor,
    tuple[tl.tensor, tl.tensor, tl.tensor], tl.tensor, tuple[tl.tensor, tl.tensor, tl.tensor], tl.tensor,
]:  # fmt: skip
    """phi, its cosine and sine; and what `twist` reads: |b|, b.b, a.b, c.b, and the plane normals p, q with p.p, q.q.

    a, b, c are the bonds along the chain; p = a x b, q = b x c.
    """
    a = minus(xj, xi)
    b = minus(xk, xj)
    c = minus(xl, xk)
    p = cross(a, b)
    q = cross(b, c)
    b2 = tl.where(inside, dot(b, b), 1.0)
    p2 = tl.where(inside, dot(p, p), 1.0)
    q2 = tl.where(inside, dot(q, q), 1.0)
    axis = tl.sqrt(b2)
    along = tl.where(inside, dot(p, q), 1.0)
    across = axis * dot(a, q)
    radius = tl.sqrt(along * along + across * across)
    plane = radius > 0.0  # none where three beads lie in a line: phi is 0 there
    return (
        atan2(across, along), tl.where(plane, along / radius, 1.0), tl.where(plane, across / radius, 0.0),
        axis, b2, dot(a, b), dot(c, b), p, p2, q, q2,
    )  # fmt: skip


@triton.jit
def twist(
    who: tl.tensor,
    slope: tl.tensor,
    axis: tl.tensor,
    b2: tl.tensor,
    ab: tl.tensor,
    cb: tl.tensor,
    p: tl.tuple,
    p2: tl.tensor,
    q: tl.tuple,
    q2: tl.tensor,
    inside: tl.tensor,
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """The force of u on bead `who` of a torsion, where it is inside; slope = du/d(phi)."""
    # dphi/dx_i = -|b| p/p^2, dphi/dx_l = |b| q/q^2; the middle beads share the rest (Blondel & Karplus)
    gi = -slope * axis / p2
    gl = slope * axis / q2
    least = straight(p2) * straight(p2)
    inside = inside & (p2 > least) & (q2 > least)
    s12 = ab / b2
    s32 = cb / b2
    wi = tl.where(who == 0, -1.0, tl.where(who == 1, 1.0 + s12, tl.where(who == 2, -s12, 0.0)))
    wl = tl.where(who == 3, -1.0, tl.where(who == 2, 1.0 + s32, tl.where(who == 1, -s32, 0.0)))
    wi = tl.where(inside, wi * gi, 0.0)
    wl = tl.where(inside, wl * gl, 0.0)
    return wi * p[0] + wl * q[0], wi * p[1] + wl * q[1], wi * p[2] + wl * q[2]
