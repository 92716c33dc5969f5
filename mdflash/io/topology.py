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

from mdflash.core.chain_ids import CHAIN_LETTERS, chain_name
from mdflash.core.files import atomic_write
from mdflash.core.regular import open_input
from mdflash.core.system import System
from mdflash.core.types import Box
from mdflash.errors import InputError
from mdflash.mapping.formats.pdb import show_residue_number

if TYPE_CHECKING:
    from mdtraj import Topology

CIF_HEAD = "# beads, written by mdflash"
MASSES_HEAD = "bead,chain,residue,residue_name,bead_name,mass_Da"
_MAX_CONECT_SERIAL = 99_999  # five columns


def _chains(system: System) -> list[tuple[str, list[int]]]:
    """Chain ids, each with its residues, in order; two chains of one id stay two."""
    index = system.chain_index
    stretches = [list(residues) for _, residues in groupby(range(system.n_residues), key=lambda r: index[r])]
    return [(system.chain_ids[residues[0]], residues) for residues in stretches]


def _letters(chain_ids: list[str]) -> list[str]:
    """One letter for each chain: its id, or where that is longer the next letter that is no chain's."""
    free = [letter for letter in CHAIN_LETTERS if letter not in chain_ids] or list(CHAIN_LETTERS)
    given: dict[str, str] = {}
    for chain in chain_ids:
        if len(chain) != 1 and chain not in given:
            given[chain] = free[len(given) % len(free)]
    return [given.get(chain, chain) for chain in chain_ids]


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


def _number(residue: int) -> str:
    """Columns 23-26; a number that fits no way of writing keeps its last digits."""
    return show_residue_number(residue) or f"{residue % 10_000:4d}"


def beyond_pdb(system: System) -> str | None:
    """What of the system the columns of a PDB file cannot say plainly, in words; None if they can."""
    wide = [i for i in system.residue_ids if not -999 <= i <= 9999]
    long = [chain for chain in dict.fromkeys(system.chain_ids) if len(chain) != 1]
    said = [f"residue number {wide[0]}"] if wide else []
    said += [f"chain id '{long[0]}'"] if long else []
    return " and ".join(said) or None


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
    letters = _letters([chain for chain, _ in chains])
    positions = within_columns(positions, f"system '{system.name}'")
    for copy in range(copies):
        for number, (_, residues) in enumerate(chains):
            letter = letters[number]
            if copies > 1:
                letter = CHAIN_LETTERS[(copy * len(chains) + number) % len(CHAIN_LETTERS)]
            first, last = residues[0], residues[-1]
            for bead in np.flatnonzero((system.residue_index >= first) & (system.residue_index <= last)):
                r = int(system.residue_index[bead])
                x, y, z = positions[copy, bead]
                serial = (copy * system.n_beads + int(bead) + 1) % 100_000
                name = _atom_name(system.bead_names[bead])
                yield (
                    f"ATOM  {serial:5d} {name} {system.residue_names[r][:3]:>3} "
                    f"{letter}{_number(system.residue_ids[r])}{system.insertion_code(r):1}   "
                    f"{x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00      {_segment(copy, copies):<4} C  "
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


def write_topology(
    path: Path, system: System, positions: npt.NDArray[np.floating[Any]], box: Box | None = None
) -> None:
    """Write `path` as `write_pdb` does, and beside it the masses, and a .cif where PDB's columns are too narrow.

    Tools take beads for carbon, so what they weight by mass needs `masses_path`.

    Arguments and errors as for `write_pdb`.
    """
    write_pdb(path, system, positions, box)
    if beyond_pdb(system):
        atomic_write(path.with_suffix(".cif"), cif_text(system, positions, box))
    atomic_write(masses_path(path), masses_text(system))


def masses_path(topology: Path) -> Path:
    """`masses.csv` beside `topology.pdb`, `masses_NAME.csv` beside `topology_NAME.pdb`."""
    return topology.with_name(topology.name.replace("topology", "masses", 1)).with_suffix(".csv")


def masses_text(system: System) -> str:
    """The mass of every bead, in their order."""
    rows = (
        f"{bead},{system.chain_ids[r]},{system.residue_ids[r]}{system.insertion_code(r)},{system.residue_names[r]},"
        f"{system.bead_names[bead]},{float(system.masses[bead])!r}"
        for bead, r in enumerate(system.residue_index.tolist())
    )
    return "\n".join([MASSES_HEAD, *rows, ""])


def cif_text(system: System, positions: npt.NDArray[np.floating[Any]], box: Box | None = None) -> str:
    """One frame [N, 3] Å of a system as mmCIF: chain ids of any length, numbers of any size."""
    from gemmi.cif import quote

    lines = [CIF_HEAD, f"data_{system.name}"]
    if box is not None:
        lines += [f"_cell.length_{axis} {edge:.3f}" for axis, edge in zip("abc", box, strict=True)]
        lines += [f"_cell.angle_{angle} 90.00" for angle in ("alpha", "beta", "gamma")]
    lines += ["loop_", *(f"_atom_site.{key}" for key in _CIF_COLUMNS)]
    x = np.asarray(positions, np.float64).reshape(-1, 3)
    index = system.chain_index
    for bead in range(system.n_beads):
        r = int(system.residue_index[bead])
        chain, name, atom = (quote(t) for t in (system.chain_ids[r], system.residue_names[r], system.bead_names[bead]))
        number, code = system.residue_ids[r], system.insertion_code(r) or "?"
        place = " ".join(f"{v:.3f}" for v in x[bead])
        lines.append(
            f"ATOM {bead + 1} C {atom} . {name} {chain_name(int(index[r]))} {index[r] + 1} {r + 1} {code} {place} "
            f"1.00 0.00 {number} {name} {chain} {atom} 1"
        )
    return "\n".join([*lines, "#", ""])


_CIF_COLUMNS = (
    "group_PDB", "id", "type_symbol", "label_atom_id", "label_alt_id", "label_comp_id", "label_asym_id",
    "label_entity_id", "label_seq_id", "pdbx_PDB_ins_code", "Cartn_x", "Cartn_y", "Cartn_z", "occupancy",
    "B_iso_or_equiv", "auth_seq_id", "auth_comp_id", "auth_asym_id", "auth_atom_id", "pdbx_PDB_model_num",
)  # fmt: skip


def beside_topology(topology: Path) -> tuple[Path, Path]:
    """What `write_topology` may write beside a topology."""
    return topology.with_suffix(".cif"), masses_path(topology)


def is_own(file: Path) -> bool:
    """Whether mdflash wrote this file beside a topology: users keep files of such names too."""
    head = (CIF_HEAD if file.suffix == ".cif" else MASSES_HEAD).encode()
    with open_input(file) as f:
        return f.read(len(head)) == head
