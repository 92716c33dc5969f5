"""plumed.dat -> the sections `biases:`, `metadynamics:` and `monitor:` of a system.yaml.

An atom of the file is a bead: atom 1 is bead 0. What has no counterpart is refused by name and line, since a bias that
was left out would be found out late. Energies, with what PLUMED calls their parameters:

| action                   | energy                                          | here                                    |
|--------------------------|-------------------------------------------------|-----------------------------------------|
| RESTRAINT                | 1/2 KAPPA (s - AT)^2 + SLOPE (s - AT)           | harmonic, linear                        |
| MOVINGRESTRAINT          | 1/2 KAPPA (s - AT)^2, between two steps         | harmonic with `moving`                  |
| UPPER_WALLS, LOWER_WALLS | KAPPA ((s - AT) / EPS)^2 beyond AT              | walls, force constant 2 KAPPA / EPS^2   |
| METAD, OPES_METAD        | hills, kernels                                  | `metadynamics:`                         |
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np
from pydantic import ValidationError

from mdflash.config.biases import BiasEntry, VariableEntry
from mdflash.config.explain import explain
from mdflash.config.metadynamics import Metadynamics
from mdflash.config.section import BESIDE
from mdflash.config.write import plain_yaml
from mdflash.core.quantity import plain_word, show_quantity
from mdflash.core.regular import read_input
from mdflash.errors import InputError
from mdflash.importers.plumed_input import Action, Units, atoms_of, read_actions, units_of
from mdflash.potentials.variables import VARIABLES

IGNORED: Final = ("UNITS", "PRINT", "WHOLEMOLECULES", "FLUSH", "MOLINFO", "GROUP", "CENTER", "COM")
"""Actions that are no entry of their own. MOLINFO names atoms (@phi-2); such names are refused where they stand."""
MOVES_EVERY: Final = 0.1
"""ps, at most, between two steps of a bias that moves."""


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


def translate_plumed(
    file: Path, timestep: float | None = None, grids: Mapping[str, tuple[str, str]] | None = None
) -> Translation:
    """What a plumed.dat describes.

    Args:
        file: the plumed.dat; masses.dat and references lie beside it.
        timestep: ps, of the run, in which PACE, STEP and STRIDE are counted; needed where they mean something.
        grids: both ends of the grid along a variable, by its label, where the file has none.

    Raises:
        InputError: an action that mdflash does not have, or a line that cannot be read; names the line.
    """
    actions = read_actions(file)
    reader = _Reader(file, units_of(actions), timestep, dict(grids or {}))
    for action in actions:
        reader.take(action)
    return reader.finish()


class _Reader:
    """Takes actions one after the other."""

    def __init__(self, file: Path, units: Units, timestep: float | None, grids: dict[str, tuple[str, str]]) -> None:
        self.file, self.units, self.timestep, self.grids = file, units, timestep, grids
        self.groups: dict[str, Group] = {}
        self.variables: dict[str, dict[str, Any]] = {}
        self.uses: Counter[str] = Counter()
        self.printed: dict[str, Action] = {}
        self.acting: set[str] = set()
        self.found = Translation()
        self.kelvin: set[float] = set()

    def take(self, action: Action) -> None:
        """One action."""
        if action.name in _VARIABLES:
            self.variables[action.label] = _VARIABLES[action.name](self, action)
        elif action.name in _BIASES:
            _BIASES[action.name](self, action)
            self.acting.add(action.label)
        elif action.name in ("GROUP", "CENTER", "COM"):
            self.groups[action.label] = self._group(action)
        elif action.name == "PRINT":
            self.printed |= dict.fromkeys(action.words("ARG") if "ARG" in action.given else [], action)
        elif action.name not in IGNORED:
            known = ", ".join(sorted([*_VARIABLES, *_BIASES, "CENTER", "COM", "GROUP", "PRINT", "UNITS"]))
            more = _INSTEAD.get(action.name, f"what is read: {known}")
            raise action.error(f"has no counterpart in mdflash; {more}")

    def finish(self) -> Translation:
        """All of it."""
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

    def arguments(self, action: Action) -> list[str]:
        """The labels of its variables."""
        return action.words("ARG")

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

    def _group(self, action: Action) -> Group:
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


def _distance(reader: _Reader, action: Action) -> dict[str, Any]:
    action.only("ATOMS", "NOPBC")
    return {"variable": "distance", "beads": reader.places(action, 2)}


def _angle(reader: _Reader, action: Action) -> dict[str, Any]:
    action.only("ATOMS", "NOPBC")
    return {"variable": "angle", "beads": reader.places(action, 3)}


def _torsion(reader: _Reader, action: Action) -> dict[str, Any]:
    action.only("ATOMS", "NOPBC")
    return {"variable": "dihedral", "beads": reader.places(action, 4)}


def _gyration(reader: _Reader, action: Action) -> dict[str, Any]:
    action.only("ATOMS TYPE", "NOPBC MASS_WEIGHTED")
    if action.given.get("TYPE", "RADIUS") != "RADIUS":
        raise action.error(f"has TYPE={action.given['TYPE'][:60]}; mdflash has RADIUS")
    beads = [atom - 1 for atom in reader.atoms(action, action.words("ATOMS"))]
    return {"variable": "radius_of_gyration", "beads": [beads] if len(beads) > 1 else beads}


def _rmsd(reader: _Reader, action: Action) -> dict[str, Any]:
    """The reference is a whole molecule; which of its atoms count are those whose serial numbers it has."""
    action.only("REFERENCE TYPE", "NOPBC")
    if action.given.get("TYPE", "SIMPLE") != "OPTIMAL":
        raise action.error("is of TYPE=SIMPLE, which only moves the molecule; mdflash superposes it: TYPE=OPTIMAL")
    name = action.words("REFERENCE")[0]
    file = reader.file.parent / name
    if not file.is_file():
        raise action.error(f"has REFERENCE={name[:60]}, which is not there")
    rows = [row for row in read_input(file).decode(errors="replace").splitlines() if row[:6] in ("ATOM  ", "HETATM")]
    try:
        numbers = [int(row[6:11]) for row in rows]
        weights = {(float(row[54:60]), float(row[60:66])) for row in rows}
    except ValueError:
        raise action.error(f"has REFERENCE={name[:60]}, whose atoms have no numbers and weights") from None
    if len(weights) > 1:
        raise action.error(f"has REFERENCE={name[:60]}, whose atoms have weights; in mdflash's they count equally")
    if not numbers or numbers != list(range(1, len(numbers) + 1)):
        text = "which is no whole molecule; mdflash's reference is, and `beads:` says which of it count"
        raise action.error(f"has REFERENCE={name[:60]}, {text}")
    return {"variable": "rmsd", "reference": str(file)}


def _restraint(reader: _Reader, action: Action) -> None:
    action.only("ARG AT KAPPA SLOPE")
    for k, label in enumerate(reader.arguments(action)):
        centers = _of_argument(action, "AT", k)
        kappa, slope = (_of_argument(action, key, k, 0.0) for key in ("KAPPA", "SLOPE"))
        for form, constants in (("harmonic", kappa), ("linear", slope)):
            if any(constants):
                _add_bias(reader, action, label, form, constants, centers)


def _walls(reader: _Reader, action: Action) -> None:
    action.only("ARG AT KAPPA EXP EPS OFFSET")
    form = "upper-wall" if action.name == "UPPER_WALLS" else "lower-wall"
    for k, label in enumerate(reader.arguments(action)):
        exponent, width, offset = (
            _one_of_argument(action, key, k, default) for key, default in (("EXP", 2.0), ("EPS", 1.0), ("OFFSET", 0.0))
        )
        if exponent != 2.0 or offset != 0.0 or width <= 0:
            raise action.error("has walls of another form than KAPPA (s - AT)^2: EXP=2 and OFFSET=0 are read")
        constants = [2.0 * kappa / width**2 for kappa in _of_argument(action, "KAPPA", k)]
        _add_bias(reader, action, label, form, constants, _of_argument(action, "AT", k))


def _add_bias(
    reader: _Reader, action: Action, label: str, form: str, constants: Sequence[float], centers: Sequence[float]
) -> None:
    entry = {**reader.variable(action, label), "form": form}
    entry["force_constant"] = _one([reader.constant(label, x, form == "linear") for x in constants])
    entry["center"] = _one([reader.value(label, x) for x in centers])
    reader.add("biases", action, BiasEntry, entry)


def _moving(reader: _Reader, action: Action) -> None:
    action.only("ARG STEP# AT0 AT1 KAPPA0 KAPPA1 VERSE VERSE#")
    if any(verse != "B" for key in action.given if key.startswith("VERSE") for verse in action.words(key)):
        raise action.error("has a VERSE; mdflash's moving restraints act on both sides")
    if sorted(key for key in action.given if key.startswith("STEP")) != ["STEP0", "STEP1"]:
        raise action.error("moves in other stages than from STEP0 to STEP1, which is what mdflash's biases do")
    begin, end = action.steps("STEP0"), action.steps("STEP1")
    if end <= begin:
        raise action.error("has a STEP1 that is not after STEP0")
    for k, label in enumerate(reader.arguments(action)):
        centers, constants = _of_argument(action, "AT0", k), _of_argument(action, "KAPPA0", k)
        entry = reader.variable(action, label)
        entry["force_constant"] = _one([reader.constant(label, x) for x in constants])
        entry["center"] = _one([reader.value(label, x) for x in centers])
        for key, word, before, show in (
            ("center_to", "AT1", centers, reader.value),
            ("force_constant_to", "KAPPA1", constants, reader.constant),
        ):
            after = _of_argument(action, word, k) if word in action.given else before
            if after != before:
                if len(after) > 1:
                    raise action.error(f"has several values of {word}; a bias of mdflash moves to one")
                entry[key] = show(label, after[0])
        entry["moving"] = {
            "after": reader.time(action, begin),
            "length": reader.time(action, end - begin),
            "every": reader.time(action, _divisor(math.gcd(begin, end - begin), reader.timestep or 1.0)),
        }
        reader.add("biases", action, BiasEntry, entry)


def _divisor(steps: int, timestep: float) -> int:
    """The largest divisor of a number of steps that is not longer than `MOVES_EVERY`."""
    most = max(1, int(MOVES_EVERY / timestep * (1 + 1e-9)))
    return next(n for n in range(min(most, steps), 0, -1) if steps % n == 0)


def _metad(reader: _Reader, action: Action) -> None:
    action.only(
        "ARG SIGMA HEIGHT BIASFACTOR PACE TEMP GRID_MIN GRID_MAX GRID_BIN GRID_SPACING FILE FMT",
        "CALC_RCT WALKERS_MPI GRID_SPARSE GRID_NOSPLINE",
    )
    if "BIASFACTOR" not in action.given:
        raise action.error("lacks BIASFACTOR=: hills of one height never end, and mdflash's are well-tempered")
    _hills(reader, action, {
        "height": reader.energy(_single(action, "HEIGHT")),
        "bias_factor": _single(action, "BIASFACTOR"),
        "walkers": "all" if "WALKERS_MPI" in action.flags else 1,
    })  # fmt: skip


def _opes(reader: _Reader, action: Action) -> None:
    action.only("ARG SIGMA BARRIER BIASFACTOR PACE TEMP FILE FMT STATE_WFILE STATE_WSTRIDE", "CALC_WORK WALKERS_MPI")
    entry: dict[str, Any] = {
        "method": "opes-explore" if action.name == "OPES_METAD_EXPLORE" else "opes",
        "barrier": reader.energy(_single(action, "BARRIER")),
        "walkers": "all" if "WALKERS_MPI" in action.flags else 1,
    }
    if "BIASFACTOR" in action.given:
        entry["bias_factor"] = _single(action, "BIASFACTOR")
    _hills(reader, action, entry)


def _hills(reader: _Reader, action: Action, entry: dict[str, Any]) -> None:
    """An entry of `metadynamics:`."""
    widths = action.numbers("SIGMA")
    labels = reader.arguments(action)
    if len(widths) != len(labels):
        raise action.error(f"has {len(widths)} values of SIGMA for {len(labels)} variables")
    variables = []
    for k, (label, width) in enumerate(zip(labels, widths, strict=True)):
        variable = reader.variable(action, label)
        grid = _grid(reader, action, label, k)
        variables.append({**variable, "width": reader.value(label, width), **({"grid": grid} if grid else {})})
    if "TEMP" in action.given:
        reader.kelvin.add(_single(action, "TEMP"))
    every = reader.time(action, action.steps("PACE"))
    own = {"name": plain_word(action.label.lstrip("@")), "variables": variables, **entry, "every": every}
    reader.add("metadynamics", action, Metadynamics, own)


def _grid(reader: _Reader, action: Action, label: str, k: int) -> dict[str, Any]:
    """Of one variable: what the action says, or the ends that were given beside."""
    variable = VARIABLES[reader.variables[label]["variable"]]
    found: dict[str, Any] = {}
    if "GRID_MIN" in action.given and not variable.periodic:
        for key, word in (("min", "GRID_MIN"), ("max", "GRID_MAX")):
            found[key] = reader.value(label, _one_of_argument(action, word, k))
    elif label in reader.grids:
        found = dict(zip(("min", "max"), reader.grids[label], strict=True))
    elif math.isinf(variable.highest):
        raise action.error(
            f"has no GRID_MIN and GRID_MAX, and {label} has no natural ends; say where its grid ends, for example "
            f"--grid '{label}=2 angstrom:30 angstrom'"
        )
    if "GRID_BIN" in action.given:
        bins = _one_of_argument(action, "GRID_BIN", k)
        found["points"] = int(min(max(bins, 0.0), 1e9)) + (0 if variable.periodic else 1)
    if "GRID_SPACING" in action.given:  # the finer one counts, as in PLUMED
        bins = _bins_of_spacing(reader, action, label, k)
        found["points"] = max(found.get("points", 0), bins + (0 if variable.periodic else 1))
    return found


def _bins_of_spacing(reader: _Reader, action: Action, label: str, k: int) -> int:
    """As PLUMED counts them: those that are not wider."""
    variable, size = VARIABLES[reader.variables[label]["variable"]], reader.size(label)
    if "GRID_MIN" in action.given and not variable.periodic:
        length = (_one_of_argument(action, "GRID_MAX", k) - _one_of_argument(action, "GRID_MIN", k)) * size
    elif label not in reader.grids:
        length = variable.highest - variable.lowest
    else:
        raise action.error("has GRID_SPACING and no GRID_MIN and GRID_MAX; write GRID_BIN")
    spacing = _one_of_argument(action, "GRID_SPACING", k) * size
    if spacing <= 0:
        raise action.error("has a GRID_SPACING that is not above 0")
    return math.ceil(min(max(length / spacing, 1.0), 1e9))


def _single(action: Action, keyword: str) -> float:
    """The only number of a keyword."""
    found = action.numbers(keyword)
    if len(found) != 1:
        raise action.error(f"has {len(found)} values of {keyword}; one is read")
    return found[0]


def _of_argument(action: Action, keyword: str, k: int, default: float | None = None) -> list[float]:
    """The value of a keyword that belongs to argument k; several where replicas have their own."""
    if keyword not in action.given:
        return action.numbers(keyword, default)
    words = action.words(keyword)
    if words[0].startswith("@replicas:"):
        if len(action.words("ARG")) > 1:
            raise action.error(f"has {keyword}=@replicas:... and several arguments; write an action for each of them")
        words[0] = words[0].removeprefix("@replicas:")
        return [action.number(word.strip("{}"), keyword) for word in words]
    if len(words) != len(action.words("ARG")):
        raise action.error(f"has {len(words)} values of {keyword} for {len(action.words('ARG'))} arguments")
    return [action.number(words[k], keyword)]


def _one_of_argument(action: Action, keyword: str, k: int, default: float | None = None) -> float:
    """As `_of_argument`, of what all replicas have in common."""
    found = _of_argument(action, keyword, k, default)
    if len(found) != 1:
        raise action.error(f"has {len(found)} values of {keyword}, by replica; mdflash has one for all of them")
    return found[0]


def _one(values: list[Any]) -> Any:
    """One value alone, several as a list."""
    return values[0] if len(values) == 1 else values


_VARIABLES: Final[Mapping[str, Callable[[_Reader, Action], dict[str, Any]]]] = MappingProxyType(
    {"DISTANCE": _distance, "ANGLE": _angle, "TORSION": _torsion, "GYRATION": _gyration, "RMSD": _rmsd}
)
_BIASES: Final[Mapping[str, Callable[[_Reader, Action], None]]] = MappingProxyType(
    {
        "RESTRAINT": _restraint, "UPPER_WALLS": _walls, "LOWER_WALLS": _walls, "MOVINGRESTRAINT": _moving,
        "METAD": _metad, "OPES_METAD": _opes, "OPES_METAD_EXPLORE": _opes,
    }
)  # fmt: skip
_INSTEAD: Final[Mapping[str, str]] = MappingProxyType(
    {
        "COORDINATION": "take it out, and write `variable: native_contacts` for contacts of a known structure",
        "CONTACTMAP": "take it out, and write `variable: native_contacts` for contacts of a known structure",
        "RESTART": "take it out: a run of mdflash goes on by itself",
        "EXTERNAL": "take it out; a potential of your own is a few lines of Python, see docs/user/python.md",
    }
)
