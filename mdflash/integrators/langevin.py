"""Langevin dynamics: m dv = F dt - gamma m v dt + sqrt(2 gamma m kT) dW, in two splittings.

| symbol          | variable   | unit  |
|-----------------|------------|-------|
| dt              | timestep   | ps    |
| gamma           | collision_rate (friction) | 1/ps |
| c = exp(-gamma dt) | of FLUCTUATE, see `base` |  |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mdflash.integrators.base import DRIFT, FLUCTUATE, KICK, Part, WithFriction


@dataclass(frozen=True)
class LangevinMiddle(WithFriction):
    """The leapfrog form of the middle scheme, as OpenMM's LangevinMiddleIntegrator; the default.

        v <- v + dt F(x)/m;  x <- x + dt/2 v;  v <- c v + sqrt(1 - c^2) sqrt(kT/m) N;  x <- x + dt/2 v

    Velocities are those of the half step. Positions sample a harmonic well exactly for every stable dt.
    Zhang, Liu, Yan, Tuckerman & Liu, J. Phys. Chem. A 123, 6056 (2019).
    """

    name: ClassVar[str] = "langevin-middle"
    before: ClassVar[tuple[Part, ...]] = (Part(KICK), Part(DRIFT, 0.5), Part(FLUCTUATE), Part(DRIFT, 0.5))


@dataclass(frozen=True)
class LangevinBAOAB(WithFriction):
    """BAOAB, as in mlcg.

        v <- v + dt/2 F(x)/m;  x <- x + dt/2 v;  v <- c v + sqrt(1 - c^2) sqrt(kT/m) N;  x <- x + dt/2 v;
        v <- v + dt/2 F(x)/m

    Leimkuhler & Matthews, Appl. Math. Res. Express 2013, 34 (2013).
    """

    name: ClassVar[str] = "langevin-baoab"
    before: ClassVar[tuple[Part, ...]] = (Part(KICK, 0.5), Part(DRIFT, 0.5), Part(FLUCTUATE), Part(DRIFT, 0.5))
    last_kick: ClassVar[float] = 0.5
