"""The `metadynamics:` section of system.yaml: a bias that walkers fill with hills along one to three variables."""

from __future__ import annotations

import math
from typing import Annotated, Any, Final, Literal, cast

from pydantic import BeforeValidator, Field, ValidationInfo, field_serializer

from mdflash.config.biases import VariableEntry, example_of, read_number, text_of
from mdflash.config.section import MAX_REPLICAS, Section, as_list
from mdflash.core.quantity import Duration, NoneWord, Quantity, Whole, Word, describe, show_quantity
from mdflash.potentials.bias.grid_size import grid_bytes
from mdflash.potentials.variables import VARIABLES

Grid = tuple[float, float, int]
"""Both ends in internal units, and how many points."""

PER_WIDTH: Final = 5
"""Points of a grid for each width of a hill, where they are not given: Gaussians are then exact to 1.3e-5."""
MOST_POINTS: Final = 100_000
BIAS_FACTOR: Final = 10.0
"""Of well-tempered metadynamics, where none is given."""

Method = Literal["well-tempered", "opes", "opes-explore"]

Energy = Annotated[float, Quantity("energy", "0.3 kcal/mol", ("kcal/mol",))]


def _read_width(value: object, info: ValidationInfo) -> float:
    name = str(info.data.get("variable"))
    if name not in VARIABLES:
        return 1.0  # whose own error is enough
    dimension = VARIABLES[name].dimension
    if value is None:
        raise ValueError(f"is missing; a hill needs one: add for example `width: {example_of(dimension, 'width')}`")
    number = read_number(value, dimension, "width")
    if number <= 0:
        raise ValueError(f"must be more than 0, found {describe(value)}")
    return number


def _read_grid(value: object, info: ValidationInfo) -> Grid:
    before = info.data
    if before.get("variable") not in VARIABLES or "width" not in before:
        return (0.0, 1.0, 4)
    variable, width = VARIABLES[before["variable"]], before["width"]
    low, high = variable.lowest, variable.highest
    example = _grid_example(variable.name)
    given = {} if value is None else value
    if isinstance(given, (list, tuple)) and len(given) == 3:
        given = dict(zip(("min", "max", "points"), given, strict=True))
    if not isinstance(given, dict) or set(given) - {"min", "max", "points"}:
        raise ValueError(f"expected the keys min, max and points, found {describe(value)}; {example}")
    for key in ("min", "max"):
        if key not in given and math.isinf(high):
            raise ValueError(f"is missing its {key}: a {variable.name} has no natural end; {example}")
    if "min" in given:
        low = read_number(given["min"], variable.dimension, "min")
    if "max" in given:
        high = read_number(given["max"], variable.dimension, "max")
    if not low < high:
        found = f"{text_of(low, variable.dimension)} and {text_of(high, variable.dimension)}"
        raise ValueError(f"min must be below max, found {found}; {example}")
    if variable.periodic and abs(high - low - 2 * math.pi) > 1e-9:
        raise ValueError(f"a grid over a {variable.name} is the whole turn; leave out min and max")
    points = given.get("points")
    if points is None:
        points = math.ceil((high - low) / (width / PER_WIDTH) - 1e-9) + (0 if variable.periodic else 1)
    if isinstance(points, bool) or not isinstance(points, int) or not 4 <= points <= MOST_POINTS:
        raise ValueError(f"points is a whole number from 4 to {MOST_POINTS:,}, found {describe(points)}; {example}")
    spacing = (high - low) / (points if variable.periodic else points - 1)
    if spacing > 0.5 * width * (1 + 1e-9):
        least = math.ceil((high - low) / (0.5 * width)) + 1
        raise ValueError(
            f"{points} points lie {text_of(float(f'{spacing:.4g}'), variable.dimension)} apart, which does not resolve "
            f"hills of width {text_of(width, variable.dimension)}; write `points: {least}` or more, or leave it out"
        )
    return low, high, points


def _grid_example(name: str) -> str:
    ends = {"length": ("2 angstrom", "30 angstrom"), "angle": ("0 degree", "180 degree")}
    low, high = ends.get(str(VARIABLES[name].dimension), ("0", "1"))
    return f"write for example `grid: {{min: {low}, max: {high}}}`"


def _read_walkers(value: object) -> object:
    return None if value is None or value == "all" else value


class HillVariable(VariableEntry):
    """A variable of metadynamics, with the width of a hill along it and its grid."""

    width: Annotated[float, BeforeValidator(_read_width, json_schema_input_type=str | float)] = Field(
        default=cast(Any, None),
        validate_default=True,
        description="of a hill (its standard deviation); a third of how far the variable moves in a basin is a start",
        examples=["0.5 angstrom"],
    )
    grid: Annotated[Grid, BeforeValidator(_read_grid, json_schema_input_type=dict[str, Any] | None)] = Field(
        default=cast(Any, None),
        validate_default=True,
        description="{min, max, points}; ends are needed where the variable has none, points are 5 for each width",
        examples=["{min: 2 angstrom, max: 30 angstrom}"],
    )

    @field_serializer("width")
    def _width(self, value: float) -> Any:
        return text_of(value, VARIABLES[self.variable].dimension)

    @field_serializer("grid")
    def _grid(self, value: Grid) -> Any:
        low, high, points = value
        variable = VARIABLES[self.variable]
        ends = {key: text_of(end, variable.dimension) for key, end in (("min", low), ("max", high))}
        return {**({} if variable.periodic else ends), "points": points}


class Metadynamics(Section):
    """Metadynamics or OPES: walkers fill the basins they have seen."""

    name: Word = Field(description="names its columns in colvars.csv and its hills", examples=["fold"])
    variables: Annotated[
        tuple[HillVariable, ...],
        BeforeValidator(as_list, json_schema_input_type=HillVariable | list[HillVariable]),
    ] = Field(
        description="one to three",
        examples=["[{name: q, variable: native_contacts, width: 0.02}]"],
    )
    method: Method = Field(
        default="well-tempered",
        description="well-tempered (metadynamics) | opes | opes-explore (leaves basins sooner, is less exact)",
    )
    height: Energy = Field(default=0.3, description="of the first hill; not of opes", examples=["0.3 kcal/mol"])
    barrier: Annotated[Energy | None, NoneWord] = Field(
        default=None, description="of opes: the highest that is to be crossed", examples=["8 kcal/mol"]
    )
    bias_factor: Annotated[Annotated[float, Field(gt=1.0, le=1e6)] | None, NoneWord] = Field(
        default=None,
        description="gamma: barriers are lowered by this factor in the end; default: 10, and barrier / kT of opes",
    )
    every: Duration = Field(default=1.0, description="time between the hills of a walker", examples=["1 ps"])
    walkers: Annotated[
        Annotated[int, Whole(1, MAX_REPLICAS)] | None,
        BeforeValidator(_read_walkers, json_schema_input_type=int | Literal["all"]),
    ] = Field(default=None, description="all | replicas that share one bias: the first ones, the next ones, ...")

    @property
    def system(self) -> str | None:
        """The system it acts on, as its first variable names it."""
        return self.variables[0].system

    def grid_bytes(self, groups: int) -> int:
        """Memory of the grids of this many groups of walkers; of OPES, the bias and the density that it follows."""
        one = grid_bytes([variable.grid[2] for variable in self.variables])
        return one * groups * (1 if self.method == "well-tempered" else 2)

    @property
    def gamma(self) -> float:
        """The bias factor of well-tempered metadynamics."""
        return self.bias_factor or BIAS_FACTOR

    @field_serializer("barrier")
    def _barrier(self, value: float | None) -> str:
        return "none" if value is None else show_quantity(value, "energy", ("kcal/mol",))

    @field_serializer("bias_factor")
    def _bias_factor(self, value: float | None) -> float | str:
        if value is None and self.method == "well-tempered":
            return self.gamma
        return "none" if value is None else value

    @field_serializer("walkers")
    def _walkers(self, value: int | None) -> int | str:
        return "all" if value is None else value
