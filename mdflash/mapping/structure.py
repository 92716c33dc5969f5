"""From a structure file to beads: one bead per residue, at its CA."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from mdflash.config.quantity import plain_word
from mdflash.errors import ForceFieldError, InputError
from mdflash.forcefield import ForceField
from mdflash.mapping.read import Structure, read_structure
from mdflash.mapping.residues import RESIDUE_MASS
from mdflash.system import FloatArray, System

CHAIN_BREAK = 4.5
"""Å; consecutive CA atoms are 3.8 Å apart (2.9 Å across a cis bond)."""


class Mapped(NamedTuple):
    """Beads from a structure.

    Attributes:
        system: the beads.
        positions: [F, N, 3] Å, one frame per model of the file.
        notes: what was skipped or looks odd, for people.
    """

    system: System
    positions: FloatArray
    notes: tuple[str, ...]


def map_structure(file: Path, mapping: str = "ca", forcefield: ForceField | None = None, name: str = "") -> Mapped:
    """Read a PDB, mmCIF or GRO file and map it to beads.

    Args:
        file: all-atom or CA-only structure; several models become several frames.
        mapping: "ca", one bead per residue at its CA; the bead's type is the residue's name.
        forcefield: where given, its masses are taken and its bead types must cover the structure.
            Otherwise beads weigh what their residues weigh on average.
        name: of the System; default: the file's name.

    Raises:
        InputError: the file (see `read_structure`), or a mapping other than "ca".
        ForceFieldError: a residue for which the force field has no bead type, or nobody a mass.
    """
    if mapping != "ca":
        raise InputError(
            f"mapping '{mapping}' cannot be built from a structure file; known: ca. A force field with another "
            "mapping brings its molecules along: write `structure: FORCEFIELD/systems/NAME.safetensors`",
            file=file,
        )
    known = frozenset(t.name for t in forcefield.bead_types) if forcefield else frozenset()
    return map_to_ca(read_structure(file, known), forcefield, name)


def map_to_ca(structure: Structure, forcefield: ForceField | None = None, name: str = "") -> Mapped:
    """As `map_structure`, for a structure that was read already."""
    residues = structure.residues
    masses = dict(RESIDUE_MASS)
    if forcefield is not None:
        masses |= {t.name: t.mass for t in forcefield.bead_types if t.mass is not None}
    for residue in residues:
        if residue.name not in masses:
            raise ForceFieldError(
                f"residue {residue.name} {residue.number} of chain {residue.chain} has no mass: "
                f"add one to bead_types, as in `{residue.name}: {{index: 0, mass: 110 Da}}`",
                file=structure.file,
            )
    chain = np.array([r.chain_index for r in residues])
    first = np.flatnonzero(chain[1:] == chain[:-1])
    bonds = np.stack([first, first + 1], axis=1)
    system = System(
        name=name or plain_word(structure.file.stem),
        types=tuple(r.name for r in residues),
        bead_names=("CA",) * len(residues),
        residue_index=np.arange(len(residues)),
        residue_names=tuple(r.name for r in residues),
        residue_ids=tuple(r.number for r in residues),
        chain_ids=tuple(r.chain for r in residues),
        masses=np.array([masses[r.name] for r in residues]),
        bonds=bonds,
    )
    if forcefield is not None:
        forcefield.type_indices(system)
    positions = np.ascontiguousarray(structure.positions[:, [r.ca for r in residues]])
    return Mapped(system, positions, (*structure.notes, *_chain_breaks(system, positions)))


def _chain_breaks(system: System, positions: FloatArray) -> list[str]:
    i, j = system.bonds.T
    length = np.linalg.norm(positions[0, j] - positions[0, i], axis=1)
    return [
        f"chain break: {system.bead_label(int(i[k]))} and {system.bead_label(int(j[k]))} are {length[k]:.1f} Å "
        "apart but follow each other in the chain, so they are bonded; missing residues should be modeled"
        for k in np.flatnonzero(length > CHAIN_BREAK)
    ]
