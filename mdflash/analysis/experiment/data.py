"""What was measured, and what a frame says of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import core_schema

from mdflash.analysis.experiment.bme import Points
from mdflash.analysis.molecule import Molecule
from mdflash.core.quantity import describe, read_quantity
from mdflash.core.types import FloatArray

Look = Literal["curve", "points", "number"]


@dataclass(frozen=True, eq=False)
class Data:
    """One kind of data: numbers whose averages over frames are compared with what was measured.

    Attributes:
        name: a word.
        title, unit: for people.
        measured, errors: [M] as they are shown.
        values: positions [F, N, 3] Å -> [F, M], the quantity that is averaged over frames.
        cost: numbers computed for each frame.
        averaged: from what is shown to what is averaged, such as the square of a radius.
        shown: back.
        slope: [M] of `averaged` at what was measured.
        labels: [M] of the points, for "points" and "number".
        x, x_label: [M] of the axis of a "curve".
        fitted: whether scale and background are free.
        look: how it is drawn.
        source: how it is computed, for the methods paragraph.
        notes: what is left out, and how it was read, in sentences.
    """

    name: str
    title: str
    unit: str
    measured: FloatArray
    errors: FloatArray
    values: Callable[[FloatArray], FloatArray]
    cost: int
    look: Look
    source: str
    averaged: Callable[[FloatArray], FloatArray] = lambda x: x
    shown: Callable[[FloatArray], FloatArray] = lambda x: x
    slope: Callable[[FloatArray], FloatArray] = np.ones_like
    labels: tuple[str, ...] = ()
    x: FloatArray | None = None
    x_label: str = ""
    fitted: bool = False
    notes: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Title and unit, for an axis."""
        return f"{self.title} / {self.unit}" if self.unit else self.title

    def points(self, calculated: FloatArray) -> Points:
        """What is averaged, of frames [F, M], beside what was measured."""
        return Points(
            calculated, self.averaged(self.measured), np.abs(self.slope(self.measured)) * self.errors, self.fitted
        )


@dataclass(frozen=True, eq=False)
class Kind:
    """A kind of data that an experiment file may hold.

    Attributes:
        name: its key.
        annotation: the pydantic type of its value, or of nothing.
        description: for the schema and the error of an unknown key.
        example: a value, as YAML.
        data: from the value and the molecule.
        nothing: the value where nothing was measured.
    """

    name: str
    annotation: Any
    description: str
    example: str
    data: Callable[[Any, Molecule], Data]
    nothing: Any = None


class Measured(NamedTuple):
    """A value and its standard error, in internal units."""

    value: float
    error: float


_NUMBER: Final = r"[+-]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_PAIR: Final = re.compile(rf"\(?\s*({_NUMBER})\s*(?:\+-|\+/-|±)\s*({_NUMBER})\s*\)?\s*(.*)")


@dataclass(frozen=True)
class WithError:
    """Marks a `Measured` field: text such as '2.1 +- 0.1 nm'.

    Attributes:
        dimension: a key of `units.DIMENSIONS`, or None for a plain number.
        example: a sound value.
    """

    dimension: str | None
    example: str

    def read(self, value: object, info: ValidationInfo) -> Measured:
        key = info.field_name or "value"
        match = _PAIR.fullmatch(value.strip()) if isinstance(value, str) else None
        if match is None:
            raise ValueError(
                f"expected a value with its error, found {describe(value)}; for example `{key}: {self.example}`"
            )
        number, error, unit = match.groups()
        if self.dimension is None:
            if unit:
                raise ValueError(f"has no unit, found '{unit}'; for example `{key}: {self.example}`")
            found = Measured(float(number), float(error))
        else:
            found = Measured(
                *(read_quantity(f"{x} {unit}".strip(), self.dimension, self.example, key) for x in (number, error))
            )
        if not (found.error > 0 and np.isfinite(found).all()):
            raise ValueError(f"the error must be more than 0, found {describe(value)}")
        return found

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.with_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"type": "string", "examples": [self.example]}
