"""Randomness as a function: Philox4x32-10, keyed by (seed, replica), counter (step, bead, purpose).

There is no stream and no state: the noise of bead 5 of replica 17 at step 1,000,000 is a value that can be
computed anywhere, so restarts, other batches and other numbers of ranks cannot change it.

`plain_normals` is the definition, in plain numpy; `compiled.noise` and `compiled.triton.philox` compute it elsewhere.

Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC11 (2011). Normal numbers by
Box & Muller (1958) from the four 32-bit outputs; the largest possible |normal| is 6.8.
"""

from __future__ import annotations

import math
from typing import Any, Final, TypeAlias

import numpy as np

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
ROUNDS: Final = 10
WEYL: Final = (0x9E3779B9, 0xBB67AE85)
TO_UNIT: Final = 2.0**-32
TWO_PI: Final = 2.0 * math.pi
_M0, _M1 = map(np.uint64, MULTIPLIERS)
_W0, _W1 = map(np.uint64, WEYL)
_MASK, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


def philox4x32(c0: Word, c1: Word, c2: Word, c3: Word, k0: Word, k1: Word) -> tuple[Word, Word, Word, Word]:
    """Ten rounds of Philox4x32: counter and key words as uint64 below 2^32 (scalars or arrays) -> four words."""
    for _ in range(ROUNDS):
        p0 = _M0 * c0
        p1 = _M1 * c2
        c0, c1, c2, c3 = (p1 >> _HALF) ^ c1 ^ k0, p1 & _MASK, (p0 >> _HALF) ^ c3 ^ k1, p0 & _MASK
        k0 = (k0 + _W0) & _MASK
        k1 = (k1 + _W1) & _MASK
    return c0, c1, c2, c3


def plain_normals(seed: int, replica: int, step: int, n_beads: int, purpose: int) -> FloatArray:
    """[n_beads, 3] standard normal numbers of one replica at one step: the definition.

    `compiled.noise` has the same numbers to 6 units in the last place. Arguments of sine are within a quarter of a
    turn, where it is as precise as they are: cos(2 pi u) = sin(2 pi w), w = |1/2 - u| - 1/4.
    """
    words = philox4x32(
        np.uint64(step) & _MASK, np.uint64(step) >> _HALF, np.arange(n_beads, dtype=np.uint64), np.uint64(purpose),
        np.uint64(seed), np.uint64(replica),
    )  # fmt: skip
    u = [(word.astype(np.float64) + 0.5) * TO_UNIT for word in words]
    radius, third = np.sqrt(-2.0 * np.log(u[0])), np.sqrt(-2.0 * np.log(u[2]))
    w, other = np.abs(0.5 - u[1]) - 0.25, np.abs(0.5 - u[3]) - 0.25
    return np.stack(
        [
            radius * np.sin(TWO_PI * w),
            radius * np.sin(TWO_PI * np.copysign(0.25 - np.abs(w), 0.5 - u[1])),
            third * np.sin(TWO_PI * other),
        ],
        axis=1,
    )
