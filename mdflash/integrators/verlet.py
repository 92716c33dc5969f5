"""Velocity Verlet: Newton's equations at constant energy (NVE).

    v <- v + dt/2 F(x)/m;  x <- x + dt v;  v <- v + dt/2 F(x)/m

Swope, Andersen, Berens & Wilson, J. Chem. Phys. 76, 637 (1982).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mdflash.integrators.base import DRIFT, KICK, Integrator, Part


@dataclass(frozen=True)
class Verlet(Integrator):
    """Velocity Verlet; takes no noise."""

    name: ClassVar[str] = "verlet"
    about: ClassVar[str] = "constant energy"
    before: ClassVar[tuple[Part, ...]] = (Part(KICK, 0.5), Part(DRIFT))
    last_kick: ClassVar[float] = 0.5
