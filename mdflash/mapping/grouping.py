"""From atoms in a file's order to residues: atoms that stand apart, alternate locations, residues in two variants.

Programs write the atoms of a residue in pieces (VMD: all hydrogens, or all side chains, after the backbones), and they
write two molecules under one name. Both show the same residue twice; they are told apart by the atoms: what a
residue has already starts another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mdflash.core.types import FloatArray
from mdflash.mapping.atoms import Atom
from mdflash.mapping.residues import standard_atom

BONDED = 3.0
"""Å; an atom farther from all others of its residue may be of another residue under the same number."""
_AMINO_H = frozenset({"H3", "HT3", "3H", "3HT", "HN3"})  # the third hydrogen on a first residue's N


@dataclass
class Group:
    """The atoms of one residue.

    Attributes:
        first: its first atom, for the names.
        places: (atom name, alternate location) -> row, other than hydrogens.
        occupancy: of each row.
        starts: whether its N has the three hydrogens of a chain's first residue.
        rows: how many lines it has, hydrogens too.
        hydrogens: name, alternate location and row of each.
    """

    first: Atom
    places: dict[tuple[str, str], int] = field(default_factory=dict)
    occupancy: dict[int, float] = field(default_factory=dict)
    starts: bool = False
    rows: int = 0
    hydrogens: list[tuple[str, str, int]] = field(default_factory=list)

    @property
    def key(self) -> tuple[str, str, int, str]:
        a = self.first
        return a.chain, a.segment, a.number, a.code

    @property
    def letters(self) -> set[str]:
        """Its alternate locations."""
        return {alternate for _, alternate in self.places}

    @property
    def is_split(self) -> bool:
        """Whether an atom has several places."""
        return len({name for name, _ in self.places}) < len(self.places)

    def chosen(self) -> dict[str, int]:
        """Atom name -> row: of alternate locations that of the highest occupancy, first in the file if equal.

        The locations of a residue go together: all atoms follow CA, or the residue's sum where CA has one place.
        """
        found = self._by_name()
        lead = self._lead(found)
        return {
            name: next((row for a, row in at if a == lead and len(at) > 1), self._fullest(at))
            for name, at in found.items()
        }

    def passed_over(self) -> set[int]:
        """Rows of the alternate locations that were not chosen, hydrogens too."""
        if not self.is_split:
            return set()
        lead = self._lead(self._by_name())
        rows = set(self.places.values()) - set(self.chosen().values())
        return rows | {row for _, alternate, row in self.hydrogens if alternate and alternate != lead}

    def _by_name(self) -> dict[str, list[tuple[str, int]]]:
        found: dict[str, list[tuple[str, int]]] = {}
        for (name, alternate), row in self.places.items():
            found.setdefault(name, []).append((alternate, row))
        return found

    def _fullest(self, at: list[tuple[str, int]]) -> int:
        return max(at, key=lambda place: (self.occupancy[place[1]], -place[1]))[1]

    def _lead(self, found: dict[str, list[tuple[str, int]]]) -> str | None:
        if len(found.get("CA", ())) > 1:
            row = self._fullest(found["CA"])
            return next(alternate for alternate, r in found["CA"] if r == row)
        total: dict[str, float] = {}
        for at in found.values():
            for alternate, row in at if len(at) > 1 else ():
                total[alternate] = total.get(alternate, 0.0) + self.occupancy[row]
        return max(total, key=lambda a: total[a]) if total else None


def is_hydrogen(name: str) -> bool:
    """By the atom's name: columns for elements hold anything. Deuterium and NMR's pseudo-atoms count as hydrogen."""
    return name.lstrip("0123456789'\"*")[:1] in ("H", "D", "Q")


def group(atoms: Sequence[Atom], positions: FloatArray) -> list[Group]:
    """The residues, in the order of their first atoms.

    Args:
        atoms: of one model, in the file's order.
        positions: [atoms, 3] Å; a piece of a residue that could belong to several goes to the nearest.
    """
    groups: list[Group] = []
    known: dict[tuple[str, str, str, int, str], list[Group]] = {}
    key, at = None, None
    for row, atom in enumerate(atoms):
        own = (atom.residue, atom.chain, atom.segment, atom.number, atom.code)
        name = standard_atom(atom.residue, atom.name)
        place = None if is_hydrogen(name) else (name, atom.alternate)
        if at is not None and own == key and place in at.places:
            place = _unlabeled(at, place, atom)
        strays = own == key and len(known[own]) > 1 and at is not None and _distance(at, row, positions) > BONDED
        if at is None or own != key or place in at.places or strays:
            same = known.setdefault(own, [])
            free = [g for g in same if place not in g.places]
            at = min(free, key=lambda g: _distance(g, row, positions)) if len(free) > 1 else free[0] if free else None
            if at is None:
                at = Group(atom)
                same.append(at)
                groups.append(at)
            key = own
        at.rows += 1
        if place is None:
            at.hydrogens.append((atom.name, atom.alternate, row))
        else:
            at.places[place] = row
            at.occupancy[row] = atom.occupancy
        at.starts |= atom.name in _AMINO_H
    return groups


def _unlabeled(g: Group, place: tuple[str, str], atom: Atom) -> tuple[str, str]:
    """An atom that its residue has already: a second place of it, if the two share one occupancy without a letter."""
    name, alternate = place
    if alternate or g.occupancy[g.places[place]] + atom.occupancy > 1.01 or atom.occupancy in (0.0, 1.0):
        return place
    return name, next(str(k) for k in range(2, 100) if (name, str(k)) not in g.places)


def _distance(g: Group, row: int, positions: FloatArray) -> float:
    rows = list(g.places.values())
    return float(np.linalg.norm(positions[rows] - positions[row], axis=1).min()) if rows else np.inf


def without_variants(groups: Sequence[Group]) -> tuple[list[Group], list[tuple[Group, Group]]]:
    """One of each residue that is two kinds at once (an alternate location of another name): the fuller one.

    Returns:
        The groups that stay, and pairs of one that stays with one that went.
    """
    at: dict[tuple[str, str, int, str], list[Group]] = {}
    for g in groups:
        at.setdefault(g.key, []).append(g)
    gone: list[tuple[Group, Group]] = []
    for same in at.values():
        kinds = [g for g in same if any(g.letters) and any(_excludes(g, o) for o in same)]
        whole = [g for g in kinds if "CA" in g.chosen()]
        if whole and len({g.first.residue for g in kinds}) > 1:
            stays = max(whole, key=lambda g: g.occupancy[g.chosen()["CA"]])
            gone += [(stays, g) for g in kinds if g is not stays]
    left = {id(g) for _, g in gone}
    return [g for g in groups if id(g) not in left], gone


def _excludes(g: Group, other: Group) -> bool:
    """Whether two groups of one number are two kinds of one residue: no location holds both, and one has letters."""
    named = (g.letters | other.letters) - {""}
    return g.first.residue != other.first.residue and len(named) > 1 and g.letters.isdisjoint(other.letters)
