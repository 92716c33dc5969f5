"""The priors on a GPU: every listed term in one kernel, without atomics, added to what `triton_pairs` has left.

A program owns one bead and gathers the interactions it takes part in (`device.Incidence`, a CSR by bead), each
evaluated in full and only the owner's force kept. The work is done once for each bead of an interaction, but every
sum has one owner and one order. Positions are subtracted and totals added up in float64, whatever the arithmetic of the
terms. Which forms the kernel is compiled for depends on the systems of the batch; no
multiplication is fused with an addition, so that this changes no bit. Functional forms are in `potentials.forms`.
"""

from __future__ import annotations

import triton
import triton.language as tl

from mdflash.compiled.triton.coordinates import angle, arms, bend, straight, torsion, twist
from mdflash.compiled.triton.vectors import length, load_vector, minus
from mdflash.potentials.forms import gpu_angle, gpu_dihedral, gpu_distance

_DISTANCES = tl.constexpr(64)  # interactions of one bead, taken at a time
_ANGLES = tl.constexpr(16)
_DIHEDRALS = tl.constexpr(16)


@triton.jit
def _columns(table: tl.tensor, at: tl.tensor, inside: tl.tensor, stride: tl.tensor, WIDTH: tl.constexpr) -> tl.tuple:
    """The parameters of interactions, as a form's function reads them; those it does not read are not loaded."""
    p = ()
    for c in tl.static_range(WIDTH):
        p = p + (tl.load(table + c * stride + at, mask=inside, other=0.0),)  # type: ignore[assignment]  # noqa: RUF005
    return p


@triton.jit
def _place(
    x: tl.tensor, origin: tl.tensor, t: tl.core.base_value, m: tl.tensor, inside: tl.tensor, ROLE: tl.constexpr
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Positions of the interactions' beads of one role."""
    return load_vector(x, origin + tl.load(t.beads + ROLE * t.stride + m, mask=inside, other=0), inside)


@triton.jit
def _places(
    x: tl.tensor, origin: tl.tensor, t: tl.core.base_value, m: tl.tensor, inside: tl.tensor, ORDER: tl.constexpr,
    REAL: tl.constexpr,
) -> tuple[tl.tuple, ...]:  # fmt: skip
    """Positions of the interactions' beads; in float32 seen from the second one, before they are rounded."""
    places = ()
    if REAL == tl.float64:  # noqa: SIM300
        for role in tl.static_range(ORDER):
            places = places + (_place(x, origin, t, m, inside, role),)  # type: ignore[assignment]  # noqa: RUF005
    else:
        here = _place(x, origin, t, m, inside, 1)
        for role in tl.static_range(ORDER):
            d = minus(_place(x, origin, t, m, inside, role), here)
            places = places + ((d[0].to(REAL), d[1].to(REAL), d[2].to(REAL)),)  # type: ignore[assignment]  # noqa: RUF005
    return places


@triton.jit
def _sums(
    e: tl.tensor, fx: tl.tensor, fy: tl.tensor, fz: tl.tensor
) -> tuple[tl.tensor, tl.tensor, tl.tensor, tl.tensor]:
    return tl.sum(e, axis=0), tl.sum(fx, axis=0), tl.sum(fy, axis=0), tl.sum(fz, axis=0)


@triton.jit
def of_distances(
    x: tl.tensor, origin: tl.tensor, t: tl.core.base_value, m: tl.tensor, inside: tl.tensor, OCCUR: tl.constexpr,
    WIDTH: tl.constexpr, REAL: tl.constexpr,
) -> tuple[tl.tensor, tuple[tl.tensor, tl.tensor, tl.tensor]]:  # fmt: skip
    """Of the rows m (of any shape) of a table: the energy, if it is this bead's to count, and the force on the bead."""
    places = _places(x, origin, t, m, inside, 2, REAL)
    d = minus(places[1], places[0])
    who = tl.load(t.role + m, mask=inside, other=0)
    code = tl.load(t.code + m, mask=inside, other=0)
    r = length(d, inside)
    u, du = gpu_distance(r, code, _columns(t.parameters, m, inside, t.stride, WIDTH), OCCUR)
    # two beads in one place pull each other nowhere
    g = tl.where(inside & (r > 0.0), tl.where(who == 0, du / r, -du / r), 0.0)
    return tl.where(inside & (who == 0), u, 0.0), (g * d[0], g * d[1], g * d[2])


@triton.jit
def of_angles(
    x: tl.tensor, origin: tl.tensor, t: tl.core.base_value, m: tl.tensor, inside: tl.tensor, COSINE: tl.constexpr,
    OCCUR: tl.constexpr, WIDTH: tl.constexpr, REAL: tl.constexpr,
) -> tuple[tl.tensor, tuple[tl.tensor, tl.tensor, tl.tensor]]:  # fmt: skip
    """As `of_distances`, of angles or their cosines."""
    places = _places(x, origin, t, m, inside, 3, REAL)
    cosine, la, lb, a, b = arms(places[0], places[1], places[2], inside)
    who = tl.load(t.role + m, mask=inside, other=0)
    code = tl.load(t.code + m, mask=inside, other=0)
    p = _columns(t.parameters, m, inside, t.stride, WIDTH)
    if COSINE:
        u, slope = gpu_angle(cosine, cosine, cosine, code, p, OCCUR)
    else:
        theta, sine = angle(cosine, a, b, inside)
        u, du = gpu_angle(theta, cosine, sine, code, p, OCCUR)
        slope = tl.where(sine > straight(sine), -du / sine, 0.0)
    f = bend(who, slope, cosine, la, lb, a, b, inside)
    return tl.where(inside & (who == 0), u, 0.0), f


@triton.jit
def of_dihedrals(
    x: tl.tensor, origin: tl.tensor, t: tl.core.base_value, m: tl.tensor, inside: tl.tensor, OCCUR: tl.constexpr,
    WIDTH: tl.constexpr, REAL: tl.constexpr,
) -> tuple[tl.tensor, tuple[tl.tensor, tl.tensor, tl.tensor]]:  # fmt: skip
    """As `of_distances`, of torsions."""
    places = _places(x, origin, t, m, inside, 4, REAL)
    phi, cosine, sine, axis, b2, ab, cb, p, p2, q, q2 = torsion(
        places[0], places[1], places[2], places[3], inside
    )  # fmt: skip
    who = tl.load(t.role + m, mask=inside, other=0)
    code = tl.load(t.code + m, mask=inside, other=0)
    u, du = gpu_dihedral(
        phi, cosine, sine, code, _columns(t.parameters, m, inside, t.stride, WIDTH), OCCUR
    )  # fmt: skip
    f = twist(who, du, axis, b2, ab, cb, p, p2, q, q2, inside)
    return tl.where(inside & (who == 0), u, 0.0), f


@triton.jit
def _distances(
    x: tl.tensor, origin: tl.tensor, bead: tl.tensor, t: tl.core.base_value, OCCUR: tl.constexpr, WIDTH: tl.constexpr,
    REAL: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor, tl.tensor]:  # fmt: skip
    """This bead's share of the terms that are functions of a distance: energy and force."""
    e = tl.zeros([_DISTANCES], REAL)
    fx = tl.zeros([_DISTANCES], REAL)
    fy = tl.zeros([_DISTANCES], REAL)
    fz = tl.zeros([_DISTANCES], REAL)
    end = tl.load(t.start + bead + 1)
    for k in range(tl.load(t.start + bead), end, _DISTANCES):
        m = k + tl.arange(0, _DISTANCES)
        inside = m < end
        u, f = of_distances(x, origin, t, m, inside, OCCUR, WIDTH, REAL)
        e += u
        fx += f[0]
        fy += f[1]
        fz += f[2]
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
    REAL: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor, tl.tensor]:
    e = tl.zeros([_ANGLES], REAL)
    fx = tl.zeros([_ANGLES], REAL)
    fy = tl.zeros([_ANGLES], REAL)
    fz = tl.zeros([_ANGLES], REAL)
    end = tl.load(t.start + bead + 1)
    for k in range(tl.load(t.start + bead), end, _ANGLES):
        m = k + tl.arange(0, _ANGLES)
        inside = m < end
        u, f = of_angles(x, origin, t, m, inside, COSINE, OCCUR, WIDTH, REAL)
        e += u
        fx += f[0]
        fy += f[1]
        fz += f[2]
    return _sums(e, fx, fy, fz)


@triton.jit
def _dihedrals(
    x: tl.tensor, origin: tl.tensor, bead: tl.tensor, t: tl.core.base_value, OCCUR: tl.constexpr, WIDTH: tl.constexpr,
    REAL: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor, tl.tensor]:  # fmt: skip
    e = tl.zeros([_DIHEDRALS], REAL)
    fx = tl.zeros([_DIHEDRALS], REAL)
    fy = tl.zeros([_DIHEDRALS], REAL)
    fz = tl.zeros([_DIHEDRALS], REAL)
    end = tl.load(t.start + bead + 1)
    for k in range(tl.load(t.start + bead), end, _DIHEDRALS):
        m = k + tl.arange(0, _DIHEDRALS)
        inside = m < end
        u, f = of_dihedrals(x, origin, t, m, inside, OCCUR, WIDTH, REAL)
        e += u
        fx += f[0]
        fy += f[1]
        fz += f[2]
    return _sums(e, fx, fy, fz)


@triton.jit
def priors(
    batch: tl.core.base_value, listed: tl.core.base_value, near: tl.core.base_value, energy: tl.tensor,
    forces: tl.tensor, OCCUR: tl.constexpr, WIDTH: tl.constexpr, LAYERS: tl.constexpr, REAL: tl.constexpr,
) -> None:  # fmt: skip
    """Energy share [B] and force [B, 3] of one bead from all priors, float64.

    Args:
        batch: `device.Batch`.
        listed: `device.ListedTables`.
        near: `device.Near`, what the neighbor-list terms have left.
        energy, forces: [B] and [B, 3] float64, out.
        OCCUR: for the four coordinates, which forms there are: sum of 1 << code; 0: none.
        WIDTH: how many parameters their rows have.
        LAYERS: of `near`.
        REAL: arithmetic of the listed terms.
    """
    i = tl.program_id(0)
    bead = tl.load(batch.template + i)
    first = tl.load(batch.origin + i)
    e = 0.0 * tl.load(batch.x + 3 * i)
    total = (e, e, e, e)
    if OCCUR[0]:
        total = add_shares(total, _distances(batch.x, first, bead, listed.distance, OCCUR[0], WIDTH[0], REAL))
    if OCCUR[1]:
        total = add_shares(total, _angles(batch.x, first, bead, listed.angle_cosine, True, OCCUR[1], WIDTH[1], REAL))
    if OCCUR[2]:
        total = add_shares(total, _angles(batch.x, first, bead, listed.angle, False, OCCUR[2], WIDTH[2], REAL))
    if OCCUR[3]:
        total = add_shares(total, _dihedrals(batch.x, first, bead, listed.dihedral, OCCUR[3], WIDTH[3], REAL))
    for layer in tl.static_range(LAYERS):
        at = layer * near.beads + i
        total = add_shares(
            total,
            (
                tl.load(near.energy + at), tl.load(near.forces + 3 * at), tl.load(near.forces + 3 * at + 1),
                tl.load(near.forces + 3 * at + 2),
            ),
        )  # fmt: skip
    tl.store(energy + i, total[0])
    tl.store(forces + 3 * i, total[1])
    tl.store(forces + 3 * i + 1, total[2])
    tl.store(forces + 3 * i + 2, total[3])


@triton.jit
def add_shares(a: tl.tuple, b: tl.tuple) -> tuple[tl.tensor, tl.tensor, tl.tensor, tl.tensor]:
    """a in float64, b in any arithmetic."""
    return (
        a[0] + b[0].to(tl.float64), a[1] + b[1].to(tl.float64), a[2] + b[2].to(tl.float64), a[3] + b[3].to(tl.float64),
    )  # fmt: skip
