"""Units: the internal system, and the only place where anything is converted.

Internal: length Å, energy kcal/mol, time ps, mass Da, temperature K. Every Python float of mdflash is
in these units. Text with units ("4 fs", "300 K", "1 /ps") is read by `parse` and written by `show`.

Forces are kcal/mol/Å, so an acceleration in Å/ps² is `ACCELERATION * force / mass`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

ACCELERATION: Final = 418.4
"""(kcal/mol/Å/Da) in Å/ps²: 1 kcal = 4184 J, exact."""

BOLTZMANN: Final = 8.31446261815324e-3 / 4.184
"""Boltzmann's constant, kcal/mol/K (CODATA 2018, exact)."""

NM_PER_ANGSTROM: Final = 0.1
"""For the writers of nanometre formats (XTC, HDF5)."""

KCAL_PER_KJ: Final = 1.0 / 4.184


def kT(temperature: float) -> float:
    """Thermal energy in kcal/mol at `temperature` in K."""
    return BOLTZMANN * temperature


_LENGTH = {"angstrom": 1.0, "angstroms": 1.0, "Å": 1.0, "A": 1.0, "nm": 10.0, "pm": 0.01}
_TIME = {"fs": 1e-3, "ps": 1.0, "ns": 1e3, "us": 1e6, "µs": 1e6, "μs": 1e6, "ms": 1e9}
_ENERGY = {"kcal/mol": 1.0, "kJ/mol": KCAL_PER_KJ, "eV": 23.060547830619026}
_WALL = {
    "s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0,
    "min": 60.0, "minute": 60.0, "minutes": 60.0,
    "h": 3600.0, "hour": 3600.0, "hours": 3600.0, "d": 86400.0, "day": 86400.0, "days": 86400.0,
}  # fmt: skip

DIMENSIONS: Final[Mapping[str, Mapping[str, float]]] = MappingProxyType(
    {
        "length": _LENGTH,
        "time": _TIME,
        "rate": {f"/{name}": 1.0 / factor for name, factor in _TIME.items()},
        "temperature": {"K": 1.0, "kelvin": 1.0},
        "energy": _ENERGY,
        "force": {f"{e}/{x}": _ENERGY[e] / _LENGTH[x] for e in _ENERGY for x in ("angstrom", "Å", "A", "nm")},
        "mass": {"Da": 1.0, "u": 1.0, "amu": 1.0, "g/mol": 1.0},
        "wall": _WALL,
    }
)
"""For every dimension, each unit's name and its size in the internal unit (wall time: seconds)."""

EXAMPLES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "length": "1.5 angstrom",
        "time": "4 fs",
        "rate": "1 /ps",
        "temperature": "300 K",
        "energy": "1 kcal/mol",
        "force": "5000 kcal/mol/angstrom",
        "mass": "12 Da",
        "wall": "10 min",
    }
)

_INTERNAL: Final[Mapping[str, str]] = MappingProxyType(
    {
        "length": "angstrom",
        "time": "ps",
        "rate": "/ps",
        "temperature": "K",
        "energy": "kcal/mol",
        "force": "kcal/mol/angstrom",
        "mass": "Da",
        "wall": "s",
    }
)

_QUANTITY = re.compile(r"^\s*([+-]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(.*?)\s*$")


def parse(value: object, dimension: str) -> float:
    """A quantity written with its unit, in internal units.

    Args:
        value: text such as "4 fs" or "1/ps" ("1 /ps", "1 ps^-1").
        dimension: a key of `DIMENSIONS`.

    Raises:
        ValueError: no unit, an unknown unit, or not a finite number; the text shows a corrected value.
    """
    units = DIMENSIONS[dimension]
    example = EXAMPLES[dimension]
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError(f"expected a {dimension} with its unit, such as '{example}', found {value!r}")
    if isinstance(value, (int, float)):
        raise ValueError(
            f"{value!r} has no unit; write the {dimension} with one, "
            f"for example '{value} {_INTERNAL[dimension]}' (known units: {', '.join(units)})"
        )
    match = _QUANTITY.match(value)
    if match is None:
        raise ValueError(f"expected a {dimension} such as '{example}', found {value!r}")
    number, unit = match.groups()
    unit = unit.replace(" ", "").replace("^-1", "**-1")
    if unit.endswith("**-1"):
        unit = "/" + unit[: -len("**-1")]
    if not unit:
        raise ValueError(
            f"{value!r} has no unit; write for example '{number} {_INTERNAL[dimension]}' "
            f"(known units of {dimension}: {', '.join(units)})"
        )
    if unit not in units:
        raise ValueError(
            f"unknown unit {unit!r} of {dimension} in {value!r}; known: {', '.join(units)}, for example '{example}'"
        )
    result = float(number.replace("_", "")) * units[unit]
    if not math.isfinite(result):
        raise ValueError(f"expected a finite {dimension}, found {value!r}")
    return result


def show(value: float, dimension: str, unit: str | None = None) -> str:
    """`value` (internal units) as text with a unit, which `parse` reads back."""
    unit = unit or _INTERNAL[dimension]
    number = value / DIMENSIONS[dimension][unit]
    return f"{number:.12g} {unit}"
