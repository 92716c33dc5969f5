"""The `weighted_ensemble:` section of system.yaml: replicas are walkers with weights along a variable; rates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, ValidationInfo, field_serializer

from mdflash.config.biases import VariableEntry, example_of, read_number, text_of
from mdflash.config.section import MAX_REPLICAS
from mdflash.config.series import read_series
from mdflash.core.quantity import Duration, describe
from mdflash.potentials.variables import VARIABLES
from mdflash.potentials.variables.base import Dimension

_ENDS: Final[Mapping[Dimension | None, tuple[str, str]]] = MappingProxyType(
    {None: ("0.2", "0.9"), "length": ("4 angstrom", "20 angstrom"), "angle": ("-150 degree", "150 degree")}
)


def bins_example(dimension: Dimension | None) -> str:
    """How bins along a variable are written."""
    low, high = _ENDS[dimension]
    return f"`bins: {{min: {low}, max: {high}, count: 15}}`"


def _dimension(info: ValidationInfo) -> Dimension | None:
    """Of the entry's variable; None where it names none, whose own error is enough."""
    name = str(info.data.get("variable"))
    return VARIABLES[name].dimension if name in VARIABLES else None


def _read_bins(value: object, info: ValidationInfo) -> tuple[float, ...]:
    """Edges as a list, or {min, max, count} as an even series."""
    if value in (None, "none", (), []):
        return ()
    dimension = _dimension(info)
    example = bins_example(dimension)
    if isinstance(value, dict):
        low, high, count = read_series(value, MAX_REPLICAS, example)
        ends = [read_number(end, dimension, key) for end, key in ((low, "min"), (high, "max"))]
        step = (ends[1] - ends[0]) / (count - 1)
        edges = [ends[0], *(float(f"{ends[0] + k * step:.12g}") for k in range(1, count - 1)), ends[1]]
    elif isinstance(value, (list, tuple)):
        edges = [read_number(edge, dimension, "bins") for edge in value]
    else:
        raise ValueError(f"expected a list of edges, or {example}; found {describe(value)}")
    for a, b in pairwise(edges):
        if a >= b:
            found = " before ".join(str(text_of(edge, dimension)) for edge in (a, b))
            raise ValueError(f"edges must increase, found {found}; write for example {example}")
    return tuple(edges)


def _read_distance(value: object, info: ValidationInfo) -> float | None:
    if value in (None, "none"):
        return None
    number = read_number(value, _dimension(info), "merge_distance")
    if number <= 0:
        raise ValueError(f"must be more than 0, found {describe(value)}")
    return number


def _read_target(value: object, info: ValidationInfo) -> tuple[float, float] | None:
    """{min, max} as both ends; one that is left out is infinite."""
    if value in (None, "none"):
        return None
    dimension = _dimension(info)
    example = f"`target: {{max: {example_of(dimension, 'center')}}}`"
    if isinstance(value, (list, tuple)) and len(value) == 2:
        value = dict(zip(("min", "max"), value, strict=True))
    if not isinstance(value, dict) or not value or set(value) - {"min", "max"}:
        keys = ", ".join(f"'{key}'" for key in value) if isinstance(value, dict) else ""
        raise ValueError(f"expected min, max or both, found {keys or describe(value)}; write for example {example}")
    low, high = (
        end if key not in value else read_number(value[key], dimension, key)
        for key, end in (("min", -math.inf), ("max", math.inf))
    )
    if low >= high:
        found = " and ".join(f"{key} {text_of(end, dimension)}" for key, end in (("min", low), ("max", high)))
        raise ValueError(f"min must be below max, found {found}; write for example {example}")
    return low, high


class WeightedEnsemble(VariableEntry):
    """Weighted ensemble: walkers with weights are split and merged along a variable; rates of rare events."""

    every: Duration = Field(default=10.0, description="time between resamplings", examples=["10 ps"])
    bins: Annotated[
        tuple[float, ...], BeforeValidator(_read_bins, json_schema_input_type=list[str | float] | dict[str, Any] | None)
    ] = Field(
        default=(),
        description="edges as a list or {min, max, count}; occupied bins share the replicas evenly; none: REVO",
        examples=["{min: 0.2, max: 0.9, count: 15}"],
    )
    merge_distance: Annotated[
        float | None, BeforeValidator(_read_distance, json_schema_input_type=str | float | None)
    ] = Field(
        default=None,
        description="of REVO, which needs no bins: walkers farther apart are not merged",
        examples=["0.05"],
    )
    target: Annotated[
        tuple[float, float] | None, BeforeValidator(_read_target, json_schema_input_type=dict[str, Any] | None)
    ] = Field(
        default=None,
        description="{min, max} or one of them: walkers that get there start again, and their flux is the rate; none: "
        "they never do (equilibrium)",
        examples=["{max: 0.2}"],
    )

    @field_serializer("bins")
    def _bins(self, edges: tuple[float, ...]) -> Any:
        return [text_of(edge, VARIABLES[self.variable].dimension) for edge in edges] or "none"

    @field_serializer("merge_distance")
    def _merge_distance(self, value: float | None) -> Any:
        return "none" if value is None else text_of(value, VARIABLES[self.variable].dimension)

    @field_serializer("target")
    def _target(self, ends: tuple[float, float] | None) -> Any:
        if ends is None:
            return "none"
        finite = {key: end for key, end in zip(("min", "max"), ends, strict=True) if math.isfinite(end)}
        return {key: text_of(end, VARIABLES[self.variable].dimension) for key, end in finite.items()}
