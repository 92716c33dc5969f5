"""The `exchange:` section of system.yaml: which states replicas trade, how often, and in which pairs."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field

from mdflash.config.section import MAX_REPLICAS, Section, as_list
from mdflash.config.series import read_series
from mdflash.core.quantity import Duration, Temperature, Whole, Word, describe, read_quantity

_LADDER: Final = "`temperatures: {min: 300 K, max: 450 K, count: 16}`"
_SCALE: Final = "`scale: {contacts: {min: 0.7, max: 1, count: 8}}`"


def _read_ladder(value: object) -> object:
    """A list of temperatures as it is; {min, max, count} as a geometric series."""
    if value is None:
        return None
    if isinstance(value, (list, tuple)):
        if len(value) < 2:
            raise ValueError(f"lists {len(value)} temperatures; exchange needs at least 2; for example {_LADDER}")
        return value
    if not isinstance(value, dict):
        raise ValueError(f"expected a list of temperatures, or {_LADDER}; found {describe(value)}")
    coldest, hottest, count = read_series(value, MAX_REPLICAS, _LADDER)
    low, high = (read_quantity(t, "temperature", "300 K", key) for t, key in ((coldest, "min"), (hottest, "max")))
    if not 0 < low < high:
        raise ValueError(f"min must be above 0 K and below max, found {low:g} K and {high:g} K; for example {_LADDER}")
    inner = (round(low * (high / low) ** (k / (count - 1)), 3) for k in range(1, count - 1))  # 0.001 K reads better
    return [f"{t!r} K" for t in (low, *inner, high)]


def _read_scales(value: object) -> object:
    """By term, a list of scales as it is; {min, max, count} as an even series."""
    if value is None or value == "none":
        return {}
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"expected terms with their scales, found {describe(value)}; write {_SCALE}")
    return {name: _read_scale(name, entry) for name, entry in value.items()}


def _read_scale(name: str, entry: object) -> tuple[float, ...]:
    series = entry
    if isinstance(entry, dict):
        low, high, count = read_series(entry, MAX_REPLICAS, _SCALE, f"{name}: ")
        ends = [_read_factor(name, number) for number in (low, high)]
        if not ends[0] < ends[1]:
            raise ValueError(f"{name}: min must be below max, found {low} and {high}; {_SCALE}")
        step = (ends[1] - ends[0]) / (count - 1)
        series = [ends[0], *(round(ends[0] + k * step, 6) for k in range(1, count - 1)), ends[1]]
    if not isinstance(series, (list, tuple)) or len(series) < 2:
        raise ValueError(f"{name}: expected two or more scales, found {describe(entry)}; write {_SCALE}")
    return tuple(_read_factor(name, number) for number in series)


def _read_factor(name: str, number: object) -> float:
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not 0.0 <= number <= 100.0:
        raise ValueError(f"{name}: a scale is a plain number from 0 to 100, found {describe(number)}; write {_SCALE}")
    return float(number)


def _read_scheme(value: object) -> object:
    """Files written before 0.3 spell it `neighbours`."""
    return "neighbors" if value == "neighbours" else value


def scale_name(term: str) -> str:
    """The name of the bias that scales a term."""
    return f"scale_{term}"


class TemperatureRange(Section):
    """A geometric series of temperatures."""

    min: Temperature = Field(description="the lowest temperature")
    max: Temperature = Field(description="the highest temperature")
    count: Annotated[int, Whole(2, MAX_REPLICAS)] = Field(description="how many, both ends included")


class ScaleRange(Section):
    """An even series of scales."""

    min: Annotated[float, Field(ge=0.0, le=100.0)] = Field(description="the smallest scale")
    max: Annotated[float, Field(ge=0.0, le=100.0)] = Field(description="the largest scale")
    count: Annotated[int, Whole(2, MAX_REPLICAS)] = Field(description="how many, both ends included")


class Exchange(Section):
    """Replica exchange: replicas trade temperatures, umbrella windows or strengths of terms.

    replicas.count is a multiple of the states.
    """

    temperatures: Annotated[
        tuple[Temperature, ...] | None,
        BeforeValidator(_read_ladder, json_schema_input_type=TemperatureRange | list[Temperature] | None),
    ] = Field(
        default=None,
        description="{min, max, count} for a geometric ladder, or an increasing list; null: one for all",
        examples=["{min: 300 K, max: 450 K, count: 16}"],
    )
    biases: Annotated[tuple[Word, ...], BeforeValidator(as_list, json_schema_input_type=Word | list[Word])] = Field(
        default=(), description="names of biases whose windows are traded (Hamiltonian exchange)", examples=["[pull]"]
    )
    scale: Annotated[
        dict[str, tuple[float, ...]],
        BeforeValidator(_read_scales, json_schema_input_type=dict[str, ScaleRange | list[float]]),
    ] = Field(
        default={},
        description="by term of the force field, how many times it counts: {min, max, count} or a list (a state each)",
        examples=["{contacts: {min: 0.7, max: 1, count: 8}}"],
    )
    interval: Duration = Field(default=2.0, description="time between attempts", examples=["2 ps"])
    scheme: Annotated[Literal["neighbors", "gibbs"], BeforeValidator(_read_scheme)] = Field(
        default="neighbors", description="neighbors (even and odd pairs in turn) | gibbs (many random pairs)"
    )

    @property
    def traded(self) -> frozenset[str]:
        """Names of the biases that replicas trade, those that scale a term included."""
        return frozenset(self.biases) | {scale_name(term) for term in self.scale}
