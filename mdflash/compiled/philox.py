"""Randomness as a function: Philox4x32-10, keyed by (seed, replica), counter (step, bead, purpose).

There is no stream and no state: the noise of bead 5 of replica 17 at step 1,000,000 is a value that can be
computed anywhere, so restarts, other batches and other numbers of ranks cannot change it.

Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC11 (2011). Normal numbers by
Box & Muller (1958) from the four 32-bit outputs; the largest possible |normal| is 6.8.
"""

from __future__ import annotations

import math
from typing import Any, Final, TypeAlias

import numpy as np

from mdflash.compiled.jit import njit
from mdflash.core.types import FloatArray

Word: TypeAlias = Any
"""np.uint64 below 2^32, or an array of them."""

LANGEVIN: Final = 0
"""Purpose: thermostat noise of an integrator step."""
VELOCITIES: Final = 1
"""Purpose: Maxwell-Boltzmann start velocities."""

EXCHANGE: Final = 2
"""Purpose: decisions of replica exchange."""

PLACING: Final = 3
"""Purpose: where molecules are put in a box."""

MULTIPLIERS: Final = (0xD2511F53, 0xCD9E8D57)
WEYL: Final = (0x9E3779B9, 0xBB67AE85)
TO_UNIT: Final = 2.0**-32
TWO_PI: Final = 2.0 * math.pi
_M0, _M1 = map(np.uint64, MULTIPLIERS)
_W0, _W1 = map(np.uint64, WEYL)
_MASK, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


def philox4x32(c0: Word, c1: Word, c2: Word, c3: Word, k0: Word, k1: Word) -> tuple[Word, Word, Word, Word]:
    """Ten rounds of Philox4x32: counter and key words as uint64 below 2^32 (scalars or arrays) -> four words."""
    for _ in range(10):
        p0 = _M0 * c0
        p1 = _M1 * c2
        c0, c1, c2, c3 = (p1 >> _HALF) ^ c1 ^ k0, p1 & _MASK, (p0 >> _HALF) ^ c3 ^ k1, p0 & _MASK
        k0 = (k0 + _W0) & _MASK
        k1 = (k1 + _W1) & _MASK
    return c0, c1, c2, c3


_philox = njit(cache=True)(philox4x32)


@njit(cache=True, error_model="numpy")
def normal3(seed: int, replica: int, step: int, bead: int, purpose: int) -> tuple[float, float, float]:
    """Three independent standard normal numbers."""
    s = np.uint64(step)
    b0, b1, b2, b3 = _philox(
        s & _MASK, s >> _HALF, np.uint64(bead), np.uint64(purpose), np.uint64(seed), np.uint64(replica)
    )
    radius = math.sqrt(-2.0 * math.log((float(b0) + 0.5) * TO_UNIT))
    angle = TWO_PI * ((float(b1) + 0.5) * TO_UNIT)
    third = math.sqrt(-2.0 * math.log((float(b2) + 0.5) * TO_UNIT))
    return (
        radius * math.cos(angle),
        radius * math.sin(angle),
        third * math.cos(TWO_PI * ((float(b3) + 0.5) * TO_UNIT)),
    )


@njit(cache=True)
def _fill(
    out: FloatArray,  # [N, 3]
    seed: int,
    replica: int,
    step: int,
    purpose: int,
) -> None:
    for bead in range(out.shape[0]):
        out[bead, 0], out[bead, 1], out[bead, 2] = normal3(seed, replica, step, bead, purpose)


def normals(seed: int, replica: int, step: int, n_beads: int, purpose: int) -> FloatArray:
    """[n_beads, 3] standard normal numbers of one replica at one step."""
    out = np.empty((n_beads, 3))
    _fill(out, seed, replica, step, purpose)
    return out
