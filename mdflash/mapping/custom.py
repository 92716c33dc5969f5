"""Mappings written down in a file.

    mdflash_mapping: 1
    beads:                    # residue: {bead: [atoms]}; "*" is every other residue, "rest" its other heavy atoms
      GLY: {BB: [N, CA, C, O]}
      "*": {BB: [N, CA, C, O], SC: [rest]}
    bonds:                    # between beads of a residue, or with a bead of the next one, marked +
      - [BB, SC]
      - [BB, +BB]

A bead lies in the middle of its atoms and weighs what they weigh; its type is RESIDUE-BEAD, as in ALA-BB.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from mdflash.core.yamlfile import Document, load_yaml
from mdflash.errors import InputError
from mdflash.mapping.beads import BeadMap, make_beads
from mdflash.mapping.read import Residue, Structure
from mdflash.mapping.residues import CAPS, ELEMENT_MASS, RESIDUE_MASS

REST = "rest"


class CustomMapping:
    """A mapping file that was read and checked.

    Raises:
        InputError: anything wrong with the file, with line and key.
    """

    def __init__(self, file: Path) -> None:
        self._document: Document = load_yaml(file)
        data = self._document.data
        if not isinstance(data, dict) or data.get("mdflash_mapping") != 1:
            raise InputError("expected 'mdflash_mapping: 1' as the first line", file=file, line=1)
        for key in data:
            if key not in ("mdflash_mapping", "beads", "bonds"):
                self._fail(f"is not a known key; expected beads or bonds, found '{key}'", key)
        beads = data.get("beads")
        if not isinstance(beads, dict) or not beads:
            self._fail('expected residues with their beads, as in `"*": {CA: [CA]}`', "beads")
        for residue, entry in beads.items():
            if residue != "*" and residue not in RESIDUE_MASS and residue not in CAPS:
                self._fail(f"'{residue}' is not an amino acid or a cap; write its name, or \"*\"", "beads", residue)
            if not isinstance(entry, dict) or not entry or not all(map(_are_words, entry.values())):
                self._fail("expected beads with their atoms, as in `{BB: [N, CA, C, O]}`", "beads", residue)
        self._beads: dict[str, dict[str, list[str]]] = beads
        self._bonds: list[list[str]] = data.get("bonds") or []
        known = {bead for entry in beads.values() for bead in entry}
        for k, pair in enumerate(self._bonds):
            if not _are_words(pair) or len(pair) != 2:
                self._fail("expected two beads, as in `[BB, SC]` or `[BB, +BB]`", "bonds", k)
            for bead, name in enumerate(pair):
                if name.removeprefix("+" if bead else "") not in known:
                    self._fail(f"'{name}' is not a bead of any residue; known: {', '.join(sorted(known))}", "bonds", k)

    def _fail(self, message: str, *path: str | int) -> NoReturn:
        raise InputError(
            message, file=self._document.file, line=self._document.line(path), key=".".join(map(str, path))
        )

    def apply(self, structure: Structure, name: str) -> BeadMap:
        """The beads of a structure.

        Raises:
            InputError: a residue that the file leaves out, or without one of the atoms.
        """
        residues = tuple(r for r in structure.with_caps if r.name in self._beads or r.name not in CAPS)
        beads: list[tuple[str, str, float, list[int]]] = []
        numbers: list[dict[str, int]] = []
        for residue in residues:
            numbers.append({})
            for bead, rows in self._rows(residue, structure).items():
                mass = sum(ELEMENT_MASS[atom[0]] for atom, row in residue.atoms.items() if row in rows)
                numbers[-1][bead] = len(beads)
                beads.append((bead, f"{residue.name}-{bead}", mass, rows))
        bonds = []
        for k, own in enumerate(numbers):
            last = k + 1 == len(numbers) or residues[k + 1].chain_index != residues[k].chain_index
            for a, b in self._bonds:
                other: dict[str, int] = own if not b.startswith("+") else {} if last else numbers[k + 1]
                if a in own and b.removeprefix("+") in other:
                    bonds.append((own[a], other[b.removeprefix("+")]))
        owner = np.repeat(np.arange(len(residues)), [len(own) for own in numbers])
        return make_beads(structure, residues, beads, owner, np.array(bonds, np.int64).reshape(-1, 2), name)

    def _rows(self, residue: Residue, structure: Structure) -> dict[str, list[int]]:
        """Rows of the atoms of each bead of a residue; a bead left without atoms does not exist."""
        key = residue.name if residue.name in self._beads else "*"
        if key not in self._beads:
            raise InputError(
                f"the mapping {self._document.file} has no beads for residue {residue.place}; "
                f'add `{residue.name}: {{CA: [CA]}}` or `"*": {{CA: [CA]}}` under beads',
                file=structure.file,
            )
        entry = self._beads[key]
        named = {atom for atoms in entry.values() for atom in atoms}
        found = {}
        for bead, atoms in entry.items():
            missing = [atom for atom in atoms if atom != REST and atom not in residue.atoms]
            if missing:
                raise InputError(
                    f"residue {residue.place} has no {missing[0]} atom, which bead {bead} of {self._document.file} "
                    "needs; complete the structure (PDBFixer adds missing atoms)",
                    file=structure.file,
                )
            rows = [residue.atoms[atom] for atom in atoms if atom != REST]
            if REST in atoms:
                rows += [row for atom, row in residue.atoms.items() if atom not in named]
            if rows:
                found[bead] = rows
        return found


def _are_words(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(word, str) for word in value)
