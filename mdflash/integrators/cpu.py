"""The compiled twins of the integrators' steps, for one replica at a time.

The same arithmetic, in the same order, as the reference in `base.py`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mdflash.compiled.jit import njit
from mdflash.compiled.philox import LANGEVIN, VELOCITIES, normal3
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

    motion: npt.NDArray[np.int64]
    coefficients: npt.NDArray[np.float64]
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


@njit(cache=True, error_model="numpy")
def remove_com_motion(v, mass):
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


@njit(cache=True, error_model="numpy")
def before_force(s, x, v, f, mass, kT, seed, replica, step):
    """One replica's step up to the force evaluation, in place; `step` is the number of the step being made."""
    thermal = 0.0
    noise = (0.0, 0.0, 0.0)
    for i in range(x.shape[0]):
        per_mass = ACCELERATION / mass[i]
        if s.takes_noise:
            thermal = math.sqrt(kT * per_mass)
            noise = normal3(seed, replica, step, i, np.int64(LANGEVIN))
        for j in range(s.motion.shape[0]):
            p, q = s.coefficients[j, 0], s.coefficients[j, 1] * thermal
            if s.motion[j] == KICK:
                for k in range(3):
                    v[i, k] += p * (f[i, k] * per_mass)
            elif s.motion[j] == DRIFT:
                for k in range(3):
                    x[i, k] += p * v[i, k]
            elif s.motion[j] == FLUCTUATE:
                for k in range(3):
                    v[i, k] = p * v[i, k] + q * noise[k]
            else:
                for k in range(3):
                    x[i, k] += p * (f[i, k] * per_mass) + q * noise[k]


@njit(cache=True, error_model="numpy")
def after_force(s, v, f, mass):
    """One replica's step after the force evaluation, in place."""
    if s.last_kick > 0.0:
        for i in range(v.shape[0]):
            per_mass = ACCELERATION / mass[i]
            for k in range(3):
                v[i, k] += s.last_kick * (f[i, k] * per_mass)
    if s.remove_com:  # last, so that what is reported has no center of mass velocity
        remove_com_motion(v, mass)


@njit(cache=True, error_model="numpy")
def add_impulse(push, slow, every, now, last, f):
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
def kinetic_energy(v, mass):
    """One replica's kinetic energy in kcal/mol."""
    twice = 0.0
    for i in range(v.shape[0]):
        twice += mass[i] * (v[i, 0] * v[i, 0] + v[i, 1] * v[i, 1] + v[i, 2] * v[i, 2])
    return 0.5 * twice / ACCELERATION


@njit(cache=True)
def kinetic_energies(v, mass, bead_offset):
    """[R] kinetic energies in kcal/mol of the flat velocities [B, 3]."""
    out = np.empty(bead_offset.shape[0] - 1)
    for r in range(out.shape[0]):
        a, b = bead_offset[r], bead_offset[r + 1]
        out[r] = kinetic_energy(v[a:b], mass[a:b])
    return out


@njit(cache=True, error_model="numpy")
def _draw(v, mass, kT, seed, replica, purpose):
    for i in range(v.shape[0]):
        thermal = math.sqrt(kT * ACCELERATION / mass[i])
        noise = normal3(seed, replica, np.int64(0), i, purpose)
        for k in range(3):
            v[i, k] = thermal * noise[k]


def maxwell_boltzmann(masses: npt.NDArray[np.float64], kT: float, seed: int, replica: int) -> npt.NDArray[np.float64]:
    """[N, 3] start velocities in Å/ps of one replica; masses [N] in Da, kT in kcal/mol."""
    v = np.empty((len(masses), 3))
    _draw(v, masses, kT, seed, replica, VELOCITIES)
    return v
