"""Internal coordinates of beads and the forces along them, compiled.

Each coordinate has a measurement from positions [N, 3] and, for a function u of it, the forces -u' dq/dx added to an
array [N, 3]:

* distance r = |x1 - x0|:      dr/dx1 = (x1 - x0)/r
* c = cos(theta) of 0-1-2, unit vectors a along x0 - x1, b along x2 - x1:
  dc/dx0 = (b - c a)/|x0 - x1|, dc/dx2 = (a - c b)/|x2 - x1|
* theta:  d(theta) = -d(cos)/sin
* phi:    Blondel & Karplus, J. Comput. Chem. 17, 1132 (1996), without singularities but at a straight angle

At a straight angle, theta and phi have no direction to pull in, and pull nowhere, as in the torch reference.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from mdflash.compiled.jit import njit
from mdflash.core.types import FloatArray

STRAIGHT = 1e-12
"""An angle of a smaller sine is straight: what is left of its plane is rounding."""


class Separation(NamedTuple):
    """From one bead to another: x, y, z in Å and their sum of squares."""

    square: float
    x: float
    y: float
    z: float


class Arms(NamedTuple):
    """An angle 0-1-2: its cosine, the lengths of its arms in Å, and the unit vectors a and b along them."""

    cosine: float
    length_a: float
    length_b: float
    ax: float
    ay: float
    az: float
    bx: float
    by: float
    bz: float


class Torsion(NamedTuple):
    """A torsion 0-1-2-3 with the bonds b1, b2, b3 and the plane normals m = b1 x b2, n = b2 x b3.

    Attributes:
        phi: rad in (-pi, pi], MDTraj's sign.
        axis: |b2|.
        before, after: b1.b2 and b3.b2, each over b2.b2.
        m2, n2: m.m and n.n.
        mx, my, mz, nx, ny, nz: m and n.
    """

    phi: float
    axis: float
    before: float
    after: float
    m2: float
    n2: float
    mx: float
    my: float
    mz: float
    nx: float
    ny: float
    nz: float


@njit(inline="always")
def separation(x: FloatArray, i: int, j: int) -> Separation:
    """From bead i to bead j."""
    dx = x[j, 0] - x[i, 0]
    dy = x[j, 1] - x[i, 1]
    dz = x[j, 2] - x[i, 2]
    return Separation(dx * dx + dy * dy + dz * dz, dx, dy, dz)


@njit(inline="always")
def add_pull(f: FloatArray, i: int, j: int, d: Separation, pull: float) -> None:
    """Forces of u(r) on the two beads of d; pull = (du/dr)/r."""
    f[i, 0] += pull * d.x
    f[i, 1] += pull * d.y
    f[i, 2] += pull * d.z
    f[j, 0] -= pull * d.x
    f[j, 1] -= pull * d.y
    f[j, 2] -= pull * d.z


@njit(inline="always")
def arms(x: FloatArray, i: int, j: int, k: int) -> Arms:
    """The angle at the middle bead j."""
    ax, ay, az = x[i, 0] - x[j, 0], x[i, 1] - x[j, 1], x[i, 2] - x[j, 2]
    bx, by, bz = x[k, 0] - x[j, 0], x[k, 1] - x[j, 1], x[k, 2] - x[j, 2]
    la = math.sqrt(ax * ax + ay * ay + az * az)
    lb = math.sqrt(bx * bx + by * by + bz * bz)
    ax /= la
    ay /= la
    az /= la
    bx /= lb
    by /= lb
    bz /= lb
    return Arms(ax * bx + ay * by + az * bz, la, lb, ax, ay, az, bx, by, bz)


@njit(inline="always")
def angle(a: Arms) -> tuple[float, float]:
    """theta, rad in [0, pi], and its sine."""
    wx, wy, wz = a.ay * a.bz - a.az * a.by, a.az * a.bx - a.ax * a.bz, a.ax * a.by - a.ay * a.bx
    sine = math.sqrt(wx * wx + wy * wy + wz * wz)
    return math.atan2(sine, a.cosine), sine


@njit(inline="always")
def add_bend(f: FloatArray, i: int, j: int, k: int, a: Arms, slope: float) -> None:
    """Forces of u on the three beads of a; slope = du/d(cosine), which is -(du/d(theta))/sine."""
    c = a.cosine
    gi, gk = slope / a.length_a, slope / a.length_b
    fix, fiy, fiz = gi * (a.bx - c * a.ax), gi * (a.by - c * a.ay), gi * (a.bz - c * a.az)
    fkx, fky, fkz = gk * (a.ax - c * a.bx), gk * (a.ay - c * a.by), gk * (a.az - c * a.bz)
    f[i, 0] -= fix
    f[i, 1] -= fiy
    f[i, 2] -= fiz
    f[k, 0] -= fkx
    f[k, 1] -= fky
    f[k, 2] -= fkz
    f[j, 0] += fix + fkx
    f[j, 1] += fiy + fky
    f[j, 2] += fiz + fkz


@njit(inline="always")
def torsion(x: FloatArray, i: int, j: int, k: int, l: int) -> Torsion:  # noqa: E741
    """The dihedral angle of i-j-k-l."""
    b1x, b1y, b1z = x[j, 0] - x[i, 0], x[j, 1] - x[i, 1], x[j, 2] - x[i, 2]
    b2x, b2y, b2z = x[k, 0] - x[j, 0], x[k, 1] - x[j, 1], x[k, 2] - x[j, 2]
    b3x, b3y, b3z = x[l, 0] - x[k, 0], x[l, 1] - x[k, 1], x[l, 2] - x[k, 2]
    mx, my, mz = b1y * b2z - b1z * b2y, b1z * b2x - b1x * b2z, b1x * b2y - b1y * b2x
    nx, ny, nz = b2y * b3z - b2z * b3y, b2z * b3x - b2x * b3z, b2x * b3y - b2y * b3x
    axis = math.sqrt(b2x * b2x + b2y * b2y + b2z * b2z)
    return Torsion(
        math.atan2(axis * (b1x * nx + b1y * ny + b1z * nz), mx * nx + my * ny + mz * nz),
        axis,
        (b1x * b2x + b1y * b2y + b1z * b2z) / (axis * axis),
        (b3x * b2x + b3y * b2y + b3z * b2z) / (axis * axis),
        mx * mx + my * my + mz * mz,
        nx * nx + ny * ny + nz * nz,
        mx,
        my,
        mz,
        nx,
        ny,
        nz,
    )


@njit(inline="always")
def add_twist(f: FloatArray, i: int, j: int, k: int, l: int, t: Torsion, slope: float) -> None:  # noqa: E741
    """Forces of u on the four beads of t; slope = du/d(phi)."""
    if t.m2 <= STRAIGHT * STRAIGHT or t.n2 <= STRAIGHT * STRAIGHT:
        return
    # dphi/dx_i = -|b2| m/m^2, dphi/dx_l = |b2| n/n^2
    gi = -slope * t.axis / t.m2
    gl = slope * t.axis / t.n2
    ix, iy, iz = gi * t.mx, gi * t.my, gi * t.mz
    lx, ly, lz = gl * t.nx, gl * t.ny, gl * t.nz
    tx, ty, tz = t.before * ix - t.after * lx, t.before * iy - t.after * ly, t.before * iz - t.after * lz
    f[i, 0] -= ix
    f[i, 1] -= iy
    f[i, 2] -= iz
    f[l, 0] -= lx
    f[l, 1] -= ly
    f[l, 2] -= lz
    f[j, 0] += ix + tx
    f[j, 1] += iy + ty
    f[j, 2] += iz + tz
    f[k, 0] += lx - tx
    f[k, 1] += ly - ty
    f[k, 2] += lz - tz
