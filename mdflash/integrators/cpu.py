"""The compiled twins of the integrators' steps, for one replica at a time.

The same arithmetic, in the same order, as the reference in `base.py`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from mdflash.compiled.jit import njit
from mdflash.compiled.noise import EIGHT, normals, normals8
from mdflash.compiled.philox import LANGEVIN, VELOCITIES
from mdflash.compiled.simd import local
from mdflash.core.types import FloatArray, IntArray
from mdflash.integrators.base import DRIFT, FLUCTUATE, KICK, Integrator
from mdflash.units import ACCELERATION


class Scheme(NamedTuple):
    """An integrator as the kernels see it; see `scheme`.

    Attributes:
        motion: [n] the motions up to the evaluation of the forces; see `base`.
        coefficients: [n, 2] of v or a, and of the noise.
        last_kick: ps, of the kick by the new forces.
        takes_noise: whether a motion takes noise.
        remove_com: whether the velocity of the center of mass is taken out after every step.
    """

    motion: IntArray
    coefficients: FloatArray
    last_kick: float
    takes_noise: bool
    remove_com: bool


def scheme(integrator: Integrator, remove_com_motion: bool) -> Scheme:
    """The kernels' view of an integrator."""
    return Scheme(
        np.array([part.motion for part in integrator.before], np.int64),
        np.array([integrator.coefficients(part) for part in integrator.before]).reshape(-1, 2),
        integrator.last_kick * integrator.timestep,
        integrator.takes_noise,
        remove_com_motion and integrator.has_velocities,
    )


@njit(cache=True, borrow=True, error_model="numpy")
def remove_com_motion(
    v: FloatArray,  # [N, 3] Å/ps
    mass: FloatArray,  # [N] Da
) -> None:
    """Subtract the velocity of the center of mass; v [N, 3], mass [N]."""
    total = 0.0
    px = py = pz = 0.0
    for i in range(v.shape[0]):
        total += mass[i]
        px += mass[i] * v[i, 0]
        py += mass[i] * v[i, 1]
        pz += mass[i] * v[i, 2]
    for i in range(v.shape[0]):
        v[i, 0] -= px / total
        v[i, 1] -= py / total
        v[i, 2] -= pz / total


@njit(cache=True, borrow=True, error_model="numpy")
def before_force(
    s: Scheme,
    x: FloatArray,  # [N, 3] Å
    v: FloatArray,  # [N, 3] Å/ps
    f: FloatArray,  # [N, 3] kcal/mol/Å
    mass: FloatArray,  # [N] Da
    kT: float,  # kcal/mol
    seed: int,
    replica: int,
    step: int,
) -> None:
    """One replica's step up to the force evaluation, in place; `step` is the number of the step being made."""
    thermal = 0.0
    noise = (0.0, 0.0, 0.0)
    normal = local(v, 3)
    for i in range(x.shape[0]):
        per_mass = ACCELERATION / mass[i]
        if s.takes_noise:
            thermal = math.sqrt(kT * per_mass)
            k = i % EIGHT
            if k == 0:
                normals8(seed, replica, step, i, np.int64(LANGEVIN), normal)
            noise = (normal[k], normal[EIGHT + k], normal[2 * EIGHT + k])
        ax, ay, az = f[i, 0] * per_mass, f[i, 1] * per_mass, f[i, 2] * per_mass
        ux, uy, uz = v[i, 0], v[i, 1], v[i, 2]
        qx, qy, qz = x[i, 0], x[i, 1], x[i, 2]
        for j in range(s.motion.shape[0]):  # on numbers, not arrays: what one motion writes, the next one reads
            p, q = s.coefficients[j, 0], s.coefficients[j, 1] * thermal
            if s.motion[j] == KICK:
                ux, uy, uz = ux + p * ax, uy + p * ay, uz + p * az
            elif s.motion[j] == DRIFT:
                qx, qy, qz = qx + p * ux, qy + p * uy, qz + p * uz
            elif s.motion[j] == FLUCTUATE:
                ux, uy, uz = p * ux + q * noise[0], p * uy + q * noise[1], p * uz + q * noise[2]
            else:
                qx, qy, qz = qx + (p * ax + q * noise[0]), qy + (p * ay + q * noise[1]), qz + (p * az + q * noise[2])
        v[i, 0], v[i, 1], v[i, 2] = ux, uy, uz
        x[i, 0], x[i, 1], x[i, 2] = qx, qy, qz


@njit(cache=True, borrow=True, error_model="numpy")
def after_force(
    s: Scheme,
    v: FloatArray,  # [N, 3] Å/ps
    f: FloatArray,  # [N, 3] kcal/mol/Å
    mass: FloatArray,  # [N] Da
) -> None:
    """One replica's step after the force evaluation, in place."""
    if s.last_kick > 0.0:
        for i in range(v.shape[0]):
            per_mass = ACCELERATION / mass[i]
            for k in range(3):
                v[i, k] += s.last_kick * (f[i, k] * per_mass)
    if s.remove_com:  # last, so that what is reported has no center of mass velocity
        remove_com_motion(v, mass)


@njit(cache=True, error_model="numpy")
def add_impulse(push: FloatArray, slow: FloatArray, every: int, now: int, last: int, f: FloatArray) -> None:
    """From the fast forces in `push` [N, 3] to the impulse of step `now` (see `respa`), in place.

    `slow` holds the networks' forces at the same positions, wherever `every` divides `now` or it is `last`; there f
    becomes the forces of the whole potential.
    """
    for i in range(push.shape[0]):
        for c in range(3):
            if now == last:
                f[i, c] = push[i, c] + slow[i, c]
            if now % every == 0:
                push[i, c] += every * slow[i, c]


@njit(cache=True, error_model="numpy")
def kinetic_energy(
    v: FloatArray,  # [N, 3] Å/ps
    mass: FloatArray,  # [N] Da
) -> float:
    """One replica's kinetic energy in kcal/mol."""
    twice = 0.0
    for i in range(v.shape[0]):
        twice += mass[i] * (v[i, 0] * v[i, 0] + v[i, 1] * v[i, 1] + v[i, 2] * v[i, 2])
    return 0.5 * twice / ACCELERATION


@njit(cache=True)
def kinetic_energies(
    v: FloatArray,  # [B, 3] Å/ps
    mass: FloatArray,  # [B] Da
    bead_offset: IntArray,  # [R + 1]
) -> FloatArray:
    """[R] kinetic energies in kcal/mol of the flat velocities [B, 3]."""
    out = np.empty(bead_offset.shape[0] - 1)
    for r in range(out.shape[0]):
        a, b = bead_offset[r], bead_offset[r + 1]
        out[r] = kinetic_energy(v[a:b], mass[a:b])
    return out


def maxwell_boltzmann(masses: FloatArray, kT: float, seed: int, replica: int) -> FloatArray:
    """[N, 3] start velocities in Å/ps of one replica; masses [N] in Da, kT in kcal/mol."""
    thermal: FloatArray = np.sqrt(kT * ACCELERATION / masses)
    return thermal[:, None] * normals(seed, replica, 0, len(masses), VELOCITIES)
