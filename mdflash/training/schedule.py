"""Windows given in a recipe, for datasets whose trajectories do not store what held them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mdflash.config.biases import BiasEntry
from mdflash.core.system import load_system
from mdflash.core.types import FloatArray
from mdflash.errors import InputError
from mdflash.io.frames import load_frames
from mdflash.mapping.read import read_structure
from mdflash.mapping.structure import bead_map
from mdflash.sampling.dataset import Dataset, Molecule
from mdflash.sampling.restraint import Restraint

KEY = "data.windows"


def with_windows(datasets: Sequence[Dataset], windows: Sequence[BiasEntry]) -> list[Dataset]:
    """The datasets, with a restraint for each held trajectory that stores none.

    The trajectories of a molecule take the centers and force constants of its entry in turn, in the order of the
    datasets and of the names of their files.

    Raises:
        InputError: an entry for a molecule that is not there or has another number of held trajectories, two entries
            for one molecule, a trajectory that stores another window than the entry says.
    """
    if not windows:
        return list(datasets)
    names = list(dict.fromkeys(m.name for d in datasets for m in d.molecules))
    found: dict[Path, Restraint] = {}
    for k, entry in enumerate(windows):
        name = entry.system or names[0]
        if name not in names or (entry.system is None and len(names) > 1):
            what = f"'{name}' is no molecule of the data" if name not in names else "the data has several molecules"
            raise InputError(f"{what}; write `system:` with one of {', '.join(names)}", key=f"{KEY}.{k}.system")
        if any((other.system or names[0]) == name for other in windows[:k]):
            raise InputError(
                f"'{name}' has an entry already; a trajectory is held along one variable", key=f"{KEY}.{k}"
            )
        if entry.moving is not None:
            raise InputError("windows of a dataset do not move; remove it", key=f"{KEY}.{k}.moving")
        found |= _assigned(entry, [(d, m) for d in datasets for m in d.molecules if m.name == name], f"{KEY}.{k}")
    return [replace(d, molecules=tuple(_held(m, found) for m in d.molecules)) for d in datasets]


def _held(molecule: Molecule, restraints: dict[Path, Restraint]) -> Molecule:
    own = (replace(t, restraint=restraints.get(t.file, t.restraint)) for t in molecule.trajectories)
    return replace(molecule, trajectories=tuple(own))


def _assigned(entry: BiasEntry, mine: Sequence[tuple[Dataset, Molecule]], key: str) -> dict[Path, Restraint]:
    """The restraint of each held trajectory of a molecule, by its file."""
    held = [(d, m, t) for d, m in mine for t in m.trajectories if t.biased and not t.chosen]
    if not held:
        raise InputError("no trajectory of the data was held in a window (attribute biased); remove this", key=key)
    if len(held) % entry.windows:
        raise InputError(
            f"has {entry.windows} windows for {len(held)} held trajectories ({held[0][2].file} to "
            f"{held[-1][2].file.name}); give one center for each, or as many as they take in turn",
            key=f"{key}.center",
        )
    found = {}
    for k, (dataset, molecule, trajectory) in enumerate(held):
        center, constant = entry.center[k % len(entry.center)], entry.force_constant[k % len(entry.force_constant)]
        one = entry.model_copy(update={"center": (center,), "force_constant": (constant,)})
        own = Restraint(one, _reference(entry, dataset, molecule, key))
        stored = trajectory.restraint
        if stored is not None and not _alike(stored, own):
            raise InputError(
                f"says that it was held at {stored.label}, and `{key}` says {own.label}; remove that entry, since the "
                "file is what was simulated",
                file=trajectory.file,
                key=key,
            )
        found[trajectory.file] = own if stored is None else stored
    return found


def _alike(a: Restraint, b: Restraint) -> bool:
    """Whether both are on one variable, with the same center and constant."""
    mine, other = ([r.entry.center[0], r.entry.force_constant[0]] for r in (a, b))
    return a.entry.variable == b.entry.variable and bool(np.allclose(mine, other, rtol=1e-6, atol=1e-6))


def _reference(entry: BiasEntry, dataset: Dataset, molecule: Molecule, key: str) -> FloatArray | None:
    """[N, 3] Å the structure that an entry refers to."""
    if entry.reference is None:
        return None
    key = f"{key}.reference"
    if entry.reference == "start":
        if molecule.start is None:
            raise InputError(f"'{molecule.name}' of {dataset.folder} has no start frames; name a file", key=key)
        return np.asarray(molecule.start[0], np.float64)
    file = Path(entry.reference)
    if file.suffix == ".npy":
        frames: FloatArray | None = load_frames(file, molecule.system)[:1]
    elif file.suffix == ".safetensors":
        frames = load_system(file)[1]
    else:
        structure = read_structure(file)
        frames = bead_map(structure, dataset.mapping, name=molecule.name).positions(structure.positions)
    if frames is None or frames.shape[1:] != (molecule.system.n_beads, 3):
        found = "no frame" if frames is None else f"{frames.shape[1]} beads"
        raise InputError(
            f"has {found}, and '{molecule.name}' {molecule.system.n_beads} beads; a reference is the same molecule",
            file=file,
            key=key,
        )
    return np.asarray(frames[0], np.float64)
