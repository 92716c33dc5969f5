"""Coarse-grained frames back to all atoms: backbone, side chains, hydrogens, then energy minimization.

Beads that are atoms (CA, or N, CA, CB, C, O) are held within about 0.1 Å while the rest relaxes in ff14SB with OBC2.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from mdflash.core.types import FloatArray, IntArray
from mdflash.errors import InputError
from mdflash.mapping.allatom import create_system, relax_quickly
from mdflash.mapping.backbone import backbone_from_ca
from mdflash.mapping.choices import Reading
from mdflash.mapping.geometry import beta_carbon
from mdflash.mapping.peptide import complete
from mdflash.mapping.read import Residue, Structure, read_structure

CLASH = 2.5
"""Å; heavy atoms nearer than this and more than three bonds apart clash (a short hydrogen bond is 2.6 Å)."""
ONE_PLACE = 0.2
"""Å; beads nearer than this have no direction between them."""
_BACKBONE = ("N", "CA", "C", "O")


@dataclass(frozen=True)
class Rebuilt:
    """One frame with all its atoms.

    Attributes:
        topology: OpenMM's.
        positions: [atoms, 3] Å.
        clashes: pairs of atoms by residue and name, with their distance in Å.
        wrong_hands: residues whose CA came out as a D amino acid's.
        moved: root mean square distance of the beads from where they were, Å.
    """

    topology: Any
    positions: FloatArray
    clashes: tuple[tuple[str, str, float], ...]
    wrong_hands: tuple[str, ...]
    moved: float


def read_beads(file: Path) -> Structure:
    """The frames of a PDB file of beads.

    Args:
        file: one CA for each residue, or N, CA, C, O and maybe CB; several models are several frames.

    Raises:
        InputError: not such a file.
    """
    structure = read_structure(file, reading=Reading(gaps="bond"))  # what a run wrote may be stretched
    for residue in structure.residues:
        if not structure.ca_only and not set(_BACKBONE) <= residue.atoms.keys():
            missing = next(atom for atom in _BACKBONE if atom not in residue.atoms)
            raise InputError(
                f"residue {residue.place} has no {missing}; frames with CA alone, or with N, CA, C, O (and CB) of "
                "every residue can be rebuilt",
                file=file,
            )
    return structure


def in_one_place(beads: Structure) -> dict[int, str]:
    """Frames that cannot be rebuilt, each with the two beads that lie in one place there."""
    from scipy.spatial import cKDTree

    names = {row: f"{atom} of {r.place}" for r in beads.residues for atom, row in r.atoms.items()}
    rows = np.array(sorted(names))
    found: dict[int, str] = {}
    for frame, x in enumerate(beads.positions):
        for i, j in sorted(cKDTree(x[rows]).query_pairs(ONE_PLACE))[:1]:
            apart = float(np.linalg.norm(x[rows[i]] - x[rows[j]]))
            found[frame] = f"{names[rows[i]]} and {names[rows[j]]} lie in one place ({apart:.2f} Å apart)"
    return found


def rebuild(beads: Structure, frames: Sequence[int], processes: int = 0) -> Iterator[Rebuilt]:
    """Frames with all their atoms, in order, each as soon as it is done.

    Args:
        beads: from `read_beads`.
        frames: which; those of `in_one_place` cannot be rebuilt.
        processes: frames at a time, each in a process of its own, which Ctrl-C ends at once; 0: in this process. The
            atoms do not depend on it.

    Raises:
        InputError: openmm or pdbfixer is not installed, or a frame cannot be rebuilt; names it.
    """
    if processes == 0:
        yield from map(partial(_rebuild_frame, beads), frames)
        return
    with get_context("spawn").Pool(min(processes, len(frames)), signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
        yield from pool.imap(partial(_rebuild_frame, beads), frames)


def _rebuild_frame(structure: Structure, frame: int) -> Rebuilt:
    from openmm import OpenMMException

    try:
        return _rebuilt(structure, frame)
    except (np.linalg.LinAlgError, OpenMMException) as error:
        raise InputError(f"frame {frame} cannot be rebuilt, its beads are too far from a protein: {error}") from None


def _rebuilt(structure: Structure, frame: int) -> Rebuilt:
    x = structure.positions[frame]
    atoms: list[dict[str, FloatArray]] = []
    for _, group in groupby(structure.residues, key=lambda r: r.chain_index):
        chain = list(group)
        atoms += (
            backbone_from_ca(x[[r.ca for r in chain]], [r.name for r in chain])
            if structure.ca_only
            else [{atom: x[row] for atom, row in r.atoms.items() if atom in (*_BACKBONE, "CB")} for r in chain]
        )
    for residue, own in zip(structure.residues, atoms, strict=True):
        if residue.name != "GLY" and "CB" not in own:
            own["CB"] = beta_carbon(own["N"], own["CA"], own["C"])
    topology, start = complete(
        [
            (r.name, f"{r.number:4d}{r.code}", _chain_letter(r), own)
            for r, own in zip(structure.residues, atoms, strict=True)
        ]
    )
    row = {(a.residue.index, a.name): a.index for a in topology.atoms()}
    held = [(row[k, atom], x[r.atoms[atom]]) for k, r in enumerate(structure.residues) for atom in r.atoms]
    beads = np.array([atom for atom, _ in held])
    positions = relax_quickly(create_system(topology), start, beads)
    off = positions[beads] - np.array([place for _, place in held])
    return Rebuilt(
        topology=topology,
        positions=positions,
        clashes=tuple(_clashes(topology, positions)),
        wrong_hands=tuple(_wrong_hands(structure.residues, row, positions)),
        moved=float(np.sqrt((off**2).sum(axis=1).mean())),
    )


def _chain_letter(residue: Residue) -> str:
    """Chains of one id would become one."""
    return chr(ord("A") + residue.chain_index % 26)


def _clashes(topology: Any, positions: FloatArray) -> Iterator[tuple[str, str, float]]:
    from scipy.spatial import cKDTree

    atoms = list(topology.atoms())
    heavy: IntArray = np.array([a.index for a in atoms if a.element.symbol != "H"], np.int64)
    near: list[set[int]] = [{a.index} for a in atoms]
    for _ in range(3):  # after k rounds: atoms at most k bonds away
        grown = [set(n) for n in near]
        for a, b in topology.bonds():
            grown[a.index] |= near[b.index]
            grown[b.index] |= near[a.index]
        near = grown
    for i, j in sorted(cKDTree(positions[heavy]).query_pairs(CLASH)):
        a, b = atoms[heavy[i]], atoms[heavy[j]]
        if b.index not in near[a.index]:
            yield _label(a), _label(b), float(np.linalg.norm(positions[a.index] - positions[b.index]))


def _label(atom: Any) -> str:
    return f"{atom.residue.name} {atom.residue.id} {atom.name}"


def _wrong_hands(residues: Sequence[Residue], row: dict[tuple[int, str], int], x: FloatArray) -> Iterator[str]:
    for k, residue in enumerate(residues):
        if residue.name != "GLY":
            n, c, cb = (x[row[k, atom]] - x[row[k, "CA"]] for atom in ("N", "C", "CB"))
            if np.dot(np.cross(n, c), cb) < 0:
                yield residue.place
