"""Units: the internal system, and the only place where anything is converted.

Internal: length Å, energy kcal/mol, time ps, mass Da, temperature K, concentration mol/L. Every Python float of
mdflash is in these units. Text with units ("4 fs", "300 K", "1 /ps") is read by `parse` and written by `show`.

Forces are kcal/mol/Å, so an acceleration in Å/ps² is `ACCELERATION * force / mass`.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

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
_ANGLE = {"rad": 1.0, "radian": 1.0, "degree": math.pi / 180, "degrees": math.pi / 180, "deg": math.pi / 180}
_CONCENTRATION = {"M": 1.0, "mol/L": 1.0, "mol/l": 1.0, "mM": 1e-3, "mmol/L": 1e-3}
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
        "angle": _ANGLE,
        "inverse length": {f"/{x}": 1.0 / size for x, size in _LENGTH.items()},
        "torque": {f"{e}/{a}": _ENERGY[e] / _ANGLE[a] for e in _ENERGY for a in _ANGLE},
        "stiffness": {
            f"{e}/{x}^2": _ENERGY[e] / _LENGTH[x] ** 2 for e in _ENERGY for x in ("angstrom", "Å", "A", "nm")
        },
        "angular stiffness": {f"{e}/{a}^2": _ENERGY[e] / _ANGLE[a] ** 2 for e in _ENERGY for a in _ANGLE},
        "concentration": _CONCENTRATION,
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
        "angle": "60 degree",
        "inverse length": "5 /angstrom",
        "torque": "2 kcal/mol/rad",
        "stiffness": "2 kcal/mol/angstrom^2",
        "angular stiffness": "20 kcal/mol/rad^2",
        "concentration": "0.15 M",
    }
)

INTERNAL: Final[Mapping[str, str]] = MappingProxyType(
    {
        "length": "angstrom",
        "time": "ps",
        "rate": "/ps",
        "temperature": "K",
        "energy": "kcal/mol",
        "force": "kcal/mol/angstrom",
        "mass": "Da",
        "wall": "s",
        "angle": "rad",
        "inverse length": "/angstrom",
        "torque": "kcal/mol/rad",
        "stiffness": "kcal/mol/angstrom^2",
        "angular stiffness": "kcal/mol/rad^2",
        "concentration": "M",
    }
)
"""The internal unit of every dimension."""

_PARTS: Final[Mapping[str, Mapping[str, int]]] = MappingProxyType(
    {
        "length": {"angstrom": 1},
        "time": {"picosecond": 1},
        "rate": {"picosecond": -1},
        "temperature": {"kelvin": 1},
        "energy": {"kilocalorie": 1, "mole": -1},
        "force": {"kilocalorie": 1, "mole": -1, "angstrom": -1},
        "mass": {"dalton": 1},
        "wall": {"second": 1},
        "angle": {"radian": 1},
        "inverse length": {"angstrom": -1},
        "torque": {"kilocalorie": 1, "mole": -1, "radian": -1},
        "stiffness": {"kilocalorie": 1, "mole": -1, "angstrom": -2},
        "angular stiffness": {"kilocalorie": 1, "mole": -1, "radian": -2},
        "concentration": {"mole": 1, "liter": -1},
    }
)
"""The internal units as products of powers, by the names that OpenMM and pint share."""

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
            f"for example '{value} {INTERNAL[dimension]}' (known units: {', '.join(units)})"
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
            f"{value!r} has no unit; write for example '{number} {INTERNAL[dimension]}' "
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


def from_number(value: Any, dimension: str) -> float | None:
    """A Python number (in internal units) or a quantity of OpenMM or pint, in internal units; None for anything else.

    Neither library is imported: their quantities are known by what they can do.

    Args:
        value: `0.004`, `4 * openmm.unit.femtoseconds`, `registry.Quantity(4, "fs")`, ...
        dimension: a key of `DIMENSIONS`.

    Raises:
        ValueError: a quantity of another dimension, or not a finite number.
    """
    if isinstance(value, bool):
        return None
    magnitude = strip_unit(value, dimension)
    if getattr(magnitude, "ndim", 0) or not hasattr(magnitude, "__float__"):
        return None
    result = float(magnitude)
    if not math.isfinite(result):
        raise ValueError(f"expected a finite {dimension}, found {value}")
    if magnitude is not value:
        # the conversions of other libraries round; these are the bits of the same quantity as text
        number = float(value.magnitude if hasattr(value, "magnitude") else value.value_in_unit(value.unit))
        same = [number * size for size in DIMENSIONS[dimension].values()]
        return next((x for x in same if math.isclose(x, result, rel_tol=1e-12)), result)
    return result


def strip_unit(value: Any, dimension: str) -> Any:
    """The magnitude of a quantity of OpenMM or pint in internal units, scalar or array; anything else as it is.

    Raises:
        ValueError: a quantity of another dimension.
    """
    parts = _PARTS[dimension]
    try:
        if hasattr(value, "value_in_unit"):
            library = sys.modules[type(value).__module__.rpartition(".")[0]]
            powers = (getattr(library, name) ** power for name, power in parts.items())
            return value.value_in_unit(math.prod(powers, start=library.dimensionless))
        if hasattr(value, "magnitude") and hasattr(value, "to"):
            return value.to(dict(parts)).magnitude
    except TypeError:  # of both libraries, for units that do not fit
        raise ValueError(f"expected a {dimension} such as '{EXAMPLES[dimension]}', found {value}") from None
    return value


def show(value: float, dimension: str, unit: str | None = None) -> str:
    """`value` (internal units) as text with a unit, which `parse` reads back."""
    unit = unit or INTERNAL[dimension]
    number = value / DIMENSIONS[dimension][unit]
    return f"{number:.12g} {unit}"
