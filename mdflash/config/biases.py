"""The `monitor:` and `biases:` sections of system.yaml: collective variables, and energies on them.

What a number means depends on the variable: a center is a length, an angle, or a plain number (native contacts), and a
force constant belongs to its square. So the field `variable` comes before those that are read by it. What there is to
know of each variable is in `potentials.variables`, which lists them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple, cast

import numpy as np
from pydantic import BeforeValidator, Field, ValidationInfo, create_model, field_serializer

from mdflash.config.section import Section, read_file
from mdflash.config.series import read_series
from mdflash.core.quantity import Duration, NoneWord, Quantity, Word, describe, read_quantity, show_quantity
from mdflash.core.ranges import LARGEST
from mdflash.potentials.bias.bias_form import EQUATIONS, BiasForm
from mdflash.potentials.variables import VARIABLES
from mdflash.potentials.variables.base import Dimension, Options, Variable
from mdflash.units import EXAMPLES, INTERNAL

if TYPE_CHECKING:
    VariableName = str
else:
    VariableName = Literal[tuple(VARIABLES)]

Group = int | str | tuple[int, ...]
"""A bead, a selection in MDTraj's language, or a group of beads."""

MOST_WINDOWS: Final = 1_000_000
_FURTHEST: Final = 1e6
"""Å; no bead gets there."""

_WINDOWS = "`center: {min: 4 angstrom, max: 20 angstrom, count: 16}`"


class _Words(NamedTuple):
    """How numbers of a variable are written, by its dimension."""

    center: str  # an example
    width: str  # an example
    shown_in: tuple[str, ...]
    quadratic: str  # dimension of the force constant
    linear: str  # the same of a linear bias


_WORDS: Final[Mapping[Dimension | None, _Words]] = MappingProxyType(
    {
        "length": _Words("8 angstrom", "1 angstrom", ("angstrom",), "stiffness", "force"),
        "angle": _Words("60 degree", "10 degree", ("degree", "rad"), "angular stiffness", "torque"),
        None: _Words("0.5", "0.1", (), "energy", "energy"),
    }
)


def _force_dimension(variable: type[Variable], form: BiasForm) -> str:
    """Of the force constant."""
    words = _WORDS[variable.dimension]
    return words.linear if form == "linear" else words.quadratic


def example_of(dimension: Dimension | None, key: Literal["center", "width"]) -> str:
    """How a number of a variable is written."""
    return _WORDS[dimension].center if key == "center" else _WORDS[dimension].width


def _example(dimension: str | None) -> str:
    if dimension in (None, "length", "angle"):
        return _WORDS[cast(Dimension | None, dimension)].center
    return EXAMPLES[str(dimension)]


def read_number(value: object, dimension: str | None, key: str) -> float:
    """One value in internal units."""
    if dimension is not None:
        return read_quantity(value, dimension, _example(dimension), key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value):
        raise ValueError(f"expected a plain number (this variable has no unit), found {describe(value)}")
    return float(value)


def _read_windows(value: Mapping[str, object], dimension: str | None, key: str) -> tuple[float, ...]:
    """{min, max, count} as an even series."""
    lowest, highest, count = read_series(value, MOST_WINDOWS, _WINDOWS)
    low, high = read_number(lowest, dimension, "min"), read_number(highest, dimension, "max")
    if not low < high:
        raise ValueError(f"min must be below max, found {lowest} and {highest}; for example {_WINDOWS}")
    if dimension is None:
        return tuple(float(round(x, 6)) for x in np.linspace(low, high, count))
    unit = str(lowest).strip().lstrip("+-0123456789.eE_ ")  # in which round numbers stay round
    size = read_quantity(f"1 {unit}", dimension, "", key)
    series = (float(round(x, 6)) for x in np.linspace(low / size, high / size, count))
    return (low, *(read_quantity(f"{x!r} {unit}", dimension, "", key) for x in list(series)[1:-1]), high)


def _read_parameter(value: object, info: ValidationInfo) -> tuple[float, ...]:
    """`force_constant` or `center`: one value, a list, or (centers) windows."""
    key, before = str(info.field_name), info.data
    if "variable" not in before or "form" not in before:
        return ()  # whose own error is enough
    variable, form = VARIABLES[before["variable"]], before["form"]
    dimension = variable.dimension if key == "center" else _force_dimension(variable, form)
    if value is None:
        default = 0.0 if form == "linear" else variable.default_center
        if key == "center" and default is not None:
            return (default,)
        raise ValueError(f"is missing; add for example `{key}: {_example(dimension)}`")
    if isinstance(value, dict) and key == "center":
        numbers = _read_windows(value, dimension, key)
    else:
        given = value if isinstance(value, (list, tuple)) else [value]
        if not given:
            raise ValueError(f"the list is empty; write for example `{key}: {_example(dimension)}`")
        numbers = tuple(read_number(item, dimension, key) for item in given)
    if key == "force_constant" and max(map(abs, numbers)) > LARGEST:
        raise ValueError(f"must be at most {LARGEST:g} in internal units; for example `{key}: {_example(dimension)}`")
    if key == "force_constant" and form != "linear" and min(numbers) < 0:
        raise ValueError(f"must be 0 or more, found {describe(given[numbers.index(min(numbers))])}")
    if key == "center" and form != "linear":
        _check_range(variable, numbers)
    return numbers


def _check_range(variable: type[Variable], centers: tuple[float, ...]) -> None:
    """Refuse centers that no value reaches; those of a periodic variable may be on the next turn, either way."""
    rounding = 1e-9
    turn = 2.0 * math.pi if variable.periodic else 0.0
    low, high = (-turn, turn) if turn else (variable.lowest, min(variable.highest, _FURTHEST))
    for center in centers:
        if low - rounding <= center <= high + rounding:
            continue
        found, lowest, highest = (text_of(x, variable.dimension) for x in (center, low, high))
        span = f"{lowest} or more" if math.isinf(variable.highest) and center < low else f"{lowest} to {highest}"
        raise ValueError(
            f"{found} is out of reach: `variable: {variable.name}` is {span}; for a constant pull write `form: linear`"
        )


def text_of(value: float, dimension: Dimension | None) -> Any:
    """A value of a variable as it is written out."""
    if dimension is None or math.isinf(value):
        return value
    return show_quantity(value, dimension, _WORDS[dimension].shown_in)


def _read_width(value: object, info: ValidationInfo) -> float:
    before = info.data
    if "variable" not in before or "form" not in before:
        return 0.0
    dimension = VARIABLES[before["variable"]].dimension
    example = f"`width: {_WORDS[dimension].width}`"
    if value is None:
        if before["form"] == "flat-bottom":
            raise ValueError(f"is missing; a flat bottom needs it: add for example {example}")
        return 0.0
    number = read_number(value, dimension, "width")
    if number < 0 or (number == 0) == (before["form"] == "flat-bottom"):
        fix = "remove it, or write `form: flat-bottom`" if number > 0 else f"for example {example}"
        raise ValueError(f"{describe(value)} does not go with `form: {before['form']}`; {fix}")
    variable = VARIABLES[before["variable"]]
    reach = (variable.highest - variable.lowest) / (2.0 if variable.periodic else 1.0)
    if number >= min(reach, _FURTHEST):
        raise ValueError(
            f"{describe(value)} leaves no value outside, so the bias would never act: `variable: {variable.name}` goes "
            f"from {text_of(variable.lowest, dimension)} to {text_of(min(variable.highest, _FURTHEST), dimension)}; "
            f"for example {example}"
        )
    return number


def _read_beads(value: object, info: ValidationInfo) -> tuple[Group, ...]:
    name = str(info.data.get("variable"))
    takes = VARIABLES[name].takes if name in VARIABLES else None
    example = f"`beads: [{', '.join(str(9 * k) for k in range(takes))}]`" if takes else "`beads: all`"
    if value is None:
        if takes:
            raise ValueError(f"is missing; `variable: {name}` takes {takes}: add for example {example}")
        return ("all",)
    entries = value if isinstance(value, (list, tuple)) else [value]
    if takes is not None and len(entries) != takes:
        raise ValueError(
            f"`variable: {name}` takes {takes} beads (or groups of beads), found {len(entries)}; for example {example}"
        )
    if not entries:
        raise ValueError("the list is empty; write `beads: all`, or list some")
    return tuple(_read_group(entry) for entry in entries)


def _read_group(entry: object) -> Group:
    if isinstance(entry, str) and entry.strip():
        return entry
    items = entry if isinstance(entry, (list, tuple)) and entry else (entry,)
    for item in items:
        if isinstance(item, bool) or not isinstance(item, int) or not 0 <= item < 2**31:
            raise ValueError(
                f"expected a bead number (counted from 0), a list of them, or a selection such as "
                f"'resSeq 3 to 7 and name CA', found {describe(item)}"
            )
    return entry if isinstance(entry, int) else tuple(cast(tuple[int, ...], items))


def _read_reference(value: object, info: ValidationInfo) -> Path | Literal["start"] | None:
    variable = str(info.data.get("variable"))
    given = value not in (None, "none")
    if variable not in VARIABLES:
        return None  # whose own error is enough
    if VARIABLES[variable].needs_reference:
        return read_file(value, info) if given and value != "start" else "start"
    if given:
        raise ValueError(f"`variable: {variable}` has no reference; remove this line")
    return None


def _read_options(owner: type[Variable], options: Options, value: object, info: ValidationInfo) -> object:
    """The keys that a variable has of its own: absent from entries of all others."""
    variable = info.data.get("variable")
    given = value not in (None, "none")
    if variable == owner.name:
        return value if given else options.section()
    if given and variable is not None:
        raise ValueError(f"`variable: {variable}` has no {options.key}; remove them, or write `variable: {owner.name}`")
    return None


class VariableEntry(Section):
    """A collective variable of every replica of a system."""

    name: Word = Field(description="names its columns in colvars.csv", examples=["ends"])
    variable: VariableName = Field(
        description=" | ".join(f"{name} ({v.about})" if v.about else name for name, v in VARIABLES.items()),
        examples=["distance"],
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
    system: Annotated[Word | None, NoneWord] = Field(
        default=None, description="name of the system it belongs to; needed where there are several"
    )
    reference: Annotated[
        Path | Literal["start"] | None, BeforeValidator(_read_reference, json_schema_input_type=str)
    ] = Field(
        default=None,
        validate_default=True,
        description=f"of {', '.join(v.name for v in VARIABLES.values() if v.needs_reference)}: "
        "start (the first start frame) or a structure file",
    )

    @property
    def options(self) -> Section | None:
        """The keys that its variable has of its own."""
        options = VARIABLES[self.variable].options
        return None if options is None else cast(Section, getattr(self, options.key))

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


def _option_fields() -> dict[str, Any]:
    """A field for the own keys of each variable that has some."""
    return {
        options.key: (
            Annotated[options.section | None, BeforeValidator(partial(_read_options, variable, options))],
            Field(default=None, validate_default=True, description=f"of {variable.name}: {options.text}"),
        )
        for variable in VARIABLES.values()
        if (options := variable.options) is not None
    }


if not TYPE_CHECKING:  # fields that no type checker can know; `options` reads them
    VariableEntry = create_model(
        "VariableEntry", __base__=VariableEntry, __doc__=VariableEntry.__doc__, **_option_fields()
    )


def _read_end(value: object, info: ValidationInfo) -> float | None:
    """`center_to` or `force_constant_to`: where the parameter is in the end."""
    key, before = str(info.field_name).removesuffix("_to"), info.data
    if value in (None, "none") or "variable" not in before or "form" not in before:
        return None
    variable, form = VARIABLES[before["variable"]], before["form"]
    dimension = variable.dimension if key == "center" else _force_dimension(variable, form)
    number = read_number(value, dimension, f"{key}_to")
    if key == "force_constant" and form != "linear" and number < 0:
        raise ValueError(f"must be 0 or more, found {describe(value)}")
    if key == "center" and form != "linear":
        _check_range(variable, (number,))
    return number


class Moving(Section):
    """When parameters of a bias move: in equal steps, from their first values to their last."""

    after: Annotated[float, Quantity("time", "100 ps", ("ps", "ns", "us", "fs"), zero=True)] = Field(
        default=0.0, description="simulated time at which they begin to", examples=["100 ps"]
    )
    length: Duration = Field(description="how long they move", examples=["1 ns"])
    every: Duration = Field(
        default=0.1,
        description="time between their steps; the work is exact for steps of any size",
        examples=["0.1 ps"],
    )


class BiasEntry(VariableEntry):
    """An energy on one collective variable of every replica of a system."""

    form: BiasForm = Field(
        default="harmonic", description=" | ".join(f"{form} ({equation})" for form, equation in EQUATIONS.items())
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

    center_to: Annotated[float | None, BeforeValidator(_read_end, json_schema_input_type=str | float | None)] = Field(
        default=None, description="none, or where the center moves to; see moving", examples=["20 angstrom"]
    )
    force_constant_to: Annotated[
        float | None, BeforeValidator(_read_end, json_schema_input_type=str | float | None)
    ] = Field(default=None, description="none, or what the force constant grows or falls to; see moving")
    moving: Annotated[Moving | None, NoneWord] = Field(
        default=None, description="none, or when they move", examples=["{length: 1 ns}"]
    )

    @property
    def windows(self) -> int:
        """Different centers or force constants."""
        return max(len(self.center), len(self.force_constant))

    @field_serializer("force_constant")
    def _force_constant(self, values: tuple[float, ...]) -> Any:
        dimension = _force_dimension(VARIABLES[self.variable], self.form)
        found = [show_quantity(v, dimension, (INTERNAL[dimension],)) for v in values]
        return found[0] if len(found) == 1 else found

    @field_serializer("center")
    def _center(self, values: tuple[float, ...]) -> Any:
        found = [text_of(v, VARIABLES[self.variable].dimension) for v in values]
        return found[0] if len(found) == 1 else found

    @field_serializer("width")
    def _width(self, value: float) -> Any:
        return text_of(value, VARIABLES[self.variable].dimension)

    @field_serializer("center_to")
    def _center_to(self, value: float | None) -> Any:
        return "none" if value is None else text_of(value, VARIABLES[self.variable].dimension)

    @field_serializer("force_constant_to")
    def _force_constant_to(self, value: float | None) -> Any:
        dimension = _force_dimension(VARIABLES[self.variable], self.form)
        return "none" if value is None else show_quantity(value, dimension, (INTERNAL[dimension],))
