"""The `biases:` section of system.yaml: restraints and umbrella windows on collective variables.

What a number means depends on the variable: a center is a length, an angle, or a plain number (native contacts), and a
force constant belongs to its square. So the field `variable` comes before those that are read by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, cast

import numpy as np
from pydantic import BeforeValidator, Field, ValidationInfo, field_serializer

from mdflash.config.section import Section, read_file
from mdflash.core.quantity import Length, NoneWord, Whole, Word, describe, read_quantity, show_quantity
from mdflash.units import EXAMPLES, INTERNAL

Kind = Literal["distance", "angle", "dihedral", "position", "rmsd", "radius_of_gyration", "native_contacts"]
Form = Literal["harmonic", "flat-bottom", "linear"]
Group = int | str | tuple[int, ...]
"""A bead, a selection in MDTraj's language, or a group of beads."""

GROUPS: Final[Mapping[str, int]] = MappingProxyType({"distance": 2, "angle": 3, "dihedral": 4})
WITH_REFERENCE: Final = ("position", "rmsd", "native_contacts")
MOST_WINDOWS: Final = 1_000_000

_WINDOWS = "`center: {min: 4 angstrom, max: 20 angstrom, count: 16}`"
_EXAMPLE: Final = MappingProxyType({"length": "8 angstrom", "angle": "60 degree"})


def _dimension(variable: str) -> str | None:
    """Of the variable's value; None: a plain number."""
    if variable == "native_contacts":
        return None
    return "angle" if variable in ("angle", "dihedral") else "length"


def _force_dimension(variable: str, form: str) -> str:
    """Of the force constant."""
    value = _dimension(variable)
    if value is None:
        return "energy"
    if form == "linear":
        return "force" if value == "length" else "torque"
    return "stiffness" if value == "length" else "angular stiffness"


def _example(dimension: str | None) -> str:
    return "0.5" if dimension is None else _EXAMPLE.get(dimension, EXAMPLES[dimension])


def _read_number(value: object, dimension: str | None, key: str) -> float:
    """One value in internal units."""
    if dimension is not None:
        return read_quantity(value, dimension, _example(dimension), key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value):
        raise ValueError(f"expected a plain number (this variable has no unit), found {describe(value)}")
    return float(value)


def _read_windows(value: Mapping[str, object], dimension: str | None, key: str) -> tuple[float, ...]:
    """{min, max, count} as an even series."""
    if set(value) != {"min", "max", "count"}:
        raise ValueError(f"expected the keys min, max, count, found {', '.join(map(str, value))}; write {_WINDOWS}")
    count = value["count"]
    if isinstance(count, bool) or not isinstance(count, int) or not 2 <= count <= MOST_WINDOWS:
        raise ValueError(f"count must be a whole number of 2 or more, found {describe(count)}; for example {_WINDOWS}")
    low, high = (_read_number(value[word], dimension, word) for word in ("min", "max"))
    if not low < high:
        raise ValueError(f"min must be below max, found {value['min']} and {value['max']}; for example {_WINDOWS}")
    if dimension is None:
        return tuple(float(round(x, 6)) for x in np.linspace(low, high, count))
    unit = str(value["min"]).strip().lstrip("+-0123456789.eE_ ")  # in which round numbers stay round
    size = read_quantity(f"1 {unit}", dimension, "", key)
    series = (float(round(x, 6)) for x in np.linspace(low / size, high / size, count))
    return (low, *(read_quantity(f"{x!r} {unit}", dimension, "", key) for x in list(series)[1:-1]), high)


def _read_parameter(value: object, info: ValidationInfo) -> tuple[float, ...]:
    """`force_constant` or `center`: one value, a list, or (centers) windows."""
    key, before = str(info.field_name), info.data
    if "variable" not in before or "form" not in before:
        return ()  # whose own error is enough
    variable, form = before["variable"], before["form"]
    dimension = _dimension(variable) if key == "center" else _force_dimension(variable, form)
    if value is None:
        if key == "center" and (variable == "position" or form == "linear"):
            return (0.0,)
        raise ValueError(f"is missing; add for example `{key}: {_example(dimension)}`")
    if isinstance(value, dict) and key == "center":
        return _read_windows(value, dimension, key)
    given = value if isinstance(value, (list, tuple)) else [value]
    if not given:
        raise ValueError(f"the list is empty; write for example `{key}: {_example(dimension)}`")
    numbers = tuple(_read_number(item, dimension, key) for item in given)
    if key == "force_constant" and form != "linear" and min(numbers) < 0:
        raise ValueError(f"must be 0 or more, found {describe(given[numbers.index(min(numbers))])}")
    return numbers


def _read_width(value: object, info: ValidationInfo) -> float:
    before = info.data
    if "variable" not in before or "form" not in before:
        return 0.0
    dimension = _dimension(before["variable"])
    example = f"`width: {'0.1' if dimension is None else '1 angstrom' if dimension == 'length' else '10 degree'}`"
    if value is None:
        if before["form"] == "flat-bottom":
            raise ValueError(f"is missing; a flat bottom needs it: add for example {example}")
        return 0.0
    number = _read_number(value, dimension, "width")
    if number < 0 or (number == 0) == (before["form"] == "flat-bottom"):
        fix = "remove it, or write `form: flat-bottom`" if number > 0 else f"for example {example}"
        raise ValueError(f"{describe(value)} does not go with `form: {before['form']}`; {fix}")
    return number


def _read_beads(value: object, info: ValidationInfo) -> tuple[Group, ...]:
    groups = GROUPS.get(str(info.data.get("variable")))
    example = f"`beads: [{', '.join(str(9 * k) for k in range(groups))}]`" if groups else "`beads: all`"
    if value is None:
        if groups:
            raise ValueError(
                f"is missing; `variable: {info.data['variable']}` takes {groups}: add for example {example}"
            )
        return ("all",)
    entries = value if isinstance(value, (list, tuple)) else [value]
    if groups is not None and len(entries) != groups:
        raise ValueError(
            f"`variable: {info.data['variable']}` takes {groups} beads (or groups of beads), found {len(entries)}; "
            f"for example {example}"
        )
    if not entries:
        raise ValueError("the list is empty; write `beads: all`, or list some")
    return tuple(_read_group(entry) for entry in entries)


def _read_group(entry: object) -> Group:
    if isinstance(entry, str) and entry.strip():
        return entry
    items = entry if isinstance(entry, (list, tuple)) and entry else (entry,)
    for item in items:
        if isinstance(item, bool) or not isinstance(item, int) or item < 0:
            raise ValueError(
                f"expected a bead number (counted from 0), a list of them, or a selection such as "
                f"'resSeq 3 to 7 and name CA', found {describe(item)}"
            )
    return entry if isinstance(entry, int) else tuple(cast(tuple[int, ...], items))


def _read_reference(value: object, info: ValidationInfo) -> Path | Literal["start"] | None:
    variable = info.data.get("variable")
    given = value not in (None, "none")
    if variable in WITH_REFERENCE:
        return read_file(value, info) if given and value != "start" else "start"
    if given and variable is not None:
        raise ValueError(f"`variable: {variable}` has no reference; remove this line")
    return None


def _read_inverse_length(value: object) -> float:
    number = value if isinstance(value, float) else read_quantity(value, "inverse length", "5 /angstrom", "beta")
    if number <= 0:
        raise ValueError(f"must be more than 0, found {describe(value)}; for example `beta: 5 /angstrom`")
    return number


class Contacts(Section):
    """Which contacts are native, and Q = mean of 1 / (1 + exp(beta (r - stretch r0)))."""

    cutoff: Length = Field(default=8.0, description="pairs nearer than this in the reference are native contacts")
    separation: Annotated[int, Whole(0, 10**6)] = Field(
        default=3, description="only pairs more residues apart than this, or of different chains"
    )
    beta: Annotated[float, BeforeValidator(_read_inverse_length, json_schema_input_type=str)] = Field(
        default=5.0, description="steepness", examples=["5 /angstrom"]
    )
    stretch: Annotated[float, Field(gt=0.0, le=10.0)] = Field(
        default=1.2, description="lambda: how far a contact may stretch; 1.8 is usual for all atoms"
    )

    @field_serializer("beta")
    def _beta(self, value: float) -> str:
        return show_quantity(value, "inverse length", ("/angstrom",))


def _read_contacts(value: object, info: ValidationInfo) -> object:
    variable = info.data.get("variable")
    given = value not in (None, "none")
    if variable == "native_contacts":
        return value if given else Contacts()
    if given and variable is not None:
        raise ValueError(f"`variable: {variable}` has no contacts; remove them, or write `variable: native_contacts`")
    return None


class BiasEntry(Section):
    """An energy on one collective variable of every replica of a system."""

    name: Word = Field(description="names its columns in colvars.csv", examples=["pull"])
    variable: Kind = Field(
        description="distance | angle | dihedral | position | rmsd | radius_of_gyration | native_contacts",
        examples=["distance"],
    )
    form: Form = Field(
        default="harmonic",
        description="harmonic (1/2 k d^2) | flat-bottom (1/2 k (|d| - width)^2 beyond width) | linear (k d)",
    )
    beads: Annotated[
        tuple[Group, ...],
        BeforeValidator(_read_beads, json_schema_input_type=str | list[int | str | list[int]] | None),
    ] = Field(
        default=cast(Any, None),
        validate_default=True,
        description="numbers from 0, groups [[0, 1], [8, 9]] (centers of mass), or MDTraj selections; all",
        examples=["[0, 9]"],
    )
    force_constant: Annotated[
        tuple[float, ...], BeforeValidator(_read_parameter, json_schema_input_type=str | float | list[str | float])
    ] = Field(
        default=cast(Any, None),
        validate_default=True,
        description="k; one value, or a list that replicas take in turn",
        examples=["2 kcal/mol/angstrom^2"],
    )
    center: Annotated[
        tuple[float, ...],
        BeforeValidator(_read_parameter, json_schema_input_type=str | float | list[str | float] | dict[str, Any]),
    ] = Field(
        default=cast(Any, None),
        validate_default=True,
        description="one value, a list that replicas take in turn, or windows {min, max, count}",
        examples=["{min: 4 angstrom, max: 20 angstrom, count: 16}"],
    )
    width: Annotated[float, BeforeValidator(_read_width, json_schema_input_type=str | float)] = Field(
        default=cast(Any, None), validate_default=True, description="of a flat bottom: none within center +- width"
    )
    system: Annotated[Word | None, NoneWord] = Field(
        default=None, description="name of the system it acts on; needed where there are several"
    )
    reference: Annotated[
        Path | Literal["start"] | None, BeforeValidator(_read_reference, json_schema_input_type=str)
    ] = Field(
        default=None,
        validate_default=True,
        description="of position, rmsd, native_contacts: start (the first start frame) or a structure file",
    )
    contacts: Annotated[Contacts | None, BeforeValidator(_read_contacts)] = Field(
        default=None, validate_default=True, description="of native_contacts: which they are"
    )

    @property
    def windows(self) -> int:
        """Different centers or force constants."""
        return max(len(self.center), len(self.force_constant))

    def _texts(self, values: tuple[float, ...], dimension: str | None) -> Any:
        if dimension is None:
            found: list[Any] = list(values)
        else:
            names = ("degree", "rad") if dimension == "angle" else (INTERNAL[dimension],)
            found = [show_quantity(v, dimension, names) for v in values]
        return found[0] if len(found) == 1 else found

    @field_serializer("force_constant")
    def _force_constant(self, values: tuple[float, ...]) -> Any:
        return self._texts(values, _force_dimension(self.variable, self.form))

    @field_serializer("center")
    def _center(self, values: tuple[float, ...]) -> Any:
        return self._texts(values, _dimension(self.variable))

    @field_serializer("width")
    def _width(self, value: float) -> Any:
        return self._texts((value,), _dimension(self.variable))

    @field_serializer("reference")
    def _reference(self, value: Path | str | None) -> str:
        return "none" if value is None else str(value)

    @field_serializer("beads")
    def _beads(self, value: tuple[Group, ...]) -> Any:
        return (
            value[0]
            if len(value) == 1 and isinstance(value[0], str)
            else [list(g) if isinstance(g, tuple) else g for g in value]
        )
