"""Read the protein of a structure file: its residues, atoms and coordinates, checked.

MDTraj reads the file; what it would pass over in silence or explain with a traceback is checked here.
"""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from mdflash.errors import InputError
from mdflash.mapping.residues import CAPS, IONS, PARENT_RESIDUE, RESIDUE_MASS, SAME_RESIDUE, WATERS
from mdflash.system import FloatArray, IntArray

FORMATS = (".pdb", ".ent", ".cif", ".mmcif", ".gro")


@dataclass(frozen=True)
class Residue:
    """One protein residue of a structure file.

    Attributes:
        name: three letters; protonation states carry their parent's name (HIE is HIS).
        number: as in the file.
        chain: chain id; chains without one get A, B, ...
        chain_index: counts the file's chains; two chains of one id differ here.
        ca: row of its CA atom in `Structure.positions`.
        heavy: rows of its atoms other than hydrogen.
    """

    name: str
    number: int
    chain: str
    chain_index: int
    ca: int
    heavy: IntArray


@dataclass(frozen=True)
class Structure:
    """The protein of a structure file.

    Attributes:
        file: where it came from.
        residues: protein residues, in the file's order.
        positions: [F, atoms, 3] Å, all models of the file and all its atoms.
        notes: what was skipped or looks odd, for people.
    """

    file: Path
    residues: tuple[Residue, ...]
    positions: FloatArray
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

    Waters, ions and terminal caps are skipped and noted. Of alternate locations the first is read.

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
    skipped: Counter[str] = Counter()
    unknown: dict[str, str] = {}
    for residue in trajectory.topology.residues:
        name = str(residue.name).strip().upper()
        name = SAME_RESIDUE.get(name, name)
        chain = str(residue.chain.chain_id or "").strip() or _letter(residue.chain.index)
        place = f"{name} {residue.resSeq} of chain {chain}"
        if name in also_known or name in RESIDUE_MASS:
            ca = [a.index for a in residue.atoms if a.name == "CA"]
            if not ca:
                raise InputError(
                    f"residue {place} has no CA atom; complete the structure (PDBFixer adds missing atoms) "
                    "or remove the residue",
                    file=file,
                )
            heavy = [a.index for a in residue.atoms if not _is_hydrogen(a)]
            residues.append(
                Residue(name, int(residue.resSeq), chain, residue.chain.index, ca[0], np.array(heavy, np.int64))
            )
        elif name in WATERS:
            skipped["waters"] += 1
        elif name in IONS and residue.n_atoms == 1:
            skipped["ions"] += 1
        elif name in CAPS:
            skipped[f"cap {name}"] += 1
        else:
            unknown.setdefault(name, place)
    if unknown:
        raise InputError(_about_unknown(unknown, also_known), file=file)
    if not residues:
        there = ", ".join(f"{count} {what}" for what, count in skipped.items()) or "nothing"
        raise InputError(f"holds no protein (found {there}); a structure with amino acids is due", file=file)
    _check_finite(file, residues, positions, trajectory.topology)
    notes = [f"skipped {count} {what}" for what, count in skipped.items()]
    return Structure(file, tuple(residues), positions, tuple(notes))


def _load(file: Path) -> Any:
    if not file.exists():
        raise InputError("no such file; a structure (PDB, mmCIF, GRO) is due", file=file)
    if not file.is_file():
        raise InputError("is not a file; a structure (PDB, mmCIF, GRO) is due", file=file)
    kind = file.suffix.lower()
    if kind not in FORMATS:
        raise InputError(
            f"'{file.suffix}' is not a structure format that is read here; known: {', '.join(FORMATS)}",
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
        rows = np.append(residue.heavy, residue.ca)
        bad = np.argwhere(~np.isfinite(positions[:, rows]).all(axis=2))
        if len(bad):
            model, row = bad[0]
            raise InputError(
                f"atom {topology.atom(int(rows[row])).name} of residue {residue.name} {residue.number} of chain "
                f"{residue.chain} in model {model + 1} is at {positions[model, rows[row]].tolist()}; "
                "every coordinate must be a finite number",
                file=file,
            )
