"""From labels and numbers of a plumed.dat to entries of a system.yaml, with units as mdflash writes them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import ValidationError

from mdflash.config.biases import VariableEntry
from mdflash.config.explain import explain
from mdflash.config.section import BESIDE
from mdflash.config.write import plain_yaml
from mdflash.core.quantity import plain_word, show_quantity
from mdflash.core.regular import read_input
from mdflash.errors import InputError
from mdflash.importers.plumed_input import Action, Units, atoms_of
from mdflash.potentials.variables import VARIABLES


class Group(NamedTuple):
    """Atoms under a label.

    Attributes:
        atoms: from 1.
        center: whether the label is the center of their masses, and so a place as an atom is.
    """

    atoms: list[int]
    center: bool


@dataclass
class Translation:
    """What a file says, in mdflash's words.

    Attributes:
        biases, metadynamics, monitor: entries of these sections.
        notes: what is to be known beside.
    """

    biases: list[dict[str, Any]] = field(default_factory=list)
    metadynamics: list[dict[str, Any]] = field(default_factory=list)
    monitor: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def text(self, file: Path) -> str:
        """As YAML."""
        head = [f"From {file.name}: copy these sections into a system.yaml.", *self.notes]
        parts = {key: getattr(self, key) for key in ("biases", "metadynamics", "monitor")}
        body = plain_yaml({key: entries for key, entries in parts.items() if entries})
        return "".join(f"# {line}\n" for line in head) + body


class Reader:
    """What the actions before have said, and what becomes of those that follow.

    Args:
        file: the plumed.dat.
        units: of its numbers.
        timestep: ps, of the run; None: not known.
        grids: both ends of the grid along a variable, by its label.

    Attributes:
        groups, variables: by label; a variable as the start of an entry.
        printed: the labels of PRINT, and its action.
        acting: the labels of biases.
        kelvin: of hills.
        found: the entries.
    """

    def __init__(self, file: Path, units: Units, timestep: float | None, grids: dict[str, tuple[str, str]]) -> None:
        self.file, self.units, self.timestep, self.grids = file, units, timestep, grids
        self.groups: dict[str, Group] = {}
        self.variables: dict[str, dict[str, Any]] = {}
        self.uses: Counter[str] = Counter()
        self.printed: dict[str, Action] = {}
        self.acting: set[str] = set()
        self.found = Translation()
        self.kelvin: set[float] = set()

    def finish(self) -> Translation:
        """All of it."""
        for star in [label for label in self.printed if label in ("*", "*.*")]:  # all values, all components
            action = self.printed.pop(star)
            if star == "*":
                self.printed = dict.fromkeys(self.variables, action) | self.printed
        for label, action in self.printed.items():
            if label in self.variables and not self.uses[label]:
                self.add("monitor", action, VariableEntry, self.variable(action, label))
            elif label not in self.variables and label.split(".")[0] not in self.acting:  # colvars.csv has all of those
                self.found.notes.append(
                    f"PRINT in line {action.line} names {label[:60]}, which is no variable of this file: left out."
                )
        if self.kelvin:
            kelvin = ", ".join(f"{t:g} K" for t in sorted(self.kelvin))
            self.found.notes.append(f"Hills are made for TEMP={kelvin}: that must be `dynamics.temperature`.")
        unused = sorted(set(self.grids) - set(self.variables))
        if unused:
            raise InputError(f"--grid names '{unused[0]}', which is no variable of it", file=self.file)
        if not (self.found.biases or self.found.metadynamics or self.found.monitor):
            raise InputError("has no bias, and prints no variable that mdflash has", file=self.file)
        return self.found

    def add(self, section: str, action: Action, kind: type[Any], entry: dict[str, Any]) -> None:
        """An entry, if the rules of its section hold."""
        here = self.file.parent
        try:
            kind.model_validate(entry, context={"folder": here, "cwd": here, BESIDE: here})
        except ValidationError as error:
            (first, *_) = explain(error, entry, kind)
            raise action.error(
                f"is not what mdflash takes: {'.'.join(map(str, first.path))}: {first.message}"
            ) from None
        getattr(self.found, section).append(entry)

    def variable(self, action: Action, label: str) -> dict[str, Any]:
        """The start of an entry on a variable, under a name that is used once."""
        if label not in self.variables:
            known = ", ".join(self.variables) or "none"
            raise action.error(f"has ARG={label[:60]}, which is no variable of this file (those are: {known})")
        self.uses[label] += 1
        own = f"_{self.uses[label]}" if self.uses[label] > 1 else ""
        return {"name": plain_word(label.lstrip("@")) + own, **self.variables[label]}

    def dimension(self, label: str) -> str | None:
        """Of a variable."""
        return VARIABLES[self.variables[label]["variable"]].dimension

    def size(self, label: str) -> float:
        """The unit of a variable, in ours."""
        return self.units.length if self.dimension(label) == "length" else 1.0

    def value(self, label: str, number: float) -> Any:
        """A value of a variable, as YAML has it."""
        dimension = self.dimension(label)
        if dimension is None:
            return number
        return show_quantity(number * self.size(label), dimension, ("angstrom",) if dimension == "length" else ("rad",))

    def constant(self, label: str, number: float, linear: bool = False) -> str:
        """A force constant."""
        kinds = {
            "length": ("force", "/angstrom", "/nm") if linear else ("stiffness", "/angstrom^2", "/nm^2"),
            "angle": ("torque", "/rad", "/rad") if linear else ("angular stiffness", "/rad^2", "/rad^2"),
        }
        dimension, ours, theirs = kinds.get(str(self.dimension(label)), ("energy", "", ""))
        value = number * self.units.energy / self.size(label) ** (1 if linear else 2)
        return show_quantity(value, dimension, (f"kcal/mol{ours}", f"kJ/mol{theirs}"))

    def energy(self, number: float) -> str:
        return show_quantity(number * self.units.energy, "energy", ("kcal/mol", "kJ/mol"))

    def time(self, action: Action, steps: int) -> str:
        """A number of steps."""
        if self.timestep is None:
            raise action.error("counts steps; say how long one is, for example --timestep '4 fs'")
        if not math.isfinite(steps * self.timestep):
            raise action.error(f"counts {steps:,} steps, and a step of {self.timestep:g} ps is too long for that")
        return show_quantity(steps * self.timestep, "time", ("ps", "ns", "fs"))

    def atoms(self, action: Action, words: Sequence[str]) -> list[int]:
        """All atoms of a list, groups among them."""
        found: list[int] = []
        for word in words:
            if word in self.groups and self.groups[word].center:
                raise action.error(f"has the center '{word}' where atoms are expected; name its atoms")
            found += self.groups[word].atoms if word in self.groups else atoms_of(action, word)
        return found

    def places(self, action: Action, count: int) -> list[int | list[int]]:
        """So many beads or groups of beads."""
        found: list[int | list[int]] = []
        for word in action.words("ATOMS"):
            if word in self.groups and self.groups[word].center:
                beads = [atom - 1 for atom in self.groups[word].atoms]
                found.append(beads if len(beads) > 1 else beads[0])
            else:
                found += [atom - 1 for atom in self.atoms(action, [word])]
        if len(found) != count:
            raise action.error(f"of {len(found)} atoms has no counterpart; mdflash's takes {count}")
        return found

    def group(self, action: Action) -> Group:
        """The atoms of GROUP, CENTER or COM."""
        action.only("ATOMS WEIGHTS", "NOPBC MASS")
        atoms = self.atoms(action, action.words("ATOMS"))
        if action.name == "GROUP":
            return Group(atoms, False)
        if action.name == "CENTER" and "MASS" not in action.flags:
            weights = action.numbers("WEIGHTS") if "WEIGHTS" in action.given else [1.0] * len(atoms)
            self._check_masses(action, atoms, weights)
        return Group(atoms, True)

    def _check_masses(self, action: Action, atoms: Sequence[int], weights: Sequence[float]) -> None:
        """Groups of mdflash have their center of mass."""
        masses = self._masses(action)
        if len(weights) != len(atoms) or not sum(weights):
            raise action.error(f"has {len(weights)} weights for {len(atoms)} atoms")
        if len(atoms) == 1:
            return
        fix = "mdflash's groups are at their center of mass: write COM, or the flag MASS"
        if not set(atoms) <= set(masses):
            raise action.error(f"has weights, and no masses.dat lies beside that says whether they are masses; {fix}")
        shares = np.array([masses[atom] for atom in atoms])
        if not np.allclose(np.array(weights) / sum(weights), shares / shares.sum(), rtol=1e-6, atol=1e-9):
            raise action.error(f"has weights that are no masses; {fix}")

    def _masses(self, action: Action) -> dict[int, float]:
        """By atom, from masses.dat."""
        file = self.file.parent / "masses.dat"
        if not file.is_file():
            return {}
        found = {}
        for line in read_input(file).decode(errors="replace").splitlines():
            words = line.split()
            if words and not words[0].startswith("#"):
                try:
                    found[int(words[0]) + 1] = float(words[1])
                except (ValueError, IndexError):
                    raise action.error(f"reads masses.dat, whose line '{line[:60]}' is no atom and mass") from None
        return found
