"""Which atoms of a structure each bead stands for: what every mapping comes down to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mdflash.core.quantity import plain_word
from mdflash.core.system import System
from mdflash.core.types import FloatArray, IntArray
from mdflash.errors import InputError
from mdflash.mapping.choices import advice
from mdflash.mapping.formats import bare_name
from mdflash.mapping.read import Residue, Structure

LONGEST_BOND = 2.5
"""Å; the longest bond between heavy atoms of a protein is a disulfide's, 2.05 Å."""


@dataclass(frozen=True)
class BeadMap:
    """Which atoms of a structure each bead stands for.

    Attributes:
        system: the beads.
        weights: [N, atoms]; a bead lies at the weighted mean of its atoms. Rows sum to 1.
        notes: what was skipped or looks odd, for people.
    """

    system: System
    weights: FloatArray
    notes: tuple[str, ...]

    @property
    def atoms(self) -> IntArray | None:
        """[N] the one atom of each bead; None if a bead has several."""
        single = (self.weights > 0).sum(axis=1) == 1
        return self.weights.argmax(axis=1) if single.all() else None

    def positions(self, atoms: FloatArray) -> FloatArray:
        """Bead positions [F, N, 3] of atom positions [F, atoms, 3]."""
        rows = self.atoms
        beads: FloatArray = atoms[:, rows] if rows is not None else np.einsum("na,fax->fnx", self.weights, atoms)
        return np.ascontiguousarray(beads)


def make_beads(
    structure: Structure,
    residues: tuple[Residue, ...],
    beads: list[tuple[str, str, float, list[int]]],
    owner: IntArray,
    bonds: IntArray,
    name: str,
    interactions: dict[str, IntArray] | None = None,
    notes: tuple[str, ...] = (),
) -> BeadMap:
    """A BeadMap from its parts.

    Args:
        structure: where the atoms are.
        residues: the residues that have beads.
        beads: [N] name, type, mass in Da and rows of the atoms of each bead; a bead lies in their middle.
        owner: [N] residue of each bead.
        bonds: [M, 2] beads.
        name: of the System; default: the file's name.
        interactions: as `System.interactions`.
        notes: what was skipped or looks odd.
    """
    system = System(
        name=name or plain_word(bare_name(structure.file)),
        types=tuple(kind for _, kind, _, _ in beads),
        bead_names=tuple(bead for bead, _, _, _ in beads),
        residue_index=owner,
        residue_names=tuple(r.name for r in residues),
        residue_ids=tuple(r.number for r in residues),
        chain_ids=tuple(r.chain for r in residues),
        insertion_codes=tuple(r.code for r in residues),
        masses=np.array([mass for _, _, mass, _ in beads]),
        bonds=bonds,
        interactions=interactions or {},
    )
    weights = np.zeros((len(beads), structure.positions.shape[1]))
    for bead, (_, _, _, rows) in enumerate(beads):
        weights[bead, rows] = 1.0 / len(rows)
    return BeadMap(system, weights, (*structure.notes, *notes))


def refuse_long_bonds(structure: Structure, beads: BeadMap) -> None:
    """Of a mapping whose bonds are those of atoms: refuse a structure with residues missing in the chain.

    Raises:
        InputError: two bonded beads lie too far apart; names them.
    """
    x = beads.positions(structure.positions[:1])[0]
    i, j = beads.system.bonds.T
    length = np.linalg.norm(x[j] - x[i], axis=1)
    for bond in np.flatnonzero(length > LONGEST_BOND):
        first, second = (beads.system.bead_label(int(bead)) for bead in beads.system.bonds[bond])
        raise InputError(
            f"{first} and {second} follow each other in the chain but lie {length[bond]:.1f} Å apart: residues are "
            "missing between them; model them (PDBFixer does), or leave the two sides unbonded: "
            f"{advice('gaps', 'break')}",
            file=structure.file,
        )
