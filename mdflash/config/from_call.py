"""The arguments of `Simulation` as a validated run description: the rules of system.yaml, in the words of a call."""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import yaml
from pydantic import ValidationError

from mdflash import units
from mdflash.config.explain import explain
from mdflash.config.molecules import SystemEntry
from mdflash.config.rules import Problem, problems, whole_steps
from mdflash.config.schema import Colvars, Log, Replicas, RunConfig
from mdflash.config.section import BESIDE
from mdflash.core.arrays import as_numbers
from mdflash.core.system import System
from mdflash.core.types import FloatArray
from mdflash.errors import InputError


class OpenMMQuantity(Protocol):
    """A quantity of `openmm.unit`, a number or an array."""

    def value_in_unit(self, unit: Any) -> Any: ...


class PintQuantity(Protocol):
    """A quantity of pint, a number or an array."""

    @property
    def magnitude(self) -> Any: ...

    def to(self, unit: Any) -> Any: ...


WithUnit: TypeAlias = str | OpenMMQuantity | PintQuantity
"""Text with a unit ("4 fs"), or a quantity of `openmm.unit` or pint."""
Quantity: TypeAlias = WithUnit | float
"""Or a number in Å, K, 1/ps, kcal/mol."""
Quantities: TypeAlias = Quantity | Sequence[Quantity] | npt.NDArray[Any]
"""Of each replica, or of each axis."""
Points: TypeAlias = npt.ArrayLike | WithUnit
"""Positions in Å, or with a unit."""

_ENDLESS: Final = 2**53
"""Steps of a run without a set length."""

_DIMENSIONS: Final = {
    "timestep": "time",
    "friction": "rate",
    "temperature": "temperature",
    "temperatures": "temperature",
    "min": "temperature",
    "max": "temperature",
    "interval": "time",
    "max_force": "force",
    "skin": "length",
    "box": "length",
    "ionic_strength": "concentration",
}
"""What a number means, by the last key of its place in the YAML."""

_ARGUMENTS: Final = {"temperature": "temperatures", "guards": "guard", "count": "replicas"}
"""Keys of the YAML that have another name in the call."""


def as_text(value: Any, dimension: str) -> Any:
    """A number (in internal units), a quantity of OpenMM or pint, or a list of them, as text with a unit.

    What is neither (text, None) is handed back as it is.

    Raises:
        ValueError: a quantity of another dimension, or not a finite number.
    """
    number = units.from_number(value, dimension)
    if number is not None:
        return f"{number!r} {units.INTERNAL[dimension]}"
    if isinstance(value, (str, bytes, Mapping)) or value is None:
        return value
    try:
        return [as_text(item, dimension) for item in value]
    except TypeError:  # nothing to iterate over: the schema says what it expects
        return value


def as_length(value: Any, dimension: str = "length") -> FloatArray:
    """Numbers or quantities of any shape as an array in internal units.

    Raises:
        ValueError: a quantity of another dimension, or not an array of numbers.
    """
    return as_numbers(units.strip_unit(value, dimension))


def argument_error(name: str, message: str) -> InputError:
    """The error of an argument of `Simulation`."""
    return InputError(f"argument '{name}' of Simulation: {message}")


def as_argument(error: InputError) -> InputError:
    """An error about a key of system.yaml in the words of a call; others as they are."""
    if error.key is None or error.file is not None:
        return error
    return _error([Problem(tuple(error.key.split(".")), error.message)])


def describe_run(molecules: Sequence[System], replicas: int | Sequence[int], sections: Mapping[str, Any]) -> RunConfig:
    """The run that the arguments describe, with a seed, and without output or length.

    Args:
        molecules: one for each system.
        replicas: number of replicas of each system, or one number for all.
        sections: values by the sections and keys of system.yaml; quantities may be numbers in internal units,
            text, or quantities of OpenMM or pint.

    Raises:
        InputError: names the argument, what was found, what was expected, and the corrected argument.
    """
    data = {key: _with_units(value, (key,)) for key, value in sections.items()}
    counts = _counts(len(molecules), replicas)
    names = [system.name for system in molecules]
    for name in names:
        if names.count(name) > 1:
            raise argument_error(
                "systems",
                f"{names.count(name)} systems are called '{name}', but names must differ; "
                f"write for example `dataclasses.replace(system, name='{name}-2')`",
            )
    entries = [
        SystemEntry.model_construct(structure=Path(name), name=name, replicas=n, forcefield=Path(name))
        for name, n in zip(names, counts, strict=True)
    ]
    data["dynamics"]["steps"] = _ENDLESS
    config = _validated({"mdflash": 1, "system": entries, "output": {"trajectory": {"format": "none"}}, **data})
    if config.guards.spread is not None:
        raise argument_error(
            "guard",
            "`spread` is of the frames that `mdflash run` writes, and would do nothing here; leave it out, and look "
            "with `mdflash.engine.spread.SpreadOnFrames` where you want to",
        )
    # nothing is written, so the rules shall find intervals that fit the time step
    each = config.dynamics.timestep * config.dynamics.network_every
    fitting = {"log": Log.model_construct(interval=each), "colvars": Colvars.model_construct(interval=each)}
    config = config.model_copy(update={"output": config.output.model_copy(update=fitting)})
    found = list(problems(config))
    if found:
        raise _error(found)
    return config.with_seed()


def steps_in(time: Any, timestep: float) -> int:
    """The number of steps meant by a whole number, or by a time ("10 ns") in steps of `timestep` ps.

    Raises:
        InputError: neither, or a time that is not a whole number of steps.
    """
    count = _whole(int(time) if isinstance(time, float) and time.is_integer() else time)
    if isinstance(count, int) and not isinstance(count, bool) and count >= 0:
        return count
    try:
        if isinstance(time, (bool, int, float)):
            raise ValueError(f"expected a whole number of steps or a time such as '10 ns', found {time!r}")
        length = units.parse(as_text(time, "time"), "time")
        if length < 0:
            raise ValueError(f"expected 0 or more, found {time!r}")
    except ValueError as error:
        raise InputError(f"argument 'steps' of run: {error}") from None
    for problem in whole_steps(("run", "steps"), length, timestep):
        raise InputError(f"argument 'steps' of run: {_as_call(problem)}")
    return round(length / timestep)


def _validated(data: dict[str, Any]) -> RunConfig:
    try:
        here = Path.cwd()  # where relative paths start
        return RunConfig.model_validate(data, context={"folder": here, "cwd": here, BESIDE: here})
    except ValidationError as error:
        raise _error(explain(error, data)) from None


def _counts(systems: int, replicas: int | Sequence[int]) -> list[int]:
    """Replicas of each system."""
    given = list(replicas) if isinstance(replicas, (list, tuple, np.ndarray)) else [replicas] * systems
    if len(given) != systems:
        raise argument_error("replicas", f"lists {len(given)} numbers for {systems} systems; give one for each")
    try:
        return [Replicas.model_validate({"count": _whole(n)}).count for n in given]
    except ValidationError as error:
        raise argument_error("replicas", str(error.errors()[0]["ctx"]["error"])) from None


def _whole(value: Any) -> Any:
    """A whole number of NumPy or torch as Python's."""
    try:
        return value if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return value


def _with_units(value: Any, path: tuple[str, ...]) -> Any:
    """`value` as the YAML would have it: quantities as text, whole numbers as Python's."""
    if isinstance(value, Mapping):
        return {key: _with_units(item, (*path, str(key))) for key, item in value.items()}
    end = path[-1] in ("min", "max")  # of a ladder of temperatures, or of something else
    dimension = None if end and "temperatures" not in path else _DIMENSIONS.get(path[-1])
    if dimension is None:
        return _plain(_whole(value))
    try:
        text = as_text(value, dimension)
        if dimension == "time" and isinstance(text, str) and units.strip_unit(value, "time") is value is not text:
            # 4 is 4 fs to some and 4 ps to others, and either runs
            number, key = f"{float(value):.12g}", path[-1]
            raise ValueError(
                f"{number} has no unit; write `{key}: {number} fs` or `{key}: {number} ps`, whichever is meant"
            )
    except ValueError as error:
        raise _error([Problem(path, str(error))]) from None
    return text


def _plain(value: Any) -> Any:
    """Arrays, and numbers of NumPy and torch, as lists and numbers of Python."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) or hasattr(value, "detach") else value


_SECTIONS: Final = ("exchange", "biases", "metadynamics", "weighted_ensemble", "monitor", "environment")
"""Sections that are arguments under their own names."""


def _argument(path: tuple[str | int, ...]) -> str:
    """The argument that stands for a key of the YAML, with the place inside it where it is a dict or list."""
    words = [p if path[0] == "environment" else _ARGUMENTS.get(str(p), p) for p in path]
    if words[0] not in (*_SECTIONS, "guard", "box"):
        words = words[1:]
    words = [w for k, w in enumerate(words) if isinstance(w, str) or k > 0]
    return "".join(f"[{w}]" if isinstance(w, int) else f".{w}" for w in words).lstrip(".")


def _error(found: Sequence[Problem]) -> InputError:
    """The first problem as the error, the others below it, in the words of a call."""
    # the call may give this key alone, as `guard='freeze'`
    alone = ("guards", "nonfinite")
    found = [
        Problem(("run", "guard"), p.message.replace("`nonfinite:", "`guard:")) if p.path == alone else p for p in found
    ]
    texts = [f"argument '{_argument(p.path)}' of Simulation: {_as_call(p)}" for p in found]
    return InputError("\nalso: ".join(texts))


def _as_call(problem: Problem) -> str:
    """The message with its corrected YAML lines (`timestep: 4 fs`) as arguments (`timestep='4 fs'`)."""
    whole = problem.path[0] in (*_SECTIONS, "guards") or problem.path[:2] == ("dynamics", "annealing")
    inside = whole and len(problem.path) > 1  # an entry of the dict or list that is given

    def call(match: re.Match[str]) -> str:
        line = yaml.safe_load(match[1])
        if not isinstance(line, dict) or len(line) != 1:
            return match[0]
        ((key, value),) = line.items()
        name = str(_ARGUMENTS.get(key, key))
        if value is None:
            return f"`{name}`"
        return f"`{key!r}: {value!r}`" if inside and key == problem.path[-1] else f"`{name}={value!r}`"

    return re.sub(r"`([^`]*)`", call, re.sub(r",? under `\w+:`", "", problem.message))
