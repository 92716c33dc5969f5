"""The `targets:` section of a training's recipe: averages and populations that a force field shall have."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationInfo, field_serializer, model_validator

from mdflash.config.biases import VariableEntry, read_number, text_of
from mdflash.core.quantity import Temperature, describe
from mdflash.potentials.variables import VARIABLES


def _read_value(value: object, info: ValidationInfo) -> float | None:
    """A number of the variable, in its unit."""
    if value is None or "variable" not in info.data:
        return None
    return read_number(value, VARIABLES[info.data["variable"]].dimension, str(info.field_name))


def _read_error(value: object, info: ValidationInfo) -> float:
    """An uncertainty: of a mean in the unit of the variable, of a population a number."""
    if "variable" not in info.data:
        return 1.0
    is_mean = info.data.get("population") is None
    number = read_number(value, VARIABLES[info.data["variable"]].dimension if is_mean else None, "error")
    if number <= 0:
        raise ValueError(f"must be more than 0, found {describe(value)}; it is the uncertainty of the target")
    return number


_Value = Annotated[float | None, BeforeValidator(_read_value, json_schema_input_type=str | float | None)]


class TargetEntry(VariableEntry):
    """A mean of a variable, or the population of a range of it, at a temperature."""

    temperature: Temperature = Field(description="at which it holds", examples=["320 K"])
    mean: _Value = Field(default=None, description="of the variable; null: a population is given")
    population: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None, description="share of the time that the variable is in the range", examples=[0.64]
    )
    above: _Value = Field(default=None, description="where the range begins; null: at the lowest value", examples=[0.5])
    below: _Value = Field(default=None, description="where the range ends; null: at the highest value")
    error: Annotated[float, BeforeValidator(_read_error, json_schema_input_type=str | float)] = Field(
        description="uncertainty of the mean or population, one standard deviation", examples=[0.02]
    )

    @model_validator(mode="after")
    def _check(self) -> TargetEntry:
        if (self.mean is None) == (self.population is None):
            raise ValueError(f"'{self.name}': give either `mean:` or `population:`, for example `population: 0.64`")
        ranged = self.above is not None or self.below is not None
        if ranged == (self.population is None):
            raise ValueError(
                f"'{self.name}': a mean has no range; remove `above` and `below`"
                if ranged
                else f"'{self.name}': of which range? Add for example `above: 0.5`"
            )
        if self.above is not None and self.below is not None and not self.above < self.below:
            raise ValueError(f"'{self.name}': `above` must be less than `below`")
        return self

    @field_serializer("mean", "above", "below")
    def _value(self, value: float | None) -> Any:
        return None if value is None else text_of(value, VARIABLES[self.variable].dimension)

    @field_serializer("error")
    def _error(self, value: float) -> Any:
        return text_of(value, VARIABLES[self.variable].dimension if self.population is None else None)
