"""All-atom peptides from their sequence: a backbone of ideal geometry, side chains and hydrogens added.

Bond lengths and angles: R. A. Engh and R. Huber, Acta Cryst. A 47, 392 (1991). Side chains come from PDBFixer's
residue templates, hydrogens (pH 7) from OpenMM.
"""

from __future__ import annotations

import io
import os
import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from mdflash.core.files import atomic_write, storage_errors
from mdflash.core.regular import open_own
from mdflash.core.types import FloatArray
from mdflash.errors import InputError
from mdflash.mapping.geometry import C_N, C_N_CA, C_O, CA_C, CA_C_N, CA_C_O, N_CA, N_CA_C, beta_carbon, place

ONE_LETTER: Final[Mapping[str, str]] = MappingProxyType(
    {
        "A": "ALA", "R": "ARG", "N": "ASN", "D": "ASP", "C": "CYS", "Q": "GLN", "E": "GLU", "G": "GLY", "H": "HIS",
        "I": "ILE", "L": "LEU", "K": "LYS", "M": "MET", "F": "PHE", "P": "PRO", "S": "SER", "T": "THR", "W": "TRP",
        "Y": "TYR", "V": "VAL",
    }
)  # fmt: skip
CONFORMATIONS: Final[Mapping[str, tuple[float, float]]] = MappingProxyType(
    {"extended": (-120.0, 130.0), "helix": (-57.0, -47.0)}
)
"""phi and psi in degrees."""
PROLINE_PHI = -65.0
"""Its ring allows little else."""


def parse_sequence(text: str) -> tuple[str, ...]:
    """Residue names of `YYDPETGTWY` (one-letter) or `ACE-ALA-NME` (three-letter, caps allowed at the ends).

    Raises:
        InputError: an unknown letter or name (the message has its position), or caps alone.
    """
    text = text.strip().upper()
    if "-" in text or text in ONE_LETTER.values():
        names = tuple(text.split("-"))
        for k, name in enumerate(names, start=1):
            cap = (name == "ACE" and k == 1) or (name == "NME" and k == len(names))
            if not cap and name not in ONE_LETTER.values():
                raise InputError(
                    f"sequence '{text}': unknown residue '{name}' at position {k}; expected the twenty amino acids, "
                    "ACE first and NME last, as in ACE-ALA-NME"
                )
    else:
        wrong = re.search(f"[^{''.join(ONE_LETTER)}]", text)
        if wrong or not text:
            found = f"'{wrong[0]}' at position {wrong.start() + 1}" if wrong else "nothing"
            raise InputError(
                f"sequence '{text}': found {found}; expected one-letter amino acids, as in YYDPETGTWY, or three-letter "
                "ones, as in ACE-ALA-NME"
            )
        names = tuple(ONE_LETTER[letter] for letter in text)
    if not set(names) - {"ACE", "NME"}:
        raise InputError(f"sequence '{text}' has no amino acid between its caps")
    return names


def parse_conformation(text: str) -> tuple[float, float]:
    """phi and psi in degrees of `extended`, `helix` or `-75,145`.

    Raises:
        InputError: none of these.
    """
    if text in CONFORMATIONS:
        return CONFORMATIONS[text]
    number = r"\s*([+-]?\d+(?:\.\d*)?)\s*"
    match = re.fullmatch(f"{number},{number}", text)
    if match is None:
        raise InputError(f"conformation '{text}': expected extended, helix, or phi and psi in degrees, as in `-75,145`")
    return float(match[1]), float(match[2])


def parse_conformations(text: str, sequence: Sequence[str]) -> list[tuple[float, float]]:
    """phi and psi in degrees of every residue of `sequence`: one conformation for all, or as many as residues.

    Several stand with semicolons between them: "-57,-47; -120,130; extended".

    Raises:
        InputError: another number of them, or one that `parse_conformation` refuses.
    """
    found = [parse_conformation(part.strip()) for part in text.split(";")]
    if len(found) == 1:
        return found * len(sequence)
    if len(found) != len(sequence):
        raise InputError(
            f"conformation: {len(found)} are given, but {len(sequence)} residues ({'-'.join(sequence)}); "
            "give one for all, or one for each"
        )
    return found


def build_peptide(sequence: Sequence[str], dihedrals: Sequence[tuple[float, float]]) -> tuple[Any, FloatArray]:
    """The peptide with all atoms, not yet relaxed.

    Args:
        sequence: residue names, as `parse_sequence` gives them.
        dihedrals: phi, psi in degrees of each residue (those of caps are not used).

    Returns:
        OpenMM Topology, and positions [atoms, 3] in Å.

    Raises:
        InputError: another number of dihedrals; openmm or pdbfixer is not installed.
    """
    if len(dihedrals) != len(sequence):
        raise InputError(f"{len(sequence)} residues, but {len(dihedrals)} pairs of phi and psi")
    atoms = _backbone(sequence, dihedrals)
    return complete(
        [(name, f"{number:4d}", "A", own) for number, (name, own) in enumerate(zip(sequence, atoms, strict=True), 1)]
    )


def complete(residues: Sequence[tuple[str, str, str, Mapping[str, FloatArray]]]) -> tuple[Any, FloatArray]:
    """A protein with side chains, terminal oxygens and hydrogens, from its backbone.

    Args:
        residues: name, number with insertion code (columns 23 to 27 of a PDB), chain id, and the positions [3]
            in Å of N, CA, C, O at least.

    Returns:
        OpenMM Topology, and positions [atoms, 3] in Å.

    Raises:
        InputError: openmm or pdbfixer is not installed.
    """
    try:
        from pdbfixer import PDBFixer
    except ImportError as error:
        raise InputError(
            f"building peptides needs {error.name}, which is not installed: pip install 'mdflash[structures]'"
        ) from None
    fixer = PDBFixer(pdbfile=io.StringIO(_pdb(residues)), platform=_plain_platform())
    fixer.missingResidues = {}
    fixer.findMissingAtoms()
    fixer.addMissingAtoms(seed=1)
    return add_hydrogens(fixer.topology, fixer.positions)


def add_hydrogens(topology: Any, positions: Any) -> tuple[Any, FloatArray]:
    """The molecule with the hydrogens it lacks, as protonated at pH 7; the same each time.

    Args:
        topology: OpenMM's.
        positions: OpenMM's, a Quantity.

    Returns:
        OpenMM Topology, and positions [atoms, 3] in Å.

    Raises:
        ValueError: a residue that ff14SB does not know, or heavy atoms are missing.
    """
    from openmm import app, unit

    model = app.Modeller(topology, positions)
    state = random.getstate()
    random.seed(1)  # OpenMM puts new hydrogens at random places before it relaxes them
    try:
        model.addHydrogens(app.ForceField("amber14/protein.ff14SB.xml"), pH=7.0, platform=_plain_platform())
    finally:
        random.setstate(state)
    return model.topology, np.array(model.positions.value_in_unit(unit.angstrom))


def _plain_platform() -> Any:
    """OpenMM's platform that gives the same bits each time."""
    import openmm as mm

    return mm.Platform.getPlatformByName("Reference")


def write_pdb(file: Path, topology: Any, positions: FloatArray) -> None:
    """Write an OpenMM Topology with positions [atoms, 3] in Å.

    Raises:
        StorageError: the file cannot be written.
    """
    atomic_write(file, _header(topology) + _model(topology, positions) + _footer(topology))


class PdbModels:
    """A PDB file that grows by a model at a time, and is whole once it is closed; a context manager.

    Args:
        file: replaced if it exists.
        topology: OpenMM's.
        numbered: whether models have numbers, as where there are several.

    Raises:
        StorageError: the file cannot be written; so does `add`.
    """

    def __init__(self, file: Path, topology: Any, numbered: bool) -> None:
        self._path, self._topology, self._numbered = file, topology, numbered
        self.models = 0
        with storage_errors(file):
            handle = open_own(file, "create")
            os.ftruncate(handle, 0)
            self._file = os.fdopen(handle, "w", encoding="ascii")
        self._write(_header(topology))

    def add(self, positions: FloatArray, number: int) -> None:
        """Write a model, [atoms, 3] in Å, with its number; others can read it at once."""
        self._write(_model(self._topology, positions, number if self._numbered else None))
        self.models += 1  # last: a signal while the text is made leaves a model that is not there

    def __enter__(self) -> PdbModels:
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self._write(_footer(self._topology))
        finally:
            self._file.close()

    def _write(self, text: str) -> None:
        with storage_errors(self._path):
            self._file.write(text)
            self._file.flush()


def _header(topology: Any) -> str:
    from openmm import app

    text = io.StringIO()
    app.PDBFile.writeHeader(topology, text)
    lines = text.getvalue().splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("REMARK"))  # it holds the date


def _model(topology: Any, positions: FloatArray, number: int | None = None) -> str:
    from openmm import app, unit

    text = io.StringIO()
    app.PDBFile.writeModel(topology, positions * unit.angstrom, text, number, keepIds=True)
    return text.getvalue()


def _footer(topology: Any) -> str:
    from openmm import app

    text = io.StringIO()
    app.PDBFile.writeFooter(topology, text)
    return text.getvalue()


def _pdb(residues: Sequence[tuple[str, str, str, Mapping[str, FloatArray]]]) -> str:
    lines: list[str] = []
    for k, (name, number, chain, atoms) in enumerate(residues):
        if k and chain != residues[k - 1][2]:
            lines.append("TER")
        for atom, (x, y, z) in atoms.items():
            lines.append(
                f"ATOM  {len(lines) + 1:5d}  {atom:<3} {name} {chain:1}{number:<5}   {x:8.3f}{y:8.3f}{z:8.3f}"
                f"  1.00  0.00          {atom[0]:>2}"
            )
    return "\n".join([*lines, "TER", "END", ""])


def _backbone(sequence: Sequence[str], dihedrals: Sequence[tuple[float, float]]) -> list[dict[str, FloatArray]]:
    chain: list[dict[str, FloatArray]] = []
    for k, name in enumerate(sequence):
        phi, psi = dihedrals[k]
        if name == "PRO":
            phi = PROLINE_PHI
        if k == 0:  # three atoms anywhere that a chain can grow from
            n = np.zeros(3)
            ca = np.array([N_CA, 0.0, 0.0])
            c = place(np.array([0.0, 1.0, 0.0]), n, ca, CA_C, N_CA_C, 180.0)
        else:
            before = chain[-1]
            ca_before = before["CH3" if sequence[k - 1] == "ACE" else "CA"]
            psi_before = 180.0 if sequence[k - 1] == "ACE" else dihedrals[k - 1][1]
            start = before.get("N", before["O"])  # a cap has no N; its O lies opposite of the next one
            n = place(start, ca_before, before["C"], C_N, CA_C_N, psi_before)
            ca = place(ca_before, before["C"], n, N_CA, C_N_CA, 180.0)
            c = place(before["C"], n, ca, CA_C, N_CA_C, phi)
        if name == "ACE":
            chain.append({"CH3": ca, "C": c, "O": place(n, ca, c, C_O, CA_C_O, 0.0)})
        elif name == "NME":
            chain.append({"N": n, "C": ca})
        else:
            residue = {"N": n, "CA": ca, "C": c, "O": place(n, ca, c, C_O, CA_C_O, psi + 180.0)}
            if name != "GLY":
                residue["CB"] = beta_carbon(n, ca, c)
            chain.append(residue)
    return chain
