"""What is known of a run's molecules: beads, masses, chains, the native structure and its contacts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mdflash.analysis.measures import native_contacts
from mdflash.core.system import System
from mdflash.core.types import Box, FloatArray, IntArray
from mdflash.errors import InputError, MdflashError
from mdflash.forcefields.committee import Committee, committee_folder, load_committee
from mdflash.io.runfolder import topology_path
from mdflash.mapping.residues import RESIDUE_MASS
from mdflash.potentials.forms import NATIVE

if TYPE_CHECKING:
    from mdflash.analysis.open_run import Run
    from mdflash.config.molecules import SystemEntry
    from mdflash.forcefields.model import ForceField
    from mdflash.mapping.choices import Reading

FEWEST_CONTACTS = 3
"""Fewer native contacts are no fold to measure a distance from."""


def trace_of(system: System) -> IntArray:
    """[residues] the bead that stands for each residue: its CA, or its first bead."""
    names, where = system.bead_names, system.residue_index
    first = {int(r): b for b, r in reversed(list(enumerate(where)))}
    first |= {int(r): b for b, r in reversed(list(enumerate(where))) if names[b] == "CA"}
    return np.array([first[r] for r in range(system.n_residues)], np.int64)


@dataclass(frozen=True, eq=False)
class Species:
    """Chains of one sequence.

    Attributes:
        name: of the molecule in the run file, or of the first chain.
        beads: [C, n] of each chain.
        mass: of one chain, Da.
    """

    name: str
    beads: IntArray
    mass: float


@dataclass(frozen=True, eq=False)
class Molecule:
    """One molecule of a run.

    Attributes:
        system: its beads.
        start: [N, 3] Å where the run started, or None.
        reference: [N, 3] Å the structure to compare with, or None.
        reference_name: what that is, in words.
        contacts: [C, 2] native contacts, empty where there is no reference.
        lengths: [C] Å their native lengths.
        notes: what is missing, in sentences.
        forcefield: of the run, where it can be read.
        entry: the run's own description of the molecule, likewise.
        box: edges of the periodic box, Å, or None.
        names: of the kinds of molecules in a box of many, in order.
        committee: of which the force field is a member, if it learned this molecule.
    """

    system: System
    start: FloatArray | None = None
    reference: FloatArray | None = None
    reference_name: str = ""
    contacts: IntArray = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    lengths: FloatArray = field(default_factory=lambda: np.zeros(0))
    notes: tuple[str, ...] = ()
    forcefield: ForceField | None = None
    entry: SystemEntry | None = None
    box: Box | None = None
    names: tuple[str, ...] = ()
    committee: Committee | None = None

    @property
    def name(self) -> str:
        return self.system.name

    @property
    def mapping(self) -> str:
        """How atoms become its beads."""
        if self.entry is not None and self.entry.mapping != "from-forcefield":
            return self.entry.mapping
        return "ca" if self.forcefield is None else self.forcefield.mapping

    def reading(self, chosen: Reading | None) -> Reading:
        """How a structure of it is read: as chosen, and otherwise as the run read its own."""
        from mdflash.mapping.choices import AS_IT_IS

        return (chosen or AS_IT_IS).over(AS_IT_IS if self.entry is None else self.entry.reading)

    @property
    def many(self) -> bool:
        """Whether it is several molecules in a periodic box, which only their chains are the measure of."""
        return self.box is not None and self.reference is None and len(self.chains) > 1

    @cached_property
    def species(self) -> tuple[Species, ...]:
        """The chains by sequence, in the order in which the first of each stands."""
        chain = self.system.chain_index[self.system.residue_index]
        starts = np.flatnonzero(np.r_[True, np.diff(chain) > 0, True])
        found: dict[tuple[str, ...], list[int]] = {}
        for k in range(len(starts) - 1):
            found.setdefault(self.system.types[starts[k] : starts[k + 1]], []).append(int(starts[k]))
        names = self.names if len(self.names) == len(found) else ()
        return tuple(
            Species(
                names[s] if names else f"chain {self.system.chain_ids[self.system.residue_index[first[0]]]}",
                np.array(first)[:, None] + np.arange(len(types)),
                float(self.system.masses[first[0] : first[0] + len(types)].sum()),
            )
            for s, (types, first) in enumerate(found.items())
        )

    def in_box(self, positions: FloatArray) -> FloatArray:
        """Positions [F, N, 3] with every chain in the box, as a whole."""
        if self.box is None:
            return positions
        x: FloatArray = positions.copy()
        edges = np.array(self.box)
        for species in self.species:
            for beads in species.beads:
                x[:, beads] -= edges * np.floor(x[:, beads].mean(axis=1, keepdims=True) / edges)
        return x

    def crossed(self, positions: FloatArray) -> bool:
        """Whether two chains of a complex [F, N, 3] are nearer to an image of each other than to each other."""
        if self.box is None or not len(positions):
            return False
        centers = np.stack([positions[:, self.trace[own]].mean(axis=1) for _, own in self.chains], axis=1)  # [F, C, 3]
        spans = centers.max(axis=1) - centers.min(axis=1)
        return bool((spans > 0.5 * np.array(self.box)).any())

    @cached_property
    def trace(self) -> IntArray:
        """[residues] the bead that stands for each residue: its CA, or its first bead."""
        return trace_of(self.system)

    @cached_property
    def chains(self) -> tuple[tuple[str, IntArray], ...]:
        """Each chain's name and residues, in order."""
        ids = self.system.chain_ids
        found: list[tuple[str, list[int]]] = []
        for r, chain in enumerate(ids):
            if not found or found[-1][0] != chain:
                found.append((chain, []))
            found[-1][1].append(r)
        return tuple((name, np.array(rows, np.int64)) for name, rows in found)

    def label(self, residue: int) -> str:
        """'TYR 2', with its chain where there are several."""
        s = self.system
        chain = f"{s.chain_ids[residue]}:" if len(self.chains) > 1 else ""
        return f"{chain}{s.residue_names[residue]} {s.residue_ids[residue]}"


def load_molecules(run: Run, reference: Path | None = None, reading: Reading | None = None) -> dict[str, Molecule]:
    """The molecules of a run by name, as complete as its files allow.

    Structure and force field are read from where the run had them. Where they are gone, topology.pdb of the run folder
    says what there is, and a note what is missing.

    Args:
        run: the run.
        reference: a structure file to compare with; default: what a Gō force field calls native.
        reading: how that file is to be read; default, and for choices that are not made: as the run read its own.

    Raises:
        InputError: the reference is of another molecule, or there is no topology either.
    """
    from mdflash.analysis.recorded import Recorded

    given = run.described() if isinstance(run, Recorded) else _from_input(run)
    found, why = (_from_topology(run), given) if isinstance(given, str) else (given, "")
    molecules, box = {}, run.box
    for name, (system, start, ff, own) in found.items():
        names = () if own is None else tuple(m.name for m in own.molecules)
        committee, odd = _committee(system, ff)
        notes = tuple(note for note in (why, odd) if note)
        molecule = Molecule(
            system, start, notes=notes, forcefield=ff, entry=own, box=box, names=names, committee=committee
        )  # fmt: skip
        native, title = _native(system, ff)
        if reference is not None:
            native, title = _read_reference(reference, molecule, reading), reference.name
        pairs, lengths = _contacts(system, native, ff if reference is None else None)
        molecule = replace(molecule, reference=native, reference_name=title, contacts=pairs, lengths=lengths)
        if native is not None and not len(pairs):
            trace = molecule.trace
            pairs, lengths = native_contacts(native[trace], _along_chains(molecule))
            if len(pairs) >= FEWEST_CONTACTS:
                molecule = replace(molecule, contacts=trace[pairs], lengths=lengths)
        molecules[name] = molecule
    return molecules


def _committee(system: System, ff: ForceField | None) -> tuple[Committee | None, str]:
    """The committee of a run's force field, and why it is not used."""
    folder = None if ff is None else committee_folder(ff)
    if folder is None:
        return None, ""
    try:
        committee = load_committee(folder)
    except MdflashError as error:
        return None, f"the committee of the force field could not be read, so its spread is missing ({error})"
    return (committee if system.name in committee.own else None), ""


def _along_chains(molecule: Molecule) -> IntArray:
    """[residues] numbers along the chains; those of two chains are far apart."""
    numbers = np.arange(molecule.system.n_residues)
    for k, (_, rows) in enumerate(molecule.chains):
        numbers[rows] += 1000 * k
    return numbers


Found = dict[str, tuple[System, "FloatArray | None", "ForceField | None", "SystemEntry | None"]]


def _from_input(run: Run) -> Found | str:
    """From the files that the run was made of; a sentence where they cannot be read."""
    from mdflash.config.load import load_run
    from mdflash.runs.entries import read_entry

    try:
        config = load_run(run.folder).with_seed()
        loaded: dict[Path, ForceField] = {}
        found: Found = {}
        for s, entry in enumerate(config.system):
            system, frames, ff, _ = read_entry(config, s, loaded, [], 1)
            if system.n_beads != run.systems.get(entry.name):
                return "the structure file has changed since the run was made, so it was not used"
            found[entry.name] = (system, frames[0], ff, entry)
    except MdflashError as error:
        return f"structure or force field could not be read again, so only the run folder was used ({error})"
    return found


def _from_topology(run: Run) -> Found:
    """From topology.pdb: names and bonds; masses are those of whole residues where a residue is one bead."""
    import mdtraj

    names = list(run.systems)
    found: Found = {}
    for name, beads in run.systems.items():
        path = topology_path(run.folder, name, names)
        if not path.is_file():
            raise InputError("is missing, and the structure file of the run cannot be read either", file=path)
        top = mdtraj.load_topology(str(path))
        atoms, residues = list(top.atoms), list(top.residues)
        if len(atoms) != beads:
            raise InputError(f"has {len(atoms)} beads, but the run has {beads}; see mdflash info", file=path)
        per = beads / max(len(residues), 1)
        masses = [RESIDUE_MASS.get(a.residue.name, 110.0) / per for a in atoms]
        rows = [[a.index, b.index] for a, b in top.bonds]
        system = System(
            name, tuple(a.residue.name for a in atoms), tuple(a.name for a in atoms),
            np.array([a.residue.index for a in atoms]), tuple(r.name for r in residues),
            tuple(r.resSeq for r in residues), tuple(r.chain.chain_id or "A" for r in residues), np.array(masses),
            np.array(rows, np.int64).reshape(-1, 2),
        )  # fmt: skip
        found[name] = (system, None, None, None)
    return found


def _native(system: System, ff: ForceField | None) -> tuple[FloatArray | None, str]:
    """What a Gō force field was made from."""
    if ff is None or not any(term.form in NATIVE for term in ff.terms):
        return None, ""
    for other, frames in ff.systems:
        if other.types == system.types and frames is not None and len(frames):
            return np.asarray(frames[0], np.float64), f"native structure of {ff.name}"
    return None, ""


def _contacts(system: System, native: FloatArray | None, ff: ForceField | None) -> tuple[IntArray, FloatArray]:
    """Those that a Gō force field attracts."""
    if native is not None and ff is not None:
        for term in ff.terms:
            if term.form in NATIVE and term.keyed_by == "beads" and len(term.keys) >= FEWEST_CONTACTS:
                return np.asarray(term.keys, np.int64), np.asarray(term.parameters["r0"], np.float64)
    return np.zeros((0, 2), np.int64), np.zeros(0)


def _read_reference(file: Path, molecule: Molecule, reading: Reading | None) -> FloatArray:
    from mdflash.runs.entries import read_molecule

    system = molecule.system
    other, frames = read_molecule(
        file, molecule.mapping, molecule.forcefield, system.name, [], molecule.reading(reading)
    )
    if frames is None or other.n_beads != system.n_beads or other.residue_names != system.residue_names:
        raise InputError(
            f"holds {other.n_beads} beads ({_sequence(other.residue_names)}), but '{system.name}' has "
            f"{system.n_beads} ({_sequence(system.residue_names)}); a reference is the same molecule",
            file=file,
        )
    return np.asarray(frames[0], np.float64)


def _sequence(names: Sequence[str]) -> str:
    return "-".join(names[:6]) + ("..." if len(names) > 6 else "")
