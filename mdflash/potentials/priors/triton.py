"""The priors on a GPU: every listed term and the neighbour-list term in one kernel, float64, without atomics.

A program owns one bead and gathers the interactions it takes part in (`device.Incidence`, a CSR by bead), each
evaluated in full and only the owner's force kept. The work is done once for each bead of an interaction, but every
sum has one owner and one order. Which forms the kernel is compiled for depends on the systems of the batch; no
multiplication is fused with an addition, so that this changes no bit. Equations as in `cpu.py`, functional forms as in
the forms' own modules.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators

from __future__ import annotations

import triton
import triton.language as tl

from mdflash.compiled.triton.coordinates import atan2
from mdflash.compiled.triton.vectors import cross, load_row, load_vector
from mdflash.neighbors.triton import nearest_image
from mdflash.potentials.priors.cpu import (
    CONTACT,
    FOURIER,
    HARMONIC,
    POLYNOMIAL,
    REPULSION,
    RESTRICTED,
    SHIFTED,
)

_REPULSION, _CONTACT, _POLYNOMIAL = tl.constexpr(REPULSION), tl.constexpr(CONTACT), tl.constexpr(POLYNOMIAL)
_RESTRICTED, _FOURIER, _SHIFTED = tl.constexpr(RESTRICTED), tl.constexpr(FOURIER), tl.constexpr(SHIFTED)
_HAS_HARMONIC, _HAS_REPULSION = tl.constexpr(1 << HARMONIC), tl.constexpr(1 << REPULSION)
_HAS_CONTACT, _HAS_POLYNOMIAL = tl.constexpr(1 << CONTACT), tl.constexpr(1 << POLYNOMIAL)
_HAS_RESTRICTED, _HAS_FOURIER = tl.constexpr(1 << RESTRICTED), tl.constexpr(1 << FOURIER)
_HAS_SHIFTED, _NEEDS_PHI = tl.constexpr(1 << SHIFTED), tl.constexpr(1 << HARMONIC | 1 << SHIFTED)
_PI = tl.constexpr(3.141592653589793)


@triton.jit
def _parameter(parameters, c, m, inside, stride):
    return tl.load(parameters + c * stride + m, mask=inside, other=0.0)


@triton.jit
def _harmonic(q, parameters, m, inside, stride):
    k = _parameter(parameters, 0, m, inside, stride)
    d = q - _parameter(parameters, 1, m, inside, stride)
    return k * d * d, 2.0 * k * d


@triton.jit
def _distance_function(r, code, parameters, m, inside, stride, FORMS: tl.constexpr):
    u = r * 0.0
    du = r * 0.0
    if _HAS_HARMONIC & FORMS:
        u, du = _harmonic(r, parameters, m, inside, stride)
    first = _parameter(parameters, 0, m, inside, stride)
    if _HAS_REPULSION & FORMS:
        x = first / r
        v = x * x * x * x * x * x
        u = tl.where(code == _REPULSION, v, u)
        du = tl.where(code == _REPULSION, -6.0 * v / r, du)
    if _HAS_CONTACT & FORMS:
        x = _parameter(parameters, 1, m, inside, stride) / r
        x2 = x * x
        x10 = x2 * x2 * x2 * x2 * x2
        u = tl.where(code == _CONTACT, first * x10 * (5.0 * x2 - 6.0), u)
        du = tl.where(code == _CONTACT, 60.0 * first * x10 * (1.0 - x2) / r, du)
    return u, du


@triton.jit
def _angle_function(q, cosine, sine, code, parameters, m, inside, stride, FORMS: tl.constexpr, P: tl.constexpr):
    """u and du/dq; `cosine` and `sine` of the angle are read by the restricted form, whose q is the angle."""
    u = q * 0.0
    du = q * 0.0
    if _HAS_HARMONIC & FORMS:
        u, du = _harmonic(q, parameters, m, inside, stride)
    if _HAS_POLYNOMIAL & FORMS:
        v = q * 0.0
        dv = q * 0.0
        for back in tl.static_range(0, P - 1):
            coefficient = _parameter(parameters, P - 1 - back, m, inside, stride)
            v = v * q + coefficient
            dv = dv * q + (P - 1 - back) * coefficient
        v = v * q + _parameter(parameters, 0, m, inside, stride)
        u = tl.where(code == _POLYNOMIAL, v, u)
        du = tl.where(code == _POLYNOMIAL, dv, du)
    if _HAS_RESTRICTED & FORMS:
        p0 = _parameter(parameters, 0, m, inside, stride)
        p1 = _parameter(parameters, 1, m, inside, stride)
        p2 = _parameter(parameters, 2, m, inside, stride)
        p3 = _parameter(parameters, 3, m, inside, stride)
        p4 = _parameter(parameters, 4, m, inside, stride)
        v = (((p0 * cosine + p1) * cosine + p2) * cosine + p3) * cosine + p4 / (sine * sine)
        v += _parameter(parameters, 5, m, inside, stride)
        slope = ((4.0 * p0 * cosine + 3.0 * p1) * cosine + 2.0 * p2) * cosine + p3
        u = tl.where(code == _RESTRICTED, v, u)
        du = tl.where(code == _RESTRICTED, -sine * slope - 2.0 * p4 * cosine / (sine * sine * sine), du)
    return u, du


@triton.jit
def _dihedral_function(y, x, code, parameters, m, inside, stride, FORMS: tl.constexpr, P: tl.constexpr):
    """u and du/dphi of phi = atan2(y, x)."""
    u = x * 0.0
    du = x * 0.0
    if _NEEDS_PHI & FORMS:
        phi = atan2(y, x)
        u, du = _harmonic(phi, parameters, m, inside, stride)
        if _HAS_SHIFTED & FORMS:
            v, dv = _harmonic(tl.where(phi < 0, phi + _PI, phi - _PI), parameters, m, inside, stride)
            u = tl.where(code == _SHIFTED, v, u)
            du = tl.where(code == _SHIFTED, dv, du)
    if _HAS_FOURIER & FORMS:
        length = tl.sqrt(x * x + y * y)
        s1 = y / length
        c1 = x / length
        s = s1
        c = c1
        v = _parameter(parameters, 0, m, inside, stride)
        dv = x * 0.0
        for n in tl.static_range(1, (P - 1) // 2 + 1):
            k1 = _parameter(parameters, 2 * n - 1, m, inside, stride)
            k2 = _parameter(parameters, 2 * n, m, inside, stride)
            v += k1 * s + k2 * c
            dv += n * (k1 * c - k2 * s)
            turned = s * c1 + c * s1
            c = c * c1 - s * s1
            s = turned
        u = tl.where(code == _FOURIER, v, u)
        du = tl.where(code == _FOURIER, dv, du)
    return u, du


@triton.jit
def _distances(
    x, origin, bead, start, beads, role, code, parameters, stride, FORMS: tl.constexpr, P: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """This bead's share of the terms that are functions of a distance: energy and force, sums over lanes to come."""
    e = tl.zeros([BLOCK], tl.float64)
    fx = tl.zeros([BLOCK], tl.float64)
    fy = tl.zeros([BLOCK], tl.float64)
    fz = tl.zeros([BLOCK], tl.float64)
    end = tl.load(start + bead + 1)
    for k in range(tl.load(start + bead), end, BLOCK):
        m = k + tl.arange(0, BLOCK)
        inside = m < end
        xi, yi, zi = load_vector(x, origin + tl.load(beads + m, mask=inside, other=0), inside)
        xj, yj, zj = load_vector(x, origin + tl.load(beads + stride + m, mask=inside, other=0), inside)
        who = tl.load(role + m, mask=inside, other=0)
        dx = xj - xi
        dy = yj - yi
        dz = zj - zi
        r = tl.where(inside, tl.sqrt(dx * dx + dy * dy + dz * dz), 1.0)
        u, du = _distance_function(r, tl.load(code + m, mask=inside, other=0), parameters, m, inside, stride, FORMS)
        g = tl.where(inside, tl.where(who == 0, du / r, -du / r), 0.0)
        e += tl.where(inside & (who == 0), u, 0.0)
        fx += g * dx
        fy += g * dy
        fz += g * dz
    return e, fx, fy, fz


@triton.jit
def _angles(
    x, origin, bead, start, beads, role, code, parameters, stride, FORMS: tl.constexpr, P: tl.constexpr,
    COSINE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    e = tl.zeros([BLOCK], tl.float64)
    fx = tl.zeros([BLOCK], tl.float64)
    fy = tl.zeros([BLOCK], tl.float64)
    fz = tl.zeros([BLOCK], tl.float64)
    end = tl.load(start + bead + 1)
    for k in range(tl.load(start + bead), end, BLOCK):
        m = k + tl.arange(0, BLOCK)
        inside = m < end
        xi, yi, zi = load_vector(x, origin + tl.load(beads + m, mask=inside, other=0), inside)
        xj, yj, zj = load_vector(x, origin + tl.load(beads + stride + m, mask=inside, other=0), inside)
        xk, yk, zk = load_vector(x, origin + tl.load(beads + 2 * stride + m, mask=inside, other=0), inside)
        who = tl.load(role + m, mask=inside, other=0)
        ax = xi - xj
        ay = yi - yj
        az = zi - zj
        bx = xk - xj
        by = yk - yj
        bz = zk - zj
        la = tl.where(inside, tl.sqrt(ax * ax + ay * ay + az * az), 1.0)
        lb = tl.where(inside, tl.sqrt(bx * bx + by * by + bz * bz), 1.0)
        ax /= la
        ay /= la
        az /= la
        bx /= lb
        by /= lb
        bz /= lb
        c = ax * bx + ay * by + az * bz
        kind = tl.load(code + m, mask=inside, other=0)
        if COSINE:
            u, g = _angle_function(c, c, c, kind, parameters, m, inside, stride, FORMS, P)
        else:
            wx, wy, wz = cross(ax, ay, az, bx, by, bz)
            s = tl.where(inside, tl.sqrt(wx * wx + wy * wy + wz * wz), 1.0)
            u, du = _angle_function(atan2(s, c), c, s, kind, parameters, m, inside, stride, FORMS, P)
            g = -du / s
        # on i: -g/la (b - c a), on k: -g/lb (a - c b), on j: minus both
        gi = tl.where(inside & (who != 2), tl.where(who == 0, -g, g) / la, 0.0)
        gk = tl.where(inside & (who != 0), tl.where(who == 2, -g, g) / lb, 0.0)
        e += tl.where(inside & (who == 0), u, 0.0)
        fx += gi * (bx - c * ax) + gk * (ax - c * bx)
        fy += gi * (by - c * ay) + gk * (ay - c * by)
        fz += gi * (bz - c * az) + gk * (az - c * bz)
    return e, fx, fy, fz


@triton.jit
def _dihedrals(
    x, origin, bead, start, beads, role, code, parameters, stride, FORMS: tl.constexpr, P: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    e = tl.zeros([BLOCK], tl.float64)
    fx = tl.zeros([BLOCK], tl.float64)
    fy = tl.zeros([BLOCK], tl.float64)
    fz = tl.zeros([BLOCK], tl.float64)
    end = tl.load(start + bead + 1)
    for k in range(tl.load(start + bead), end, BLOCK):
        m = k + tl.arange(0, BLOCK)
        inside = m < end
        xi, yi, zi = load_vector(x, origin + tl.load(beads + m, mask=inside, other=0), inside)
        xj, yj, zj = load_vector(x, origin + tl.load(beads + stride + m, mask=inside, other=0), inside)
        xk, yk, zk = load_vector(x, origin + tl.load(beads + 2 * stride + m, mask=inside, other=0), inside)
        xl, yl, zl = load_vector(x, origin + tl.load(beads + 3 * stride + m, mask=inside, other=0), inside)
        who = tl.load(role + m, mask=inside, other=0)
        # bonds a, b, c along the chain; plane normals p = a x b, q = b x c
        ax = xj - xi
        ay = yj - yi
        az = zj - zi
        bx = xk - xj
        by = yk - yj
        bz = zk - zj
        cx = xl - xk
        cy = yl - yk
        cz = zl - zk
        px, py, pz = cross(ax, ay, az, bx, by, bz)
        qx, qy, qz = cross(bx, by, bz, cx, cy, cz)
        b2 = tl.where(inside, bx * bx + by * by + bz * bz, 1.0)
        p2 = tl.where(inside, px * px + py * py + pz * pz, 1.0)
        q2 = tl.where(inside, qx * qx + qy * qy + qz * qz, 1.0)
        length = tl.sqrt(b2)
        along = tl.where(inside, px * qx + py * qy + pz * qz, 1.0)
        u, du = _dihedral_function(
            length * (ax * qx + ay * qy + az * qz), along, tl.load(code + m, mask=inside, other=0),
            parameters, m, inside, stride, FORMS, P,
        )  # fmt: skip
        # dphi/dx_i = -|b| p/p^2, dphi/dx_l = |b| q/q^2; the middle beads share the rest (Blondel & Karplus)
        gi = -du * length / p2
        gl = du * length / q2
        s12 = (ax * bx + ay * by + az * bz) / b2
        s32 = (cx * bx + cy * by + cz * bz) / b2
        wi = tl.where(who == 0, -1.0, tl.where(who == 1, 1.0 + s12, tl.where(who == 2, -s12, 0.0)))
        wl = tl.where(who == 3, -1.0, tl.where(who == 2, 1.0 + s32, tl.where(who == 1, -s32, 0.0)))
        wi = tl.where(inside, wi * gi, 0.0)
        wl = tl.where(inside, wl * gl, 0.0)
        e += tl.where(inside & (who == 0), u, 0.0)
        fx += wi * px + wl * qx
        fy += wi * py + wl * qy
        fz += wi * pz + wl * qz
    return e, fx, fy, fz


@triton.jit
def _excluded_volume(
    x, i, replica, system, template, type_, epsilon, sigma, cutoffs, types, box, neighbor, count, capacity,
    PERIODIC: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """This bead's share of the neighbour-list term: half of each pair's energy."""
    e = tl.zeros([BLOCK], tl.float64)
    fx = tl.zeros([BLOCK], tl.float64)
    fy = tl.zeros([BLOCK], tl.float64)
    fz = tl.zeros([BLOCK], tl.float64)
    s = tl.load(system + tl.load(replica + i))
    cutoff = tl.load(cutoffs + s)
    if cutoff > 0:
        bx, by, bz = load_row(box, 0)
        xi, yi, zi = load_row(x, i)
        matrix = (s * types + tl.load(type_ + tl.load(template + i))) * types
        row = i.to(tl.int64) * capacity
        n = tl.load(count + i)
        for k in range(0, n, BLOCK):
            m = k + tl.arange(0, BLOCK)
            near = m < n
            j = tl.load(neighbor + row + m, mask=near, other=0)
            xj, yj, zj = load_vector(x, j, near)
            dx = nearest_image(xj - xi, bx, PERIODIC)
            dy = nearest_image(yj - yi, by, PERIODIC)
            dz = nearest_image(zj - zi, bz, PERIODIC)
            square = dx * dx + dy * dy + dz * dz
            r = tl.where(near, tl.sqrt(square), 1.0)
            at = matrix + tl.load(type_ + tl.load(template + j, mask=near, other=0), mask=near, other=0)
            size = tl.load(sigma + at, mask=near, other=0.0)
            strength = tl.load(epsilon + at, mask=near, other=0.0)
            a = size / r
            a2 = a * a
            u = strength * a2 * a2 * a2 * a2 * a2 * a2
            b = size / cutoff
            b2 = b * b
            slope = 12.0 * strength * b2 * b2 * b2 * b2 * b2 * b2 / cutoff
            value = u - slope * cutoff / 12.0 + (r - cutoff) * slope
            g = tl.where(near, (slope - 12.0 * u / r) / r, 0.0)
            e += tl.where(near, 0.5 * value, 0.0)
            fx += g * dx
            fy += g * dy
            fz += g * dz
    return tl.sum(e, axis=0), tl.sum(fx, axis=0), tl.sum(fy, axis=0), tl.sum(fz, axis=0)


@triton.jit(do_not_specialize=["stride2", "stride3c", "stride3", "stride4", "types"])
def priors(
    x, replica, system, template, origin,
    start2, beads2, role2, code2, parameters2, stride2,
    start3c, beads3c, role3c, code3c, parameters3c, stride3c,
    start3, beads3, role3, code3, parameters3, stride3,
    start4, beads4, role4, code4, parameters4, stride4,
    type_, epsilon, sigma, cutoffs, types, box, neighbor, count, capacity, energy, forces,
    FORMS2: tl.constexpr, P2: tl.constexpr, FORMS3C: tl.constexpr, P3C: tl.constexpr, FORMS3: tl.constexpr,
    P3: tl.constexpr, FORMS4: tl.constexpr, P4: tl.constexpr, NONBONDED: tl.constexpr, PERIODIC: tl.constexpr,
    B2: tl.constexpr, B3C: tl.constexpr, B3: tl.constexpr, B4: tl.constexpr,
):  # fmt: skip
    """Energy share [B] and force [B, 3] of one bead from all priors, float64; see `DevicePriors` for the arguments."""
    i = tl.program_id(0)
    bead = tl.load(template + i)
    first = tl.load(origin + i)
    energy_i = 0.0 * tl.load(x + 3 * i)
    gx = energy_i
    gy = energy_i
    gz = energy_i
    if FORMS2:
        e, fx, fy, fz = _distances(x, first, bead, start2, beads2, role2, code2, parameters2, stride2, FORMS2, P2, B2)
        energy_i += tl.sum(e, axis=0)
        gx += tl.sum(fx, axis=0)
        gy += tl.sum(fy, axis=0)
        gz += tl.sum(fz, axis=0)
    if FORMS3C:
        e, fx, fy, fz = _angles(
            x, first, bead, start3c, beads3c, role3c, code3c, parameters3c, stride3c, FORMS3C, P3C, True, B3C
        )
        energy_i += tl.sum(e, axis=0)
        gx += tl.sum(fx, axis=0)
        gy += tl.sum(fy, axis=0)
        gz += tl.sum(fz, axis=0)
    if FORMS3:
        e, fx, fy, fz = _angles(
            x, first, bead, start3, beads3, role3, code3, parameters3, stride3, FORMS3, P3, False, B3
        )
        energy_i += tl.sum(e, axis=0)
        gx += tl.sum(fx, axis=0)
        gy += tl.sum(fy, axis=0)
        gz += tl.sum(fz, axis=0)
    if FORMS4:
        e, fx, fy, fz = _dihedrals(x, first, bead, start4, beads4, role4, code4, parameters4, stride4, FORMS4, P4, B4)
        energy_i += tl.sum(e, axis=0)
        gx += tl.sum(fx, axis=0)
        gy += tl.sum(fy, axis=0)
        gz += tl.sum(fz, axis=0)
    if NONBONDED:
        ev, vx, vy, vz = _excluded_volume(
            x, i, replica, system, template, type_, epsilon, sigma, cutoffs, types, box, neighbor, count, capacity,
            PERIODIC, 64,
        )  # fmt: skip
        energy_i += ev
        gx += vx
        gy += vy
        gz += vz
    tl.store(energy + i, energy_i)
    tl.store(forces + 3 * i, gx)
    tl.store(forces + 3 * i + 1, gy)
    tl.store(forces + 3 * i + 2, gz)
