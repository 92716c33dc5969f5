"""Langevin dynamics: m dv = F dt - gamma m v dt + sqrt(2 gamma m kT) dW, in two splittings.

| symbol          | variable   | unit  |
|-----------------|------------|-------|
| dt              | timestep   | ps    |
| gamma           | collision_rate (friction) | 1/ps |
| F/m             | a          | Å/ps² |
| sqrt(kT/m)      | thermal    | Å/ps  |
| N(0, 1)         | noise      |       |
| exp(-gamma dt)  | c          |       |
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from mdflash.integrators.base import _WithFriction


@dataclass(frozen=True)
class LangevinMiddle(_WithFriction):
    """The leapfrog form of the middle scheme, as OpenMM's LangevinMiddleIntegrator; the default.

        v <- v + dt F(x)/m;  x <- x + dt/2 v;  v <- c v + sqrt(1 - c^2) sqrt(kT/m) N;  x <- x + dt/2 v

    Velocities are those of the half step. Positions sample a harmonic well exactly for every stable dt.
    Zhang, Liu, Yan, Tuckerman & Liu, J. Phys. Chem. A 123, 6056 (2019).
    """

    name: ClassVar[str] = "langevin-middle"
    code: ClassVar[int] = 0

    def before_force(self, x: Tensor, v: Tensor, a: Tensor, thermal: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        c = math.exp(-self.friction * self.timestep)
        v = v + self.timestep * a
        x = x + 0.5 * self.timestep * v
        v = c * v + math.sqrt(1.0 - c * c) * thermal * noise
        return x + 0.5 * self.timestep * v, v


@dataclass(frozen=True)
class LangevinBAOAB(_WithFriction):
    """BAOAB, as in mlcg.

        v <- v + dt/2 F(x)/m;  x <- x + dt/2 v;  v <- c v + sqrt(1 - c^2) sqrt(kT/m) N;  x <- x + dt/2 v;
        v <- v + dt/2 F(x)/m

    Leimkuhler & Matthews, Appl. Math. Res. Express 2013, 34 (2013).
    """

    name: ClassVar[str] = "langevin-baoab"
    code: ClassVar[int] = 1

    def before_force(self, x: Tensor, v: Tensor, a: Tensor, thermal: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        c = math.exp(-self.friction * self.timestep)
        v = v + 0.5 * self.timestep * a
        x = x + 0.5 * self.timestep * v
        v = c * v + math.sqrt(1.0 - c * c) * thermal * noise
        return x + 0.5 * self.timestep * v, v

    def after_force(self, v: Tensor, a: Tensor) -> Tensor:
        return v + 0.5 * self.timestep * a
