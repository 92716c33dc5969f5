"""From an entry of `system:` to its molecule, or its box of many, with frames to start from and a force field."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mdflash.config.molecules import Source
from mdflash.config.schema import RunConfig
from mdflash.core.geometry import whole
from mdflash.core.system import System, load_system
from mdflash.core.types import FloatArray
from mdflash.engine.compression import FRICTION, Compression
from mdflash.errors import InputError
from mdflash.forcefields.between import contacts_between, describe_contacts
from mdflash.forcefields.forcefield import load_forcefield
from mdflash.forcefields.model import ForceField
from mdflash.mapping.chain import chain_of, linear_system, residues_of
from mdflash.mapping.choices import AS_IT_IS, Reading
from mdflash.mapping.many import Copies, fill_box, join_molecules
from mdflash.mapping.structure import map_structure
from mdflash.potentials.forms import NATIVE
from mdflash.runs.starts import start_frames


class Entry(NamedTuple):
    """An entry of `system:`, read.

    Attributes:
        system: its molecule, or its box of many, under its name.
        frames: [F, N, 3] Å to start from.
        forcefield: for all of it.
        compression: of its box, before step 0.
    """

    system: System
    frames: FloatArray
    forcefield: ForceField
    compression: Compression | None = None


def read_entry(
    config: RunConfig, s: int, loaded: dict[Path, ForceField], notes: list[str], replicas: int | None = None
) -> Entry:
    """Read one entry of a run's systems.

    Args:
        config: the run, with its seed.
        s: which entry.
        loaded: force fields by folder; those that are not there yet are read.
        notes: what is odd, for people, is added.
        replicas: for how many there shall be start frames; default: all of the entry's.

    Raises:
        InputError: a file is damaged, or holds no start frames.
        ForceFieldError: force fields of molecules that cannot share a box.
    """
    entry, count = config.system[s], config.counts[s] if replicas is None else replicas
    if entry.molecules:
        return _read_many(config, s, loaded, notes, count)
    ff = _load(loaded, config.forcefields[s])
    if entry.sequence is not None:
        chain, coils = chain_of(entry.sequence, ff, entry.name, count if entry.start is None else 1)
        return Entry(chain, coils if entry.start is None else start_frames(entry.start, chain, count, notes), ff)
    system, frames = _read_file(entry, ff, notes)
    if entry.start is not None:
        frames = start_frames(entry.start, system, count, notes)
    return Entry(system, _some(frames, entry), ff)


def _read_many(config: RunConfig, s: int, loaded: dict[Path, ForceField], notes: list[str], replicas: int) -> Entry:
    """A box of many molecules: each replica has its own places for them."""
    entry, seed = config.system[s], config.dynamics.seed
    assert config.box is not None and seed is not None  # `rules` ask for the one, `with_seed` gives the other
    molecules = []
    for molecule in entry.molecules:
        ff = _load(loaded, molecule.forcefield or config.forcefields[s])
        frames = None
        if molecule.sequence is not None:
            system = linear_system(residues_of(molecule.sequence, molecule.name), ff, molecule.name)
        else:
            system, frames = _read_file(molecule, ff, notes)
            frames = whole(_some(frames, molecule), system.bonds, config.box)
        copies = Copies(ff, system, molecule.count, frames)
        if molecule.between_copies == "contacts":
            copies = contacts_between(copies)
            notes.append(f"{molecule.name}: {describe_contacts(copies)}")
        elif molecule.count > 1 and any(term.form in NATIVE for term in ff.terms):
            notes.append(
                f"{molecule.name}: native contacts act within each copy; copies repel each other (`between_copies: "
                "contacts` lets them act between copies too)"
            )
        molecules.append(copies)
    if entry.start is not None:
        together, ff = join_molecules(molecules, entry.name)
        return Entry(together, start_frames(entry.start, together, replicas, notes), ff)
    slab = entry.geometry == "slab"
    filled = fill_box(
        molecules, config.box, seed, name=entry.name, replicas=replicas, slab=slab, thickness=entry.thickness,
        compress=entry.compress is not None,
    )  # fmt: skip
    notes.append(f"{entry.name}: {filled.describe(slab)}")
    compression = None
    if entry.compress is not None and filled.start is not None and filled.end is not None:
        sizes = [m.system.n_beads for m in molecules for _ in range(m.count)]
        steps = config.steps_in(entry.compress)
        first = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
        compression = Compression(filled.start, filled.end, first, steps, config.box)
        notes.append(
            f"{entry.name}: before step 0 the box shrinks in {steps:,} steps, and moves on at that size for as many, "
            f"at a friction of {max(config.dynamics.friction, FRICTION):g} /ps; no frame of it is written"
        )
    return Entry(filled.system, filled.frames, filled.forcefield, compression)


def _load(loaded: dict[Path, ForceField], folder: Path) -> ForceField:
    """The force field of a folder: one object for all that share it."""
    if folder not in loaded:
        loaded[folder] = load_forcefield(folder)
    return loaded[folder]


def _read_file(entry: Source, ff: ForceField, notes: list[str]) -> tuple[System, FloatArray | None]:
    """The molecule of an entry's structure file, and its frames."""
    assert entry.structure is not None  # `rules` ask for one
    mapping = ff.mapping if entry.mapping == "from-forcefield" else entry.mapping
    return read_molecule(entry.structure, mapping, ff, entry.name, notes, entry.reading)


def _some(frames: FloatArray | None, entry: Source) -> FloatArray:
    """The frames, of which there must be one."""
    if frames is None or not len(frames):
        raise InputError(
            "holds no start frames; name some with 'start', for example `start: frames.npy` ([F, N, 3] in Å)",
            file=entry.structure,
            key="system.start",
        )
    return frames


def read_molecule(
    structure: Path, mapping: str, ff: ForceField | None, name: str, notes: list[str], reading: Reading = AS_IT_IS
) -> tuple[System, FloatArray | None]:
    """The molecule of a structure file under `name`, and its frames [F, N, 3] Å; what is odd goes to `notes`."""
    if structure.suffix == ".safetensors":
        system, frames = load_system(structure)
        return dataclasses.replace(system, name=name), frames
    mapped = map_structure(structure, mapping, ff, name, reading)
    notes.extend(f"{name}: {sentence}" for sentence in mapped.notes)
    return mapped.system, mapped.positions
