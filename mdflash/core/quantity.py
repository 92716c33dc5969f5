"""Field types of system.yaml: quantities with units, whole numbers, words, and how to show what was found."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Annotated, NamedTuple

from pydantic import BeforeValidator, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import core_schema

from mdflash import units
from mdflash.core.words import LONGEST, is_word
from mdflash.core.words import plain_word as plain_word

_NUMBER = r"[+-]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"


def describe(value: object) -> str:
    """A YAML value in words."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping (key: value lines)"
    if isinstance(value, (list, tuple)):
        return "a list"
    text = f"'{value}'" if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def read_quantity(value: object, dimension: str, example: str, key: str) -> float:
    """`value` in internal units; ValueError with the corrected line where it is no quantity.

    Args:
        value: what the YAML has.
        dimension: a key of `units.DIMENSIONS`.
        example: a sound value of this key, such as "4 fs".
        key: name of the key, for the corrected line.
    """
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError(f"expected a {dimension} such as '{example}', found {describe(value)}")
    if isinstance(value, (int, float)) or re.fullmatch(rf"\s*{_NUMBER}\s*", value):
        number, unit = str(value).strip(), example.split(" ", 1)[1]
        known = ", ".join(units.DIMENSIONS[dimension])
        raise ValueError(f"{describe(value)} has no unit; write `{key}: {number} {unit}` (known units: {known})")
    return units.parse(value, dimension)


def show_quantity(value: float, dimension: str, names: tuple[str, ...]) -> str:
    """`value` as the shortest text in one of the units `names`; `units.parse` reads back the same bits."""
    exact = [
        text for text in (units.show(value, dimension, name) for name in names) if units.parse(text, dimension) == value
    ]
    internal = units.show(1.0, dimension).split(" ", 1)[1]
    return min(exact, key=len, default=f"{value!r} {internal}")


@dataclass(frozen=True)
class Quantity:
    """Marks a float field as text with a unit, kept in internal units.

    Attributes:
        dimension: a key of `units.DIMENSIONS`.
        example: a sound value; shown in errors.
        shown_in: units to choose from when the value is written out.
        zero: whether 0 is allowed.
        least, most: the ends of the values that have a meaning, in internal units.
    """

    dimension: str
    example: str
    shown_in: tuple[str, ...]
    zero: bool = False
    least: float = 0.0
    most: float = math.inf

    def read(self, value: object, info: ValidationInfo) -> float:
        key = info.field_name or self.dimension
        result = read_quantity(value, self.dimension, self.example, key)
        if result < 0 or (result == 0 and not self.zero):
            least = "0 or more" if self.zero else "more than 0"
            raise ValueError(f"must be {least}, found {describe(value)}; for example `{key}: {self.example}`")
        if not self.least <= result <= self.most:
            span = f"at least {self.text(self.least)}" if result < self.least else f"at most {self.text(self.most)}"
            raise ValueError(f"must be {span}, found {describe(value)}; for example `{key}: {self.example}`")
        return result

    def text(self, value: float) -> str:
        return show_quantity(value, self.dimension, self.shown_in)

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.with_info_plain_validator_function(
            self.read, serialization=core_schema.plain_serializer_function_ser_schema(self.text)
        )

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return json_quantity((self.dimension,), self.example)


def json_quantity(dimensions: tuple[str, ...], example: str) -> JsonSchemaValue:
    """The JSON schema of a text with a unit of one of `dimensions`."""
    names = "|".join(re.escape(name) for dimension in dimensions for name in units.DIMENSIONS[dimension])
    return {"type": "string", "pattern": rf"^\s*{_NUMBER}\s*({names})\s*$", "examples": [example]}


class Span(NamedTuple):
    """A stretch of simulation time (ps) or of wall time (s)."""

    value: float
    dimension: str  # "time" or "wall"


class _SpanSchema:
    """Reads a `Span`: the unit decides which clock is meant."""

    EXAMPLE = "5 min"

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.with_info_plain_validator_function(
            self.read, serialization=core_schema.plain_serializer_function_ser_schema(self.text)
        )

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return json_quantity(("wall", "time"), self.EXAMPLE)

    @staticmethod
    def read(value: object, info: ValidationInfo) -> Span:
        if isinstance(value, Span):
            return value
        key = info.field_name or "interval"
        match = re.fullmatch(rf"\s*{_NUMBER}\s*(\S+)\s*", value) if isinstance(value, str) else None
        if match is None or not any(match[1] in units.DIMENSIONS[d] for d in ("wall", "time")):
            raise ValueError(
                f"expected a wall time ('5 min', '1 h') or a simulation time ('100 ps', '1 ns'), "
                f"found {describe(value)}; for example `{key}: {_SpanSchema.EXAMPLE}`"
            )
        dimension = "time" if match[1] in units.DIMENSIONS["time"] else "wall"
        result = units.parse(value, dimension)
        if result <= 0:
            raise ValueError(f"must be more than 0, found {describe(value)}; for example `{key}: 5 min`")
        return Span(result, dimension)

    @staticmethod
    def text(value: Span) -> str:
        names = ("min", "h", "s") if value.dimension == "wall" else ("ps", "ns", "fs")
        return show_quantity(value.value, value.dimension, names)


@dataclass(frozen=True)
class Whole:
    """Marks an int field as a whole number from `least` to `most`."""

    least: int
    most: int

    def read(self, value: object, info: ValidationInfo) -> int:
        number: int | None = None
        if isinstance(value, float) and math.isfinite(value) and value.is_integer():
            number = int(value)  # 1e6 is how people write a million
        elif isinstance(value, int) and not isinstance(value, bool):
            number = value
        if number is None:
            hint = "; remove the quotes" if isinstance(value, str) and value.strip().isdigit() else ""
            raise ValueError(f"expected a whole number, found {describe(value)}{hint}")
        if not self.least <= number <= self.most:
            raise ValueError(f"expected a whole number from {self.least} to {self.most}, found {describe(value)}")
        return number

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.with_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"type": "integer", "minimum": self.least, "maximum": self.most}


def _read_word(value: object, info: ValidationInfo) -> str:
    key = info.field_name or "name"
    if not isinstance(value, str):
        quoted = isinstance(value, (int, float)) and not isinstance(value, bool)
        hint = f'; write `{key}: "{value}"` if it is meant as a word' if quoted else ""
        raise ValueError(f"expected a word, found {describe(value)}{hint}")
    if not is_word(value):
        raise ValueError(
            f"names files, so it must start with a letter or digit and have at most {LONGEST} letters, digits, "
            f"'.', '_', '+' or '-'; found {describe(value)}; for example `{key}: {plain_word(value)[:LONGEST]}`"
        )
    return value


def _none_word(value: object) -> object:
    return None if value == "none" else value


Length = Annotated[float, Quantity("length", "2 angstrom", ("angstrom",), most=1e6)]
Timestep = Annotated[float, Quantity("time", "4 fs", ("fs", "ps"), most=1000.0)]
Duration = Annotated[float, Quantity("time", "10 ps", ("ps", "ns", "us", "fs"))]
RunLength = Annotated[float, Quantity("time", "100 ns", ("ns", "ps", "us", "fs"))]
Rate = Annotated[float, Quantity("rate", "1 /ps", ("/ps", "/fs", "/ns"), least=1e-6, most=1e6)]
Stiffness = Annotated[float, Quantity("stiffness", "5 kcal/mol/angstrom^2", ("kcal/mol/angstrom^2",), most=1e9)]
AngularStiffness = Annotated[float, Quantity("angular stiffness", "20 kcal/mol/rad^2", ("kcal/mol/rad^2",), most=1e9)]
Temperature = Annotated[float, Quantity("temperature", "300 K", ("K",), zero=True, most=1e5)]
Concentration = Annotated[float, Quantity("concentration", "0.15 M", ("M", "mM"), zero=True, most=20.0)]
Interval = Annotated[Span, _SpanSchema()]
Word = Annotated[str, BeforeValidator(_read_word)]
NoneWord = BeforeValidator(_none_word)
