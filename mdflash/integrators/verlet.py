"""Velocity Verlet: Newton's equations at constant energy (NVE).

    v <- v + dt/2 F(x)/m;  x <- x + dt v;  v <- v + dt/2 F(x)/m

Swope, Andersen, Berens & Wilson, J. Chem. Phys. 76, 637 (1982).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from mdflash.integrators.base import Integrator


@dataclass(frozen=True)
class Verlet(Integrator):
    """Velocity Verlet; takes no noise."""

    name: ClassVar[str] = "verlet"
    code: ClassVar[int] = 2
    thermostatted: ClassVar[bool] = False

    def before_force(self, x: Tensor, v: Tensor, a: Tensor, thermal: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        v = v + 0.5 * self.timestep * a
        return x + self.timestep * v, v

    def after_force(self, v: Tensor, a: Tensor) -> Tensor:
        return v + 0.5 * self.timestep * a
