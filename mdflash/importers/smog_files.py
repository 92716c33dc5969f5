"""What the files of SMOG 2 hold: the topology (.top, in the grammar of GROMACS) and OpenSMOG's contacts (.xml).

Noel et al., PLoS Comput. Biol. 12, e1004794 (2016); Oliveira et al., Protein Sci. 31, 158 (2022). Numbers are as they
stand there: nm, degrees, and SMOG's unit of energy, which GROMACS and OpenMM take for kJ/mol.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from mdflash.core.regular import read_input
from mdflash.errors import InputError

CONTACTS: Final[Mapping[str, tuple[str, ...]]] = {
    "A/r^12-B/r^10": ("A", "B"),
    "A*((1+a/(A*r^12))*(1-exp(-(r-r0)^2/(2*sigmaG^2)))-1)": ("A", "r0", "sigmaG", "a"),
}
"""The expressions of OpenSMOG that are known, each with its parameters."""
TEN_TWELVE, GAUSSIAN = CONTACTS


class Row(NamedTuple):
    """A line of a section, or an interaction of the XML file.

    Attributes:
        atoms: 0-based.
        function: GROMACS's number of the function, or OpenSMOG's expression.
        values: its parameters.
        line: where it stands; 0 in XML.
    """

    atoms: tuple[int, ...]
    function: str
    values: tuple[float, ...]
    line: int


class Atom(NamedTuple):
    """A line of [ atoms ]."""

    type: str
    residue_number: int
    residue: str
    name: str


class AtomType(NamedTuple):
    """A line of [ atomtypes ]: Da, e, kJ/mol nm^6, kJ/mol nm^12."""

    mass: float
    charge: float
    c6: float
    c12: float


@dataclass
class Topology:
    """What a .top says, section by section."""

    file: Path
    types: dict[str, AtomType] = field(default_factory=dict)
    pair_types: dict[tuple[str, str], tuple[float, float]] = field(default_factory=dict)
    atoms: list[Atom] = field(default_factory=list)
    bonds: list[Row] = field(default_factory=list)
    angles: list[Row] = field(default_factory=list)
    dihedrals: list[Row] = field(default_factory=list)
    pairs: list[Row] = field(default_factory=list)
    exclusions: list[tuple[int, int]] = field(default_factory=list)
    bonds_excluded: int = 0


def read_topology(file: Path) -> Topology:
    """A .top of SMOG 2.

    Raises:
        InputError: it cannot be read, or holds what SMOG 2 does not write for a protein; names the line.
    """
    try:
        text = read_input(file).decode("utf-8", "replace")
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", file=file) from None
    found, section = Topology(file), ""
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.partition(";")[0].split()
        if not words:
            continue
        if words[0].startswith("#"):
            raise InputError(
                f"'{words[0]}' is for GROMACS's preprocessor: give the topology that SMOG 2 wrote",
                file=file,
                line=number,
            )
        if words[0].startswith("["):
            section = " ".join(words).strip("[] ")
            if section not in _SECTIONS:
                known = ", ".join(_SECTIONS)
                raise InputError(f"section '{section}' is none of a protein's: {known}", file=file, line=number)
            continue
        try:
            _SECTIONS[section](found, words, number)
        except (KeyError, IndexError, ValueError, OverflowError):
            place = f"a line of [ {section} ]" if section else "a line before any section"
            raise InputError(f"'{' '.join(words)[:60]}' cannot be read as {place}", file=file, line=number) from None
    if not found.atoms:
        raise InputError("has no [ atoms ]: it is no topology of SMOG 2", file=file)
    return found


def read_contacts(file: Path, atoms: int) -> list[Row]:
    """The contacts of OpenSMOG's .xml, of a molecule of so many atoms.

    Raises:
        InputError: it cannot be read, or holds forces other than the contacts in `CONTACTS`.
    """
    try:
        root = ElementTree.fromstring(read_input(file))
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", file=file) from None
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # the last two of encodings
        raise InputError(f"is no XML: {error}", file=file) from None
    if root.tag != "OpenSMOGforces":
        raise InputError(f"holds no OpenSMOGforces but '{root.tag[:60]}'", file=file)
    other = [element.tag for element in root if element.tag != "contacts"]
    if other:
        raise InputError(f"holds '{other[0][:60]}', which is not imported; contacts are", file=file)
    return [row for kind in root.iter("contacts_type") for row in _contacts(kind, file, atoms)]


def _contacts(kind: ElementTree.Element, file: Path, n: int) -> Iterator[Row]:
    element = kind.find("expression")
    expression = "" if element is None else "".join(element.get("expr", "").split())
    if expression not in CONTACTS:
        raise InputError(
            f"contacts of the form '{expression[:80]}' are not known; known are {' and '.join(CONTACTS)}", file=file
        )
    for k, one in enumerate(kind.iter("interaction")):
        try:
            atoms = (int(one.attrib["i"]) - 1, int(one.attrib["j"]) - 1)
            values = tuple(float(one.attrib[name]) for name in CONTACTS[expression])
            if min(atoms) < 0 or max(atoms) >= n or atoms[0] == atoms[1] or not np.isfinite(values).all():
                raise ValueError
        except (KeyError, ValueError, OverflowError):
            raise InputError(
                f"interaction {k + 1} of '{kind.get('name', '')[:60]}' needs i and j from 1 to {n}, and the numbers "
                f"{', '.join(CONTACTS[expression])}",
                file=file,
            ) from None
        yield Row(atoms, expression, values, 0)


def _atom_type(found: Topology, words: Sequence[str], _: int) -> None:
    name, mass, charge, _kind, c6, c12 = words[0], *words[-5:]
    found.types[name] = AtomType(float(mass), float(charge), float(c6), float(c12))


def _pair_type(found: Topology, words: Sequence[str], _: int) -> None:
    a, b = sorted(words[:2])
    if int(words[2]) != 1:
        raise ValueError
    found.pair_types[a, b] = float(words[3]), float(words[4])


def _atom(found: Topology, words: Sequence[str], _: int) -> None:
    if int(words[0]) != len(found.atoms) + 1 or words[1] not in found.types:
        raise ValueError
    found.atoms.append(Atom(words[1], int(words[2]), words[3], words[4]))


def _rows(order: int, name: str) -> Callable[[Topology, Sequence[str], int], None]:
    def add(found: Topology, words: Sequence[str], line: int) -> None:
        atoms = tuple(int(word) - 1 for word in words[:order])
        if min(atoms) < 0 or max(atoms) >= len(found.atoms) or len(set(atoms)) < order:
            raise ValueError
        values = tuple(float(word) for word in words[order + 1 :])
        if not np.isfinite(values).all():
            raise ValueError
        getattr(found, name).append(Row(atoms, words[order], values, line))

    return add


def _exclusion(found: Topology, words: Sequence[str], _: int) -> None:
    first, *others = (int(word) - 1 for word in words)
    found.exclusions += [(first, other) for other in others]


def _molecule_type(found: Topology, words: Sequence[str], _: int) -> None:
    if found.atoms:
        raise ValueError
    found.bonds_excluded = int(words[1])


def _defaults(_found: Topology, words: Sequence[str], _: int) -> None:
    if [int(word) for word in words[:2]] != [1, 1]:
        raise ValueError


def _molecules(_found: Topology, words: Sequence[str], _: int) -> None:
    if int(words[1]) != 1:
        raise ValueError


def _nothing(_found: Topology, _words: Sequence[str], _: int) -> None:
    pass


_SECTIONS: Final[Mapping[str, Callable[[Topology, Sequence[str], int], None]]] = {
    "defaults": _defaults,
    "atomtypes": _atom_type,
    "nonbond_params": _pair_type,
    "moleculetype": _molecule_type,
    "atoms": _atom,
    "bonds": _rows(2, "bonds"),
    "angles": _rows(3, "angles"),
    "dihedrals": _rows(4, "dihedrals"),
    "pairs": _rows(2, "pairs"),
    "exclusions": _exclusion,
    "system": _nothing,
    "molecules": _molecules,
}
"""How a line of each section is read."""
