"""What held a trajectory of a dataset beside its model: a bias as `biases:` of a system.yaml has it.

It is kept with the trajectory in the words of that section, so that its weight can be taken off again (see
`mdflash.training.weights`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from mdflash.config.biases import BiasEntry, text_of
from mdflash.core.regular import parse_json
from mdflash.core.system import System
from mdflash.core.types import FloatArray
from mdflash.errors import InputError
from mdflash.potentials.bias.energy import bias_energy
from mdflash.potentials.variables import VARIABLES
from mdflash.potentials.variables.base import Selected, Variable

CHUNK = 4096
"""Frames whose values are computed together."""
_OMITTED = {"name", "system", "reference", "center_to", "force_constant_to", "moving"}


@dataclass(frozen=True, eq=False)
class Restraint:
    """One bias with one center and one force constant.

    Attributes:
        entry: what it is.
        reference: [N, 3] Å the structure that its variable refers to, or None.
    """

    entry: BiasEntry
    reference: FloatArray | None = None

    @cached_property
    def words(self) -> str:
        """Its keys as JSON, without the reference."""
        said = self.entry.model_dump(mode="json", exclude=_OMITTED)
        return json.dumps({key: value for key, value in said.items() if value is not None})

    @property
    def digest(self) -> str:
        """SHA-256 over all of it, hexadecimal."""
        reference = b"" if self.reference is None else np.ascontiguousarray(self.reference).tobytes()
        return hashlib.sha256(self.words.encode() + reference).hexdigest()

    @property
    def label(self) -> str:
        """For people: its variable and where it holds it."""
        return f"{self.entry.variable.replace('_', ' ')} {text_of(self.entry.center[0], self.dimension)}"

    @property
    def dimension(self) -> Any:
        """Of its variable."""
        return VARIABLES[self.entry.variable].dimension

    def variable(self, system: System) -> Variable:
        """What it acts on, in the molecule of the dataset.

        Raises:
            InputError: beads that the molecule does not have, or a reference of another molecule.
        """
        from mdflash.runs.biases import beads_of  # torch

        kind = VARIABLES[self.entry.variable]
        if kind.needs_reference and (self.reference is None or self.reference.shape != (system.n_beads, 3)):
            found = "none" if self.reference is None else f"one of {len(self.reference)} beads"
            raise InputError(
                f"`variable: {kind.name}` needs a reference of the {system.n_beads} beads of '{system.name}', "
                f"found {found}",
                key="reference",
            )
        groups = [beads_of(group, system) for group in self.entry.beads]
        return kind.select(system, Selected(groups, self.reference, self.entry.options))

    def energy(self, values: FloatArray) -> FloatArray:
        """[F] kcal/mol at values [F] of its variable, in Å, rad, or without a unit."""
        e = self.entry
        periodic = VARIABLES[e.variable].periodic
        return bias_energy(values, e.force_constant[0], e.center[0], e.width, e.form, periodic)


def make_restraint(
    variable: str, beads: str | list[int], center: float, stiffness: float, reference: FloatArray | None = None
) -> Restraint:
    """A harmonic one from numbers in internal units (Å or rad, kcal/mol over their square)."""
    unit = {"length": "angstrom", "angle": "rad"}[VARIABLES[variable].dimension or "length"]
    entry = BiasEntry.model_validate(
        {
            "name": "window", "variable": variable, "beads": beads, "center": f"{center!r} {unit}",
            "force_constant": f"{stiffness!r} kcal/mol/{unit}^2",
        }
    )  # fmt: skip
    return Restraint(entry, reference)


def values_of(variable: Variable, positions: npt.NDArray[np.floating[Any]]) -> FloatArray:
    """[F] a variable at positions [F, N, 3] in Å, in float64: in Å, rad, or without a unit."""
    import torch

    parts = [
        variable.value(torch.from_numpy(positions[begin : begin + CHUNK].astype(np.float64))).numpy()
        for begin in range(0, len(positions), CHUNK)
    ]
    return np.concatenate(parts) if parts else np.zeros(0)


def read_restraint(words: Mapping[str, Any] | str, reference: FloatArray | None, file: Path) -> Restraint:
    """A restraint from its keys.

    Args:
        words: the keys of one entry of `biases:`, or those as JSON.
        reference: [N, 3] Å, or None.
        file: for errors.

    Raises:
        InputError: keys that mean nothing, a variable that is not known, more than one center or force constant, a
            reference that is not finite.
    """
    where = "attribute window"
    try:
        given = parse_json(words) if isinstance(words, str) else dict(words)
        if foreign := sorted(_OMITTED & set(given)):
            raise InputError(f"{where}: '{foreign[0]}' does not belong there", file=file)
        entry = BiasEntry.model_validate({"name": "window", **given})
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(map(str, problem["loc"]))
        known = f"; variables: {', '.join(VARIABLES)}" if key == "variable" else ""
        said = str(problem["msg"]).removeprefix("Value error, ")
        raise InputError(f"{where}: {key}: {said}{known}", file=file) from None
    except (ValueError, TypeError) as error:
        raise InputError(f"{where}: expected the keys of a bias as JSON, {error}", file=file) from None
    if len(entry.center) != 1 or len(entry.force_constant) != 1 or entry.moving is not None:
        raise InputError(f"{where}: expected one center and one force constant, which do not move", file=file)
    if reference is not None and not np.isfinite(reference).all():
        raise InputError(f"{where}: its reference has a number that is not finite", file=file)
    return Restraint(entry, reference)
