"""The beads of a System as the topologies that analysis tools read: PDB, MDTraj, MDTraj's JSON.

A coarse-grained bead is written as a carbon: readers drop or cannot draw virtual sites. Every replica copy
brings its own chains.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mdflash.core.files import atomic_write
from mdflash.core.system import System
from mdflash.core.types import Box
from mdflash.errors import InputError

if TYPE_CHECKING:
    from mdtraj import Topology

CHAIN_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_MAX_CONECT_SERIAL = 99_999  # five columns


def _chains(system: System) -> list[tuple[str, list[int]]]:
    """Chain ids, each with its residues, in order."""
    return [
        (chain, list(residues))
        for chain, residues in groupby(range(system.n_residues), key=lambda r: system.chain_ids[r])
    ]


def _segment(copy: int, copies: int) -> str:
    return f"{copy:04d}" if copies > 1 else ""


def topology_dict(system: System, copies: int = 1) -> dict[str, Any]:
    """`copies` copies of the system in the JSON layout of MDTraj's HDF5 format."""
    beads_of = [np.flatnonzero(system.residue_index == r).tolist() for r in range(system.n_residues)]
    chains: list[dict[str, Any]] = []
    for copy in range(copies):
        for chain_id, residues in _chains(system):
            chains.append(
                {
                    "index": len(chains),
                    "chain_id": chain_id,
                    "residues": [
                        {
                            "index": copy * system.n_residues + r,
                            "name": system.residue_names[r],
                            "resSeq": system.residue_ids[r],
                            "segmentID": _segment(copy, copies),
                            "atoms": [
                                {
                                    "index": copy * system.n_beads + bead,
                                    "name": system.bead_names[bead],
                                    "element": "C",
                                }
                                for bead in beads_of[r]
                            ],
                        }
                        for r in residues
                    ],
                }
            )
    bonds = [
        [int(i) + copy * system.n_beads, int(j) + copy * system.n_beads]
        for copy in range(copies)
        for i, j in system.bonds
    ]
    return {"chains": chains, "bonds": bonds}


def topology_json(system: System, copies: int = 1) -> bytes:
    """`topology_dict` as ASCII JSON."""
    return json.dumps(topology_dict(system, copies), separators=(",", ":")).encode("ascii")


def mdtraj_topology(system: System, copies: int = 1) -> Topology:
    """`copies` copies of the system as an mdtraj.Topology."""
    from mdtraj import Topology
    from mdtraj.core.element import carbon

    topology = Topology()
    atoms = []
    for chain_record in topology_dict(system, copies)["chains"]:
        chain = topology.add_chain(chain_record["chain_id"])
        for record in chain_record["residues"]:
            residue = topology.add_residue(record["name"], chain, record["resSeq"], record["segmentID"])
            atoms += [topology.add_atom(atom["name"], carbon, residue) for atom in record["atoms"]]
    for copy in range(copies):
        offset = copy * system.n_beads
        for i, j in system.bonds:
            topology.add_bond(atoms[offset + int(i)], atoms[offset + int(j)])
    return topology


def _atom_name(name: str) -> str:
    """Columns 13-16: names of one-letter elements start in the second of them."""
    return f" {name:<3}" if len(name) < 4 else name[:4]


def _fits(positions: npt.NDArray[np.float64]) -> bool:
    """Whether eight columns with three decimals hold every coordinate."""
    return bool(positions.min() > -999.9995 and positions.max() < 9999.9995)


def within_columns(positions: npt.NDArray[np.float64], name: str) -> npt.NDArray[np.float64]:
    """`positions` [..., 3] in Å, moved to the origin where they drifted out of PDB's columns.

    Raises:
        InputError: not finite, or too far apart for them; `name` names their owner.
    """
    if not np.isfinite(positions).all():
        raise InputError(f"{name}: a coordinate is not a finite number, which a PDB file cannot hold")
    if _fits(positions):
        return positions
    centered: npt.NDArray[np.float64] = positions - positions.reshape(-1, 3).mean(axis=0)
    if not _fits(centered):
        raise InputError(
            f"{name}: beads up to {np.abs(centered).max():.0f} Å from their center do not fit the columns "
            "of a PDB file; use another format"
        )
    return centered


def cryst1(box: Box) -> str:
    """The PDB record of a periodic box, edges in Å."""
    return f"CRYST1{box[0]:9.3f}{box[1]:9.3f}{box[2]:9.3f}  90.00  90.00  90.00 P 1           1"


def pdb_atom_lines(system: System, positions: npt.NDArray[np.float64]) -> Iterator[str]:
    """ATOM and TER lines of one frame; `positions` [copies, N, 3] in Å."""
    copies = positions.shape[0]
    chains = _chains(system)
    positions = within_columns(positions, f"system '{system.name}'")
    for copy in range(copies):
        for number, (chain_id, residues) in enumerate(chains):
            letter = chain_id
            if copies > 1 or len(chain_id) != 1:
                letter = CHAIN_LETTERS[(copy * len(chains) + number) % len(CHAIN_LETTERS)]
            first, last = residues[0], residues[-1]
            for bead in np.flatnonzero((system.residue_index >= first) & (system.residue_index <= last)):
                r = int(system.residue_index[bead])
                x, y, z = positions[copy, bead]
                serial = (copy * system.n_beads + int(bead) + 1) % 100_000
                name = _atom_name(system.bead_names[bead])
                yield (
                    f"ATOM  {serial:5d} {name} {system.residue_names[r][:3]:>3} "
                    f"{letter}{system.residue_ids[r] % 10_000:4d}    {x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00"
                    f"      {_segment(copy, copies):<4} C  "
                )
            yield "TER"


def pdb_text(
    system: System,
    positions: npt.NDArray[np.floating[Any]],
    box: Box | None = None,
) -> str:
    """One frame as PDB text; arguments as in `write_pdb`."""
    x = np.asarray(positions, np.float64)
    x = x[None] if x.ndim == 2 else x
    if x.ndim != 3 or x.shape[1:] != (system.n_beads, 3):
        raise InputError(
            f"system '{system.name}': a PDB file needs positions [{system.n_beads}, 3] "
            f"or [copies, {system.n_beads}, 3], found shape {list(x.shape)}"
        )
    lines = [] if box is None else [cryst1(box)]
    lines += pdb_atom_lines(system, x)
    if x.shape[0] * system.n_beads <= _MAX_CONECT_SERIAL:
        for copy in range(x.shape[0]):
            lines += [
                f"CONECT{i + 1 + copy * system.n_beads:5d}{j + 1 + copy * system.n_beads:5d}"
                for i, j in system.bonds.tolist()
            ]
    return "\n".join([*lines, "END", ""])


def write_pdb(
    path: Path,
    system: System,
    positions: npt.NDArray[np.floating[Any]],
    box: Box | None = None,
) -> None:
    """Write beads as a PDB file, bonds as CONECT records.

    Each copy has its own chains and, with several copies, the segment id 0000, 0001, ... Above 99,999 beads
    serial numbers wrap and bonds are left out, for CONECT has five columns.

    Args:
        path: the file, replaced as a whole.
        system: the molecule.
        positions: [N, 3] or [copies, N, 3] in Å; moved to the origin when too large for PDB's columns.
        box: edges of the periodic box, Å.

    Raises:
        InputError: another shape, or a coordinate that is not finite.
        StorageError: the file cannot be written.
    """
    atomic_write(path, pdb_text(system, positions, box))
