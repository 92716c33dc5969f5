"""Overdamped Langevin dynamics by Euler & Maruyama:

    x <- x + dt F(x) / (gamma m) + sqrt(2 kT dt / (gamma m)) N

with F/m = a and kT/m = thermal^2. Velocities play no part and are left alone. Ermak & McCammon, J. Chem. Phys. 69,
1352 (1978), without hydrodynamic interaction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from mdflash.integrators.base import _WithFriction


@dataclass(frozen=True)
class Brownian(_WithFriction):
    """Euler-Maruyama; `collision_rate` is gamma in 1/ps."""

    name: ClassVar[str] = "brownian"
    code: ClassVar[int] = 3

    def before_force(self, x: Tensor, v: Tensor, a: Tensor, thermal: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        dt, gamma = self.timestep, self.friction
        return x + (dt / gamma) * a + math.sqrt(2.0 * dt / gamma) * thermal * noise, v
