"""Overdamped Langevin dynamics by Euler & Maruyama:

    x <- x + dt F(x) / (gamma m) + sqrt(2 dt / gamma) sqrt(kT/m) N

Velocities play no part and are left alone. Ermak & McCammon, J. Chem. Phys. 69, 1352 (1978), without hydrodynamic
interaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mdflash.integrators.base import SLIDE, Part, WithFriction


@dataclass(frozen=True)
class Brownian(WithFriction):
    """Euler-Maruyama; `collision_rate` is gamma in 1/ps."""

    name: ClassVar[str] = "brownian"
    before: ClassVar[tuple[Part, ...]] = (Part(SLIDE),)
