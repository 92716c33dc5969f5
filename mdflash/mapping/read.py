"""Read the protein of a structure file: its residues, atoms and coordinates, checked.

MDTraj reads the file; what it would pass over in silence or explain with a traceback is checked here.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from mdflash.core.types import FloatArray, IntArray
from mdflash.errors import InputError
from mdflash.mapping.residues import CAPS, IONS, PARENT_RESIDUE, RESIDUE_MASS, SAME_RESIDUE, WATERS

FORMATS = (".pdb", ".ent", ".cif", ".mmcif", ".gro")
_TOPOLOGIES = (".psf", ".prmtop", ".parm7", ".top", ".tpr")
"""Of CHARMM, NAMD, Amber, GROMACS: without positions."""


@dataclass(frozen=True)
class Residue:
    """One protein residue, or terminal cap, of a structure file.

    Attributes:
        name: three letters; protonation states have their parent's name (HIE is HIS).
        number: as in the file.
        chain: chain id; chains without one get A, B, ...
        chain_index: counts the file's chains; two chains of one id differ here.
        atoms: atom name -> row in `Structure.positions`, of its atoms other than hydrogen.
    """

    name: str
    number: int
    chain: str
    chain_index: int
    atoms: Mapping[str, int]

    @property
    def ca(self) -> int:
        """Row of its CA atom; caps have none."""
        return self.atoms["CA"]

    @property
    def heavy(self) -> IntArray:
        """Rows of its atoms other than hydrogen."""
        return np.array(list(self.atoms.values()), np.int64)

    @property
    def place(self) -> str:
        """The residue by name: 'TYR 2 of chain A'."""
        return f"{self.name} {self.number} of chain {self.chain}"


@dataclass(frozen=True)
class Structure:
    """The protein of a structure file.

    Attributes:
        file: where it came from.
        residues: protein residues, in the file's order.
        with_caps: as `residues`, with the terminal caps (ACE, NME, ...) among them.
        positions: [F, atoms, 3] Å, all models of the file and all its atoms.
        bonds: [bonds, 2] rows of atoms that a standard residue, its neighbors or the file itself bond.
        notes: what was skipped or looks odd, for people.
    """

    file: Path
    residues: tuple[Residue, ...]
    with_caps: tuple[Residue, ...]
    positions: FloatArray
    bonds: IntArray
    notes: tuple[str, ...]

    @property
    def ca_only(self) -> bool:
        """Whether every residue consists of its CA alone."""
        return all(len(r.heavy) == 1 for r in self.residues)

    def heavy_atoms(self, frame: int = 0) -> list[FloatArray]:
        """For each residue, the positions [atoms, 3] of its heavy atoms in Å."""
        return [self.positions[frame, r.heavy] for r in self.residues]


def read_structure(file: Path, also_known: frozenset[str] = frozenset()) -> Structure:
    """Read the protein of a PDB, mmCIF or GRO file.

    Waters and ions are skipped and noted. Of alternate locations the first is read.

    Args:
        file: the structure; several models become several frames.
        also_known: residue names to accept besides the twenty amino acids.

    Raises:
        InputError: missing or unreadable file, another format, no protein, residues of unknown name,
            a residue without CA, a coordinate that is not a finite number.
    """
    trajectory = _load(file)
    positions = np.asarray(trajectory.xyz, np.float64) * 10.0  # nm to Å
    residues: list[Residue] = []
    with_caps: list[Residue] = []
    skipped: Counter[str] = Counter()
    unknown: dict[str, str] = {}
    for residue in trajectory.topology.residues:
        name = str(residue.name).strip().upper()
        name = SAME_RESIDUE.get(name, name)
        chain = str(residue.chain.chain_id or "").strip() or _letter(residue.chain.index)
        atoms = {str(a.name): int(a.index) for a in residue.atoms if not _is_hydrogen(a)}
        found = Residue(name, int(residue.resSeq), chain, residue.chain.index, atoms)
        place = found.place
        if name in also_known or name in RESIDUE_MASS:
            if "CA" not in atoms:
                raise InputError(
                    f"residue {place} has no CA atom; complete the structure (PDBFixer adds missing atoms) "
                    "or remove the residue",
                    file=file,
                )
            residues.append(found)
            with_caps.append(found)
        elif name in WATERS:
            skipped["waters"] += 1
        elif name in IONS and residue.n_atoms == 1:
            skipped["ions"] += 1
        elif name in CAPS:
            with_caps.append(found)
        else:
            unknown.setdefault(name, place)
    if unknown:
        raise InputError(_about_unknown(unknown, also_known), file=file)
    if not residues:
        skipped["caps"] = len(with_caps)
        there = ", ".join(f"{count} {what}" for what, count in skipped.items() if count) or "nothing"
        raise InputError(f"holds no protein (found {there}); expected a structure with amino acids", file=file)
    _check_finite(file, with_caps, positions, trajectory.topology)
    bonds = np.array([sorted((a.index, b.index)) for a, b in trajectory.topology.bonds], np.int64).reshape(-1, 2)
    notes = [f"skipped {count} {what}" for what, count in skipped.items()]
    if (split := _split_residues(file)) > 0:
        notes.append(f"{split} residues have alternate locations; the first of each atom was read")
    return Structure(file, tuple(residues), tuple(with_caps), positions, bonds, tuple(notes))


def _load(file: Path) -> Any:
    if not file.exists():
        raise InputError("no such file; expected a structure (PDB, mmCIF, GRO)", file=file)
    if not file.is_file():
        raise InputError("is not a file; expected a structure (PDB, mmCIF, GRO)", file=file)
    kind = file.suffix.lower()
    if kind not in FORMATS:
        hint = "; a topology has no positions: write a PDB file of a frame" if kind in _TOPOLOGIES else ""
        raise InputError(
            f"'{file.suffix}' is not a structure format; expected one of {', '.join(FORMATS)}{hint}",
            file=file,
        )
    import mdtraj

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if kind in (".pdb", ".ent"):
                return mdtraj.load_pdb(str(file), no_boxchk=True)
            return mdtraj.load(str(file))
    except Exception as error:  # parsers of foreign files raise whatever comes to hand
        line = _bad_atom_line(file) if kind in (".pdb", ".ent") else None
        if line is not None:
            raise InputError(
                "columns 31 to 54 of an ATOM line must hold three coordinates (8.3f each)",
                file=file,
                line=line,
            ) from None
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise InputError(f"cannot be read as {kind[1:].upper()}: {reason}", file=file) from None


def _bad_atom_line(file: Path) -> int | None:
    """The first ATOM line of a PDB file whose coordinates are no numbers."""
    for number, line in enumerate(file.read_text(errors="replace").splitlines(), start=1):
        if line.startswith(("ATOM", "HETATM")):
            try:
                for first in (30, 38, 46):
                    float(line[first : first + 8])
            except ValueError:
                return number
    return None


def _split_residues(file: Path) -> int:
    """How many residues of a PDB file have an atom in several places."""
    if file.suffix.lower() not in (".pdb", ".ent"):
        return 0
    places: Counter[str] = Counter()
    for line in file.read_text(errors="replace").splitlines():
        if line.startswith("ENDMDL"):
            break
        if line.startswith(("ATOM", "HETATM")) and line[16:17].strip():
            places[line[12:16] + line[17:27]] += 1
    return len({atom[4:] for atom, count in places.items() if count > 1})


def _letter(index: int) -> str:
    return chr(ord("A") + index % 26)


def _is_hydrogen(atom: Any) -> bool:
    symbol = atom.element.symbol if atom.element is not None else ""
    return symbol in ("H", "D") or (symbol in ("", "VS") and atom.name.lstrip("0123456789").startswith("H"))


def _about_unknown(unknown: dict[str, str], also_known: frozenset[str]) -> str:
    known = sorted(RESIDUE_MASS.keys() | also_known)
    parts = []
    for name, place in unknown.items():
        near = [PARENT_RESIDUE[name]] if name in PARENT_RESIDUE else get_close_matches(name, known, n=1)
        parts.append(f"{name} (first: {place}" + (f"; nearest: {near[0]})" if near else ")"))
    return (
        f"unknown residue names: {', '.join(parts)}. Rename modified residues to the amino acid they come from, "
        f"and remove ligands; known are {', '.join(known)}"
    )


def _check_finite(file: Path, residues: list[Residue], positions: FloatArray, topology: Any) -> None:
    for residue in residues:
        rows = residue.heavy
        bad = np.argwhere(~np.isfinite(positions[:, rows]).all(axis=2))
        if len(bad):
            model, row = bad[0]
            raise InputError(
                f"atom {topology.atom(int(rows[row])).name} of residue {residue.name} {residue.number} of chain "
                f"{residue.chain} in model {model + 1} is at {positions[model, rows[row]].tolist()}; "
                "every coordinate must be a finite number",
                file=file,
            )
