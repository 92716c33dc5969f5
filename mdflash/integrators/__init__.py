"""The schemes of a run. `__all__` is the only list: names, help texts, checks, exports and tests follow from it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from mdflash.integrators.base import Integrator
from mdflash.integrators.brownian import Brownian
from mdflash.integrators.langevin import LangevinBAOAB, LangevinMiddle
from mdflash.integrators.verlet import Verlet

__all__ = [
    "LangevinMiddle",
    "LangevinBAOAB",
    "Verlet",
    "Brownian",
]

INTEGRATORS: Final[Mapping[str, type[Integrator]]] = MappingProxyType(
    {scheme.name: scheme for scheme in map(globals().__getitem__, __all__)}
)
"""Every scheme by its name in system.yaml; the first is the default."""

if TYPE_CHECKING:
    SchemeName: TypeAlias = str
else:
    SchemeName = Literal[tuple(INTEGRATORS)]
"""The name of a scheme, for the schema of system.yaml."""

DEFAULT: Final = next(iter(INTEGRATORS))


def described() -> str:
    """All schemes in a line of help."""
    return " | ".join(f"{s.name} ({s.about})" if s.about else s.name for s in INTEGRATORS.values())


def without_friction() -> str:
    """The schemes that ignore the friction, in words."""
    return " and ".join(s.name for s in INTEGRATORS.values() if not s.has_friction)
