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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from mdflash.config.biases import BiasEntry
from mdflash.config.metadynamics import Metadynamics
from mdflash.core.quantity import plain_word
from mdflash.core.regular import read_input
from mdflash.importers.plumed_input import Action, read_actions, units_of
from mdflash.importers.plumed_reader import Reader, Translation
from mdflash.potentials.variables import VARIABLES

_IGNORED: Final = ("UNITS", "WHOLEMOLECULES", "FLUSH", "MOLINFO")
"""Actions that say nothing here. MOLINFO names atoms (@phi-2); such names are refused where they stand."""
MOVES_EVERY: Final = 0.1
"""ps, at most, between two steps of a bias that moves."""


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
    reader = Reader(file, units_of(actions), timestep, dict(grids or {}))
    for action in actions:
        _take(reader, action)
    return reader.finish()


def _take(reader: Reader, action: Action) -> None:
    if action.name in _VARIABLES:
        reader.variables[action.label] = _VARIABLES[action.name](reader, action)
    elif action.name in _BIASES:
        _BIASES[action.name](reader, action)
        reader.acting.add(action.label)
    elif action.name in ("GROUP", "CENTER", "COM"):
        reader.groups[action.label] = reader.group(action)
    elif action.name == "PRINT":
        reader.printed |= dict.fromkeys(action.words("ARG") if "ARG" in action.given else [], action)
    elif action.name not in _IGNORED:
        known = ", ".join(sorted([*_VARIABLES, *_BIASES, "CENTER", "COM", "GROUP", "PRINT", "UNITS"]))
        more = _INSTEAD.get(action.name, f"what is read: {known}")
        raise action.error(f"has no counterpart in mdflash; {more}")


def _distance(reader: Reader, action: Action) -> dict[str, Any]:
    action.only("ATOMS", "NOPBC")
    return {"variable": "distance", "beads": reader.places(action, 2)}


def _angle(reader: Reader, action: Action) -> dict[str, Any]:
    action.only("ATOMS", "NOPBC")
    return {"variable": "angle", "beads": reader.places(action, 3)}


def _torsion(reader: Reader, action: Action) -> dict[str, Any]:
    action.only("ATOMS", "NOPBC")
    return {"variable": "dihedral", "beads": reader.places(action, 4)}


def _gyration(reader: Reader, action: Action) -> dict[str, Any]:
    action.only("ATOMS TYPE", "NOPBC MASS_WEIGHTED")
    if action.given.get("TYPE", "RADIUS") != "RADIUS":
        raise action.error(f"has TYPE={action.given['TYPE'][:60]}; mdflash has RADIUS")
    beads = [atom - 1 for atom in reader.atoms(action, action.words("ATOMS"))]
    return {"variable": "radius_of_gyration", "beads": [beads] if len(beads) > 1 else beads}


def _rmsd(reader: Reader, action: Action) -> dict[str, Any]:
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


def _restraint(reader: Reader, action: Action) -> None:
    action.only("ARG AT KAPPA SLOPE")
    for k, label in enumerate(action.words("ARG")):
        centers = action.of_argument("AT", k)
        kappa, slope = (action.of_argument(key, k, 0.0) for key in ("KAPPA", "SLOPE"))
        for form, constants in (("harmonic", kappa), ("linear", slope)):
            if any(constants):
                _add_bias(reader, action, label, form, constants, centers)


def _walls(reader: Reader, action: Action) -> None:
    action.only("ARG AT KAPPA EXP EPS OFFSET")
    form = "upper-wall" if action.name == "UPPER_WALLS" else "lower-wall"
    for k, label in enumerate(action.words("ARG")):
        exponent, width, offset = (
            action.one_of_argument(key, k, default) for key, default in (("EXP", 2.0), ("EPS", 1.0), ("OFFSET", 0.0))
        )
        if exponent != 2.0 or offset != 0.0 or width <= 0:
            raise action.error("has walls of another form than KAPPA (s - AT)^2: EXP=2 and OFFSET=0 are read")
        constants = [2.0 * kappa / width**2 for kappa in action.of_argument("KAPPA", k)]
        _add_bias(reader, action, label, form, constants, action.of_argument("AT", k))


def _add_bias(
    reader: Reader, action: Action, label: str, form: str, constants: Sequence[float], centers: Sequence[float]
) -> None:
    entry = {**reader.variable(action, label), "form": form}
    entry["force_constant"] = _one([reader.constant(label, x, form == "linear") for x in constants])
    entry["center"] = _one([reader.value(label, x) for x in centers])
    reader.add("biases", action, BiasEntry, entry)


def _moving(reader: Reader, action: Action) -> None:
    action.only("ARG STEP# AT0 AT1 KAPPA0 KAPPA1 VERSE VERSE#")
    if any(verse != "B" for key in action.given if key.startswith("VERSE") for verse in action.words(key)):
        raise action.error("has a VERSE; mdflash's moving restraints act on both sides")
    if sorted(key for key in action.given if key.startswith("STEP")) != ["STEP0", "STEP1"]:
        raise action.error("moves in other stages than from STEP0 to STEP1, which is what mdflash's biases do")
    begin, end = action.steps("STEP0"), action.steps("STEP1")
    if end <= begin:
        raise action.error("has a STEP1 that is not after STEP0")
    for k, label in enumerate(action.words("ARG")):
        centers, constants = action.of_argument("AT0", k), action.of_argument("KAPPA0", k)
        entry = reader.variable(action, label)
        entry["force_constant"] = _one([reader.constant(label, x) for x in constants])
        entry["center"] = _one([reader.value(label, x) for x in centers])
        for key, word, before, show in (
            ("center_to", "AT1", centers, reader.value),
            ("force_constant_to", "KAPPA1", constants, reader.constant),
        ):
            after = action.of_argument(word, k) if word in action.given else before
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


def _metad(reader: Reader, action: Action) -> None:
    action.only(
        "ARG SIGMA HEIGHT BIASFACTOR PACE TEMP GRID_MIN GRID_MAX GRID_BIN GRID_SPACING FILE FMT",
        "CALC_RCT WALKERS_MPI GRID_SPARSE GRID_NOSPLINE",
    )
    if "BIASFACTOR" not in action.given:
        raise action.error("lacks BIASFACTOR=: hills of one height never end, and mdflash's are well-tempered")
    _hills(reader, action, {
        "height": reader.energy(action.single("HEIGHT")),
        "bias_factor": action.single("BIASFACTOR"),
        "walkers": "all" if "WALKERS_MPI" in action.flags else 1,
    })  # fmt: skip


def _opes(reader: Reader, action: Action) -> None:
    action.only("ARG SIGMA BARRIER BIASFACTOR PACE TEMP FILE FMT STATE_WFILE STATE_WSTRIDE", "CALC_WORK WALKERS_MPI")
    entry: dict[str, Any] = {
        "method": "opes-explore" if action.name == "OPES_METAD_EXPLORE" else "opes",
        "barrier": reader.energy(action.single("BARRIER")),
        "walkers": "all" if "WALKERS_MPI" in action.flags else 1,
    }
    if "BIASFACTOR" in action.given:
        entry["bias_factor"] = action.single("BIASFACTOR")
    _hills(reader, action, entry)


def _hills(reader: Reader, action: Action, entry: dict[str, Any]) -> None:
    """An entry of `metadynamics:`."""
    widths = action.numbers("SIGMA")
    labels = action.words("ARG")
    if len(widths) != len(labels):
        raise action.error(f"has {len(widths)} values of SIGMA for {len(labels)} variables")
    variables = []
    for k, (label, width) in enumerate(zip(labels, widths, strict=True)):
        variable = reader.variable(action, label)
        grid = _grid(reader, action, label, k)
        variables.append({**variable, "width": reader.value(label, width), **({"grid": grid} if grid else {})})
    if "TEMP" in action.given:
        reader.kelvin.add(action.single("TEMP"))
    every = reader.time(action, action.steps("PACE"))
    own = {"name": plain_word(action.label.lstrip("@")), "variables": variables, **entry, "every": every}
    reader.add("metadynamics", action, Metadynamics, own)


def _grid(reader: Reader, action: Action, label: str, k: int) -> dict[str, Any]:
    """Of one variable: what the action says, or the ends that were given beside."""
    variable = VARIABLES[reader.variables[label]["variable"]]
    found: dict[str, Any] = {}
    if "GRID_MIN" in action.given and not variable.periodic:
        for key, word in (("min", "GRID_MIN"), ("max", "GRID_MAX")):
            found[key] = reader.value(label, action.one_of_argument(word, k))
    elif label in reader.grids:
        found = dict(zip(("min", "max"), reader.grids[label], strict=True))
    elif math.isinf(variable.highest):
        raise action.error(
            f"has no GRID_MIN and GRID_MAX, and {label} has no natural ends; say where its grid ends, for example "
            f"--grid '{label}=2 angstrom:30 angstrom'"
        )
    if "GRID_BIN" in action.given:
        bins = action.one_of_argument("GRID_BIN", k)
        found["points"] = int(min(max(bins, 0.0), 1e9)) + (0 if variable.periodic else 1)
    if "GRID_SPACING" in action.given:  # the finer one counts, as in PLUMED
        bins = _bins_of_spacing(reader, action, label, k)
        found["points"] = max(found.get("points", 0), bins + (0 if variable.periodic else 1))
    return found


def _bins_of_spacing(reader: Reader, action: Action, label: str, k: int) -> int:
    """As PLUMED counts them: those that are not wider."""
    variable, size = VARIABLES[reader.variables[label]["variable"]], reader.size(label)
    if "GRID_MIN" in action.given and not variable.periodic:
        length = (action.one_of_argument("GRID_MAX", k) - action.one_of_argument("GRID_MIN", k)) * size
    elif label not in reader.grids:
        length = variable.highest - variable.lowest
    else:
        raise action.error("has GRID_SPACING and no GRID_MIN and GRID_MAX; write GRID_BIN")
    spacing = action.one_of_argument("GRID_SPACING", k) * size
    if spacing <= 0:
        raise action.error("has a GRID_SPACING that is not above 0")
    return math.ceil(min(max(length / spacing, 1.0), 1e9))


def _one(values: list[Any]) -> Any:
    """One value alone, several as a list."""
    return values[0] if len(values) == 1 else values


_VARIABLES: Final[Mapping[str, Callable[[Reader, Action], dict[str, Any]]]] = MappingProxyType(
    {"DISTANCE": _distance, "ANGLE": _angle, "TORSION": _torsion, "GYRATION": _gyration, "RMSD": _rmsd}
)
_BIASES: Final[Mapping[str, Callable[[Reader, Action], None]]] = MappingProxyType(
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
