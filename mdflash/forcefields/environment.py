"""The solution around the protein: temperature, salt and pH, and what physics makes of them.

    eps_r(T) = 5321/T + 233.76 - 0.9297 T + 1.417e-3 T^2 - 8.292e-7 T^3      water
    l_B      = B / (eps_r T)                                                 Bjerrum length, Å
    kappa    = sqrt(8 pi l_B n I)                                            inverse Debye length, 1/Å
    q        = q_deprotonated + 1 / (1 + 10^(pH - pKa))                      a site that titrates

| symbol | meaning                                             |
|--------|-----------------------------------------------------|
| T      | temperature, K                                      |
| I      | ionic strength, mol/L                               |
| B      | e^2 / (4 pi eps0 kB), Å K                           |
| n      | ions of one kind per Å^3 at 1 mol/L: 6.02214076e-4  |

The permittivity is the fit of Åkerlöf & Oshry, J. Am. Chem. Soc. 72, 2844 (1950), as CALVADOS writes it (Tesei et al.,
PNAS 118, e2111696118 (2021)). Published models round B and n differently, so a force field states its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from mdflash import units
from mdflash.core.ranges import Range

TEMPERATURE: Final = Range(200.0, 600.0)
"""K; where the fit of the permittivity is a liquid's."""
SALT: Final = Range(0.0, 20.0)
"""mol/L."""
PH: Final = Range(-2.0, 16.0)
PKA: Final = Range(-50.0, 100.0)


@dataclass(frozen=True)
class Environment:
    """What surrounds the molecules.

    Attributes:
        temperature: K; of the solvent's permittivity and the salt's screening, not of the dynamics.
        ionic_strength: mol/L.
        pH: decides the charge of histidines and phosphates.
    """

    temperature: float
    ionic_strength: float
    pH: float

    def describe(self) -> dict[str, str | float]:
        """As text with units, as it stands in YAML files."""
        return {
            "temperature": units.show(self.temperature, "temperature"),
            "ionic_strength": units.show(self.ionic_strength, "concentration"),
            "pH": self.pH,
        }


BJERRUM: Final = 167100.96
"""e^2 / (4 pi eps0 kB), Å K (CODATA 2018)."""
COULOMB: Final = 332.063713
"""e^2 NA / (4 pi eps0), kcal Å/mol (CODATA 2018)."""
NUMBER_DENSITY: Final = 6.02214076e-4
"""Particles per Å^3 at 1 mol/L."""


def water(temperature: float) -> float:
    """eps_r of water at `temperature` in K."""
    t = temperature
    return 5321.0 / t + 233.76 - 0.9297 * t + 1.417e-3 * t**2 - 8.292e-7 * t**3


SOLVENTS: Final[Mapping[str, Callable[[float], float]]] = MappingProxyType({"water": water})
"""Relative permittivity of a solvent at a temperature in K, by name."""


def permittivity(of: float | str, temperature: float) -> float:
    """Relative permittivity: a number, or a solvent at `temperature` in K."""
    return SOLVENTS[of](temperature) if isinstance(of, str) else of


def inverse_debye_length(bjerrum_length: float, number_density: float, ionic_strength: float) -> float:
    """kappa in 1/Å.

    Args:
        bjerrum_length: Å.
        number_density: per Å^3 at 1 mol/L.
        ionic_strength: mol/L.
    """
    return math.sqrt(8.0 * math.pi * bjerrum_length * number_density * ionic_strength)


def protonated(pKa: float, pH: float) -> float:
    """Which part of the sites of `pKa` carries its proton."""
    return 1.0 / (1.0 + math.pow(10.0, pH - pKa))
