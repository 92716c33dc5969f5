"""A dataset: bead positions and mapped forces of one or more molecules, as a folder.

    FOLDER/dataset.yaml                    what it is and where it came from
    FOLDER/<molecule>/system.safetensors   the System, with the beads of its interactions, and start frames
    FOLDER/<molecule>/NNN.h5               one trajectory each, see `mdflash.sampling.trajectory`

`load_dataset` checks the shape of everything and reads no frames; frames are read (and checked) trajectory by
trajectory.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from mdflash.core.files import atomic_write, storage_errors
from mdflash.core.quantity import plain_word
from mdflash.core.regular import own_folder
from mdflash.core.system import System, load_system, save_system
from mdflash.core.types import FloatArray
from mdflash.core.yamlfile import load_yaml
from mdflash.errors import InputError
from mdflash.sampling.older import recorded_restraint
from mdflash.sampling.trajectory import Trajectory, open_trajectory

SCHEMA = 1
HEAD = "dataset.yaml"
_UNITS = {"positions": "angstrom", "forces": "kcal/mol/angstrom", "time": "ps", "temperature": "K"}
_KEYS = ("mdflash_dataset", "units", "mapping", "molecules", "provenance")


@dataclass(frozen=True)
class Molecule:
    """One molecule of a dataset.

    Attributes:
        name: its folder.
        system: the beads, and what the terms of a force field act on.
        start: start frames [S, N, 3] in Å, or None.
        trajectories: in the order of their files' names; each has at least one frame.
    """

    name: str
    system: System
    start: FloatArray | None
    trajectories: tuple[Trajectory, ...]

    @property
    def n_frames(self) -> int:
        return sum(t.n_frames for t in self.trajectories)


@dataclass(frozen=True)
class Dataset:
    """Frames and forces for force matching.

    Attributes:
        folder: where it lies.
        mapping: "ca", "heavy", "five-bead", or the name of a mapping file.
        molecules: in the order of dataset.yaml.
        provenance: free keys: recipe, force field and engine versions, temperatures, digests.
    """

    folder: Path
    mapping: str
    molecules: tuple[Molecule, ...]
    provenance: Mapping[str, Any]

    @property
    def n_frames(self) -> int:
        return sum(m.n_frames for m in self.molecules)

    def digest(self) -> str:
        """SHA-256 over the systems and every number of every frame, hexadecimal. Reads all of the data."""
        h = hashlib.sha256()
        for molecule in self.molecules:
            h.update(f"{molecule.name} {molecule.system.digest}".encode())
            for trajectory in molecule.trajectories:
                frames = trajectory.read()
                columns = [frames.positions, frames.forces, frames.temperature, frames.time]
                more = (frames.energy, frames.potential, frames.force_error)
                columns += [column for column in more if column is not None]
                for column in columns:
                    h.update(np.ascontiguousarray(column).tobytes())
        return h.hexdigest()


def create_dataset(
    folder: Path,
    systems: Mapping[str, tuple[System, FloatArray | None]],
    mapping: str,
    provenance: Mapping[str, Any],
) -> None:
    """Write dataset.yaml and the systems; trajectories are added by `TrajectoryWriter`.

    Args:
        folder: created where missing; existing heads are replaced, trajectories are left alone.
        systems: by molecule name, with start frames [S, N, 3] in Å or None.
        mapping: how all-atom structures became beads.
        provenance: free keys, as YAML can hold them.
    """
    for name, (system, start) in systems.items():
        folder.mkdir(parents=True, exist_ok=True)
        with storage_errors(folder / name):
            own_folder(folder / name)
        save_system(folder / name / "system.safetensors", system, start)
    head = {
        "mdflash_dataset": SCHEMA,
        "units": dict(_UNITS),
        "mapping": mapping,
        "molecules": list(systems),
        "provenance": dict(provenance),
    }
    atomic_write(folder / HEAD, yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=120))


def provenance_of(folder: Path, key: str) -> dict[str, Any] | None:
    """What the head of a dataset that was begun says of its origin under a key, or nothing; None: there is no head.

    Raises:
        InputError: it is no YAML.
    """
    file = folder / HEAD
    if not file.is_file():
        return None
    head = load_yaml(file).data
    provenance = head.get("provenance") if isinstance(head, dict) else None
    said = provenance.get(key) if isinstance(provenance, dict) else None
    return said if isinstance(said, dict) else {}


def load_dataset(folder: str | Path) -> Dataset:
    """Open a dataset: read its head and systems, and look at every trajectory without reading frames.

    Raises:
        InputError: no dataset, another version, a molecule without frames, a trajectory without forces or
            with another number of beads than its system; the message names the file.
    """
    path = Path(folder)
    file = path / HEAD
    if not os.path.isfile(file):
        raise InputError(f"is not a dataset: it has no {HEAD} (mdflash sample RECIPE.yaml makes datasets)", file=folder)
    document = load_yaml(file)
    data = document.data if isinstance(document.data, dict) else {}
    found = data.get("mdflash_dataset")
    if found != SCHEMA:
        raise InputError(
            f"expected 'mdflash_dataset: {SCHEMA}', found {found!r}; other versions are not read",
            file=file,
            line=document.line(("mdflash_dataset",)) or 1,
            key="mdflash_dataset",
        )
    names = data.get("molecules")
    if not isinstance(names, list) or not names or not all(isinstance(n, str) and n == plain_word(n) for n in names):
        raise InputError(
            f"expected the names of the molecules' folders, as in 'molecules: [ala2]', found {names!r}",
            file=file,
            line=document.line(("molecules",)),
            key="molecules",
        )
    for key in data:
        if key not in _KEYS:
            raise InputError(
                f"is not known here; known: {', '.join(_KEYS)}", file=file, line=document.line((key,)), key=key
            )
    if "units" in data and data["units"] != _UNITS:
        raise InputError(
            f"must be {_UNITS}, found {data['units']!r}: numbers of a dataset have these units; convert them",
            file=file,
            line=document.line(("units",)),
            key="units",
        )
    if len(set(names)) < len(names):
        raise InputError("names a molecule twice", file=file, line=document.line(("molecules",)), key="molecules")
    if not isinstance(data.get("mapping", "none"), str):
        raise InputError("expected a word", file=file, line=document.line(("mapping",)), key="mapping")
    provenance = data.get("provenance")
    provenance = provenance if isinstance(provenance, dict) else {}
    return Dataset(
        folder=path,
        mapping=str(data.get("mapping", "none")),
        molecules=tuple(_load_molecule(path, name, provenance) for name in names),
        provenance=provenance,
    )


def _load_molecule(dataset: Path, name: str, provenance: Mapping[str, Any]) -> Molecule:
    folder = dataset / name
    file = folder / "system.safetensors"
    if not file.is_file():
        raise InputError("no such file; every molecule of a dataset has one", file=file)
    system, start = load_system(file)
    trajectories = [open_trajectory(path, name) for path in sorted(folder.glob("*.h5"))]
    for trajectory in trajectories:
        if trajectory.n_beads != system.n_beads:
            raise InputError(
                f"holds {trajectory.n_beads} beads, but {file} has {system.n_beads}; "
                "trajectories of one molecule have one mapping",
                file=trajectory.file,
            )
    trajectories = [t for t in trajectories if t.n_frames]
    for k, trajectory in enumerate(trajectories):
        if trajectory.biased and trajectory.restraint is None and trajectory.file.stem.isdecimal():
            known = recorded_restraint(provenance, dataset, name, system, int(trajectory.file.stem))
            trajectories[k] = replace(trajectory, restraint=known)
    if not trajectories:
        raise InputError(f"no frames: expected trajectories such as {folder / '000.h5'}", file=folder)
    return Molecule(name, system, start, tuple(trajectories))
