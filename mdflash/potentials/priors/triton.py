"""The priors on a GPU: every listed term and the neighbor-list terms in one kernel, float64, without atomics.

A program owns one bead and gathers the interactions it takes part in (`device.Incidence`, a CSR by bead), each
evaluated in full and only the owner's force kept. The work is done once for each bead of an interaction, but every
sum has one owner and one order. Which forms the kernel is compiled for depends on the systems of the batch; no
multiplication is fused with an addition, so that this changes no bit. Functional forms are in `potentials.forms`.
"""

from __future__ import annotations

import triton
import triton.language as tl

from mdflash.compiled.triton.coordinates import STRAIGHT, angle, arms, bend, torsion, twist
from mdflash.compiled.triton.vectors import length, load_row, load_vector, minus
from mdflash.neighbors.triton import nearest_image
from mdflash.potentials.forms import gpu_angle, gpu_dihedral, gpu_distance, gpu_pair

_DISTANCES = tl.constexpr(64)  # interactions of one bead, taken at a time
_ANGLES = tl.constexpr(16)
_DIHEDRALS = tl.constexpr(16)
_PAIRS = tl.constexpr(64)


@triton.jit
def _columns(table: tl.tensor, at: tl.tensor, inside: tl.tensor, stride: tl.tensor, WIDTH: tl.constexpr) -> tl.tuple:
    """The parameters of interactions, as a form's function reads them; those it does not read are not loaded."""
    p = ()
    for c in tl.static_range(WIDTH):
        p = p + (tl.load(table + c * stride + at, mask=inside, other=0.0),)  # type: ignore[assignment]  # noqa: RUF005
    return p


@triton.jit
def _places(
    x: tl.tensor, origin: tl.tensor, t: tl.core.base_value, m: tl.tensor, inside: tl.tensor, ROLE: tl.constexpr
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Positions of the interactions' beads of one role."""
    return load_vector(x, origin + tl.load(t.beads + ROLE * t.stride + m, mask=inside, other=0), inside)


@triton.jit
def _sums(
    e: tl.tensor, fx: tl.tensor, fy: tl.tensor, fz: tl.tensor
) -> tuple[tl.tensor, tl.tensor, tl.tensor, tl.tensor]:
    return tl.sum(e, axis=0), tl.sum(fx, axis=0), tl.sum(fy, axis=0), tl.sum(fz, axis=0)


@triton.jit
def _distances(
    x: tl.tensor, origin: tl.tensor, bead: tl.tensor, t: tl.core.base_value, OCCUR: tl.constexpr, WIDTH: tl.constexpr
) -> tuple[tl.tensor, tl.tensor, tl.tensor, tl.tensor]:
    """This bead's share of the terms that are functions of a distance: energy and force."""
    e = tl.zeros([_DISTANCES], tl.float64)
    fx = tl.zeros([_DISTANCES], tl.float64)
    fy = tl.zeros([_DISTANCES], tl.float64)
    fz = tl.zeros([_DISTANCES], tl.float64)
    end = tl.load(t.start + bead + 1)
    for k in range(tl.load(t.start + bead), end, _DISTANCES):
        m = k + tl.arange(0, _DISTANCES)
        inside = m < end
        d = minus(_places(x, origin, t, m, inside, 1), _places(x, origin, t, m, inside, 0))
        who = tl.load(t.role + m, mask=inside, other=0)
        code = tl.load(t.code + m, mask=inside, other=0)
        r = length(d, inside)
        u, du = gpu_distance(r, code, _columns(t.parameters, m, inside, t.stride, WIDTH), OCCUR)
        # two beads in one place pull each other nowhere
        g = tl.where(inside & (r > 0.0), tl.where(who == 0, du / r, -du / r), 0.0)
        e += tl.where(inside & (who == 0), u, 0.0)
        fx += g * d[0]
        fy += g * d[1]
        fz += g * d[2]
    return _sums(e, fx, fy, fz)


@triton.jit
def _angles(
    x: tl.tensor,
    origin: tl.tensor,
    bead: tl.tensor,
    t: tl.core.base_value,
    COSINE: tl.constexpr,
    OCCUR: tl.constexpr,
    WIDTH: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor, tl.tensor]:
    e = tl.zeros([_ANGLES], tl.float64)
    fx = tl.zeros([_ANGLES], tl.float64)
    fy = tl.zeros([_ANGLES], tl.float64)
    fz = tl.zeros([_ANGLES], tl.float64)
    end = tl.load(t.start + bead + 1)
    for k in range(tl.load(t.start + bead), end, _ANGLES):
        m = k + tl.arange(0, _ANGLES)
        inside = m < end
        cosine, la, lb, a, b = arms(
            _places(x, origin, t, m, inside, 0), _places(x, origin, t, m, inside, 1),
            _places(x, origin, t, m, inside, 2), inside,
        )  # fmt: skip
        who = tl.load(t.role + m, mask=inside, other=0)
        code = tl.load(t.code + m, mask=inside, other=0)
        p = _columns(t.parameters, m, inside, t.stride, WIDTH)
        if COSINE:
            u, slope = gpu_angle(cosine, cosine, cosine, code, p, OCCUR)
        else:
            theta, sine = angle(cosine, a, b, inside)
            u, du = gpu_angle(theta, cosine, sine, code, p, OCCUR)
            slope = tl.where(sine > STRAIGHT, -du / sine, 0.0)
        f = bend(who, slope, cosine, la, lb, a, b, inside)
        e += tl.where(inside & (who == 0), u, 0.0)
        fx += f[0]
        fy += f[1]
        fz += f[2]
    return _sums(e, fx, fy, fz)


@triton.jit
def _dihedrals(
    x: tl.tensor, origin: tl.tensor, bead: tl.tensor, t: tl.core.base_value, OCCUR: tl.constexpr, WIDTH: tl.constexpr
) -> tuple[tl.tensor, tl.tensor, tl.tensor, tl.tensor]:
    e = tl.zeros([_DIHEDRALS], tl.float64)
    fx = tl.zeros([_DIHEDRALS], tl.float64)
    fy = tl.zeros([_DIHEDRALS], tl.float64)
    fz = tl.zeros([_DIHEDRALS], tl.float64)
    end = tl.load(t.start + bead + 1)
    for k in range(tl.load(t.start + bead), end, _DIHEDRALS):
        m = k + tl.arange(0, _DIHEDRALS)
        inside = m < end
        phi, cosine, sine, axis, b2, ab, cb, p, p2, q, q2 = torsion(
            _places(x, origin, t, m, inside, 0), _places(x, origin, t, m, inside, 1),
            _places(x, origin, t, m, inside, 2), _places(x, origin, t, m, inside, 3), inside,
        )  # fmt: skip
        who = tl.load(t.role + m, mask=inside, other=0)
        code = tl.load(t.code + m, mask=inside, other=0)
        u, du = gpu_dihedral(
            phi, cosine, sine, code, _columns(t.parameters, m, inside, t.stride, WIDTH), OCCUR
        )  # fmt: skip
        f = twist(who, du, axis, b2, ab, cb, p, p2, q, q2, inside)
        e += tl.where(inside & (who == 0), u, 0.0)
        fx += f[0]
        fy += f[1]
        fz += f[2]
    return _sums(e, fx, fy, fz)


@triton.jit
def _near_pairs(
    i: tl.tensor, bead: tl.tensor, batch: tl.core.base_value, t: tl.core.base_value, near: tl.core.base_value,
    box: tl.tensor, TERMS: tl.constexpr, PERIODIC: tl.constexpr, OCCUR: tl.constexpr, WIDTH: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor, tl.tensor]:  # fmt: skip
    """This bead's share of the neighbor-list terms: half of each pair's energy."""
    e = tl.zeros([_PAIRS], tl.float64)
    fx = tl.zeros([_PAIRS], tl.float64)
    fy = tl.zeros([_PAIRS], tl.float64)
    fz = tl.zeros([_PAIRS], tl.float64)
    s = tl.load(batch.system + tl.load(batch.replica + i))
    square = t.types * t.types
    mine = tl.load(t.kind + bead) * t.types
    edges = load_row(box, 0)
    xi = load_row(batch.x, i)
    row = i.to(tl.int64) * near.capacity
    n = tl.load(near.number + i)
    for offset in tl.static_range(TERMS):  # unrolled: a loop around the loop costs registers
        term = tl.load(t.row + s) + offset
        if term < tl.load(t.row + s + 1):
            cutoff = tl.load(t.reach + term)
            code = tl.load(t.code + term)
            parameters = t.parameters + term * square * WIDTH + mine
            for k in range(0, n, _PAIRS):
                m = k + tl.arange(0, _PAIRS)
                there = m < n
                j = tl.load(near.neighbor + row + m, mask=there, other=0)
                xj = load_vector(batch.x, j, there)
                dx = nearest_image(xj[0] - xi[0], edges[0], PERIODIC)
                dy = nearest_image(xj[1] - xi[1], edges[1], PERIODIC)
                dz = nearest_image(xj[2] - xi[2], edges[2], PERIODIC)
                r2 = dx * dx + dy * dy + dz * dz
                inside = there & (r2 < cutoff * cutoff)
                r = tl.where(inside, tl.sqrt(r2), 1.0)
                other = tl.load(t.kind + tl.load(batch.template + j, mask=inside, other=0), mask=inside, other=0)
                u, du = gpu_pair(r, code, _columns(parameters, other, inside, square, WIDTH), cutoff, OCCUR)
                g = tl.where(inside, du / r, 0.0)
                e += tl.where(inside, 0.5 * u, 0.0)
                fx += g * dx
                fy += g * dy
                fz += g * dz
    return _sums(e, fx, fy, fz)


@triton.jit
def priors(
    batch: tl.core.base_value, listed: tl.core.base_value, pair: tl.core.base_value, near: tl.core.base_value,
    box: tl.tensor, energy: tl.tensor, forces: tl.tensor, OCCUR: tl.constexpr, WIDTH: tl.constexpr, TERMS: tl.constexpr,
    PERIODIC: tl.constexpr,
) -> None:  # fmt: skip
    """Energy share [B] and force [B, 3] of one bead from all priors, float64.

    Args:
        batch: `device.Batch`.
        listed: `device.ListedTables`.
        pair: `device.PairTable` of the neighbor-list terms.
        near: `device.Near`.
        box: [3] float64 Å.
        energy, forces: [B] and [B, 3] float64, out.
        OCCUR: for the four coordinates and near pairs, which forms there are: sum of 1 << code; 0: none.
        WIDTH: how many parameters their rows have.
        TERMS: neighbor-list terms of the system that has most.
    """
    i = tl.program_id(0)
    bead = tl.load(batch.template + i)
    first = tl.load(batch.origin + i)
    e = 0.0 * tl.load(batch.x + 3 * i)
    total = (e, e, e, e)
    if OCCUR[0]:
        total = _add(total, _distances(batch.x, first, bead, listed.distance, OCCUR[0], WIDTH[0]))
    if OCCUR[1]:
        total = _add(total, _angles(batch.x, first, bead, listed.angle_cosine, True, OCCUR[1], WIDTH[1]))
    if OCCUR[2]:
        total = _add(total, _angles(batch.x, first, bead, listed.angle, False, OCCUR[2], WIDTH[2]))
    if OCCUR[3]:
        total = _add(total, _dihedrals(batch.x, first, bead, listed.dihedral, OCCUR[3], WIDTH[3]))
    if OCCUR[4]:
        total = _add(total, _near_pairs(i, bead, batch, pair, near, box, TERMS, PERIODIC, OCCUR[4], WIDTH[4]))
    tl.store(energy + i, total[0])
    tl.store(forces + 3 * i, total[1])
    tl.store(forces + 3 * i + 1, total[2])
    tl.store(forces + 3 * i + 2, total[3])


@triton.jit
def _add(a: tl.tuple, b: tl.tuple) -> tuple[tl.tensor, tl.tensor, tl.tensor, tl.tensor]:
    return a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3]
