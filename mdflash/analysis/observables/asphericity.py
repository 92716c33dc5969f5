"""How far from a sphere."""

from __future__ import annotations

from mdflash.analysis.measures import asphericity, gyration_moments
from mdflash.analysis.molecule import Molecule
from mdflash.analysis.observables.base import Observable, Values


def _values(m: Molecule) -> Values | None:
    if m.many:
        return None
    masses = m.system.masses
    return lambda x: asphericity(gyration_moments(x, masses))


ASPHERICITY = Observable(
    "asphericity",
    "asphericity",
    "",
    _values,
    span=(0.0, 1.0),
    source="asphericity of the gyration tensor (Aronovitz & Nelson 1986)",
)
