"""Ensembles of a molecule from wherever they are: a run, a dataset, trajectories of atoms or beads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from mdflash.analysis.molecule import Molecule
from mdflash.analysis.numbers import block_ids, equilibration
from mdflash.analysis.observables.rg import RG
from mdflash.analysis.open_run import Run, open_run
from mdflash.analysis.sample import Sample, collect, read_states
from mdflash.core.system import System
from mdflash.core.types import FloatArray
from mdflash.errors import InputError, MdflashError
from mdflash.io.claims import refuse_campaign
from mdflash.io.read import read_times
from mdflash.mapping.choices import Reading
from mdflash.units import NM_PER_ANGSTROM

if TYPE_CHECKING:
    from mdflash.sampling.dataset import Molecule as DataMolecule

BLOCKS: Final = 20
"""Stretches that trajectories are cut into for errors, at least one for each."""
SAME_TEMPERATURE: Final = 1.0
"""K."""
SPACING: Final = 0.5
"""ps; frames of a dataset that are nearer in time add little, and are left out."""
MOST_FRAMES: Final = 20_000
MOST_BYTES: Final = 400_000_000
"""Of positions in memory; more frames are thinned evenly."""


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Frames of a molecule.

    Attributes:
        name: for people.
        trajectories: [F, N, 3] Å each, evenly spaced in time.
        kelvin: their temperature; NaN where it is not known.
        spacing: ps between frames; 0 where it is not known.
        blocks: the same frames as pieces that are taken as independent.
        notes: how it was read, in sentences.
    """

    name: str
    trajectories: tuple[FloatArray, ...]
    kelvin: float
    spacing: float
    blocks: tuple[FloatArray, ...]
    notes: tuple[str, ...] = ()

    @property
    def frames(self) -> int:
        return sum(map(len, self.trajectories))


@dataclass(frozen=True)
class Reference:
    """An ensemble to compare with, by its files.

    Attributes:
        paths: a run folder, a dataset folder, or trajectories.
        topology: the structure whose atoms the trajectories have, which are mapped as the run's own were; None: the
            trajectories hold beads.
        kelvin: temperature of the frames to take; None: that of the pictures.
    """

    paths: tuple[Path, ...]
    topology: Path | None = None
    kelvin: float | None = None


def cut(trajectories: Sequence[FloatArray]) -> tuple[FloatArray, ...]:
    """The trajectories cut into `BLOCKS` stretches or a little more, in order."""
    each = -(-BLOCKS // max(len(trajectories), 1))
    return tuple(part for x in trajectories for part in np.array_split(x, each) if len(part))


def of_sample(run: Run, sample: Sample, state: int, first_step: int, name: str = "this run") -> Ensemble:
    """The frames of one state of a run from `first_step` on."""
    rows = [np.flatnonzero((t.steps >= first_step) & (t.states == state)) for t in sample.tracks]
    stride = _stride(sum(map(len, rows)), sample.molecule.system.n_beads)
    ids, _ = block_ids(sample, first_step)
    positions = run.positions
    found, blocks = [], []
    for t, mine, own in zip(sample.tracks, rows, ids, strict=True):
        mine = mine[::stride]
        if not len(mine):
            continue
        x = positions[t.replica]
        at = mine if not t.lost else np.searchsorted(read_times(x.path)[0], t.steps[mine])
        frames = _small(x[at])
        block = own[mine - int(np.searchsorted(t.steps, first_step))]
        found.append(frames)
        blocks += [frames[block == b] for b in np.unique(block)]
    notes = (f"every {stride}th frame of {name} is compared",) if stride > 1 else ()
    spacing = 0.0 if sample.exchanged else stride * sample.interval
    return Ensemble(name, tuple(found), float(sample.temperatures[state]), spacing, tuple(blocks), notes)


def nearest_state(sample: Sample, kelvin: float, otherwise: int) -> int:
    """The state that is nearest to a temperature, among those with frames."""
    used = sorted({int(s) for t in sample.tracks for s in np.unique(t.states)})
    if not np.isfinite(kelvin) or not np.isfinite(sample.temperatures[used]).any():
        return otherwise
    return min(used, key=lambda s: abs(sample.temperatures[s] - kelvin))


def refuse_reference(reference: Reference) -> None:
    """Raise InputError where no molecule could be compared with what a reference names; reads no frames."""
    first = reference.paths[0]
    if len(reference.paths) > 1 and any(p.is_dir() for p in reference.paths):
        raise InputError("a reference is one folder, or several trajectories", key="--against")
    if (first / "manifest.json").is_file():
        run = open_run(first)
        if run.biased or run.weighted or run.annealed:
            raise InputError(
                "is a run under biases, with weights or annealed, whose frames do not measure how often a molecule is "
                "where; compare with a run without `biases:`, `metadynamics:`, `weighted_ensemble:`, `annealing:` and "
                "scaled terms",
                file=first,
            )
    elif first.is_dir() and not (first / "dataset.yaml").is_file():
        refuse_campaign(first)
        raise InputError(
            "holds neither a run (manifest.json) nor a dataset (dataset.yaml); give one of these, or a trajectory with "
            "--topology",
            file=first,
        )
    for path in reference.paths:
        if not path.exists():
            raise InputError("no such file or folder", file=path, key="--against")


def read_ensemble(reference: Reference, molecule: Molecule, kelvin: float, reading: Reading | None = None) -> Ensemble:
    """The frames that a reference names.

    Args:
        reference: by its files.
        molecule: what the frames must be of.
        kelvin: temperature of the frames to take, where there are several.
        reading: how its topology is to be read.

    Raises:
        InputError: nothing of these, another molecule, or no frames at this temperature.
    """
    refuse_reference(reference)
    path = reference.paths
    first = path[0]
    if (first / "manifest.json").is_file():
        return _from_run(first, molecule, kelvin)
    if (first / "dataset.yaml").is_file():
        from mdflash.sampling.dataset import load_dataset

        return of_dataset(_named(load_dataset(first).molecules, molecule, first), molecule.system, kelvin)
    return _from_files(path, molecule, reference.topology, reading)


def of_dataset(data: DataMolecule, system: System, kelvin: float) -> Ensemble:
    """The frames of a dataset at a temperature that were not held in a window.

    Raises:
        InputError: another molecule, or no frames at this temperature.
    """
    if data.system.n_beads != system.n_beads or data.system.residue_names != system.residue_names:
        raise InputError(f"molecule '{data.name}' of the dataset is not '{system.name}': its beads differ")
    found, seen, spacings = [], set(), []
    free = [trajectory for trajectory in data.trajectories if not trajectory.biased]
    if not free:
        raise InputError(
            f"molecule '{data.name}' has frames of umbrella windows alone, which do not measure how often a "
            "simulation is where; compare with a dataset that was sampled without `windows:`"
        )
    for trajectory in free:
        frames = trajectory.read()
        seen |= {round(float(t)) for t in np.unique(frames.temperature)}
        keep = np.abs(frames.temperature - kelvin) <= SAME_TEMPERATURE
        if keep.any():
            step = float(np.median(np.diff(frames.time[keep]))) if keep.sum() > 1 else 0.0
            step = step or SPACING  # of a single frame, and of frames that all say the same time
            every = max(1, round(SPACING / step))
            found.append(frames.positions[keep][::every])
            spacings.append(every * step)
    if not found:
        raise InputError(
            f"molecule '{data.name}' has no data at {kelvin:g} K; there are frames at "
            f"{', '.join(f'{t} K' for t in sorted(seen))}: give one of these with --temperature"
        )
    return Ensemble("the data", tuple(found), kelvin, float(np.median(spacings)), cut(found))


def _named(molecules: Sequence[DataMolecule], molecule: Molecule, folder: Path) -> DataMolecule:
    """The molecule of a dataset with the name of a run's, or its only one."""
    named = [m for m in molecules if m.name == molecule.name]
    if not named and len(molecules) > 1:
        raise InputError(
            f"has the molecules {', '.join(m.name for m in molecules)}, and none is called '{molecule.name}'",
            file=folder,
        )
    return (named or list(molecules))[0]


def _from_run(folder: Path, molecule: Molecule, kelvin: float) -> Ensemble:
    run = open_run(folder)
    names = list(run.systems)
    name = molecule.name if molecule.name in names else names[0]
    if run.systems[name] != molecule.system.n_beads or (len(names) > 1 and name != molecule.name):
        raise InputError(
            f"has {', '.join(f'{n} ({b} beads)' for n, b in run.systems.items())}, and none of them is "
            f"'{molecule.name}' ({molecule.system.n_beads} beads)",
            file=folder,
        )
    try:
        log = run.log
    except MdflashError:
        log = None
    states = read_states(run, log)
    sample = collect(run, {name: molecule} if len(names) == 1 else _all(run, molecule), states, (RG,))[name]
    _, first = equilibration(sample, ["rg"])
    state = nearest_state(sample, kelvin, 0)
    return of_sample(run, sample, state, first, str(run.manifest.get("name", folder.name)))


def _all(run: Run, molecule: Molecule) -> dict[str, Molecule]:
    from mdflash.analysis.molecule import load_molecules

    return {**load_molecules(run), molecule.name: molecule}


def _from_files(files: Sequence[Path], molecule: Molecule, topology: Path | None, reading: Reading | None) -> Ensemble:
    from mdflash.io.frames import load_frames

    system, found, spacings = molecule.system, [], []
    name = ", ".join(f.name for f in files[:3]) + (", ..." if len(files) > 3 else "")
    if topology is None:
        for file in files:
            frames = load_frames(file, system)
            found.append(_small(frames[:: _stride(len(frames) * len(files), system.n_beads)]))
        notes = (f"{name} is read as frames of beads; frames of atoms need --topology",)
        return Ensemble(name, tuple(found), float("nan"), 0.0, cut(found), notes)
    from mdflash.mapping.read import read_structure
    from mdflash.mapping.structure import bead_map, known_types
    from mdflash.mapping.trajectory import mapped_frames

    mapping, ff = molecule.mapping, molecule.forcefield
    read = read_structure(topology, known_types(ff, mapping), molecule.reading(reading))
    beads = bead_map(read, mapping, ff, system.name)
    if beads.system.n_beads != system.n_beads or beads.system.residue_names != system.residue_names:
        raise InputError(
            f"maps to {beads.system.n_beads} beads by '{mapping}', but '{system.name}' has {system.n_beads}; a "
            "reference is the same molecule",
            file=topology,
        )
    for file in files:
        parts = list(mapped_frames(file, beads))
        if not parts:
            raise InputError("holds no frames", file=file)
        x = np.concatenate([p.positions for p in parts]) / NM_PER_ANGSTROM
        times = np.concatenate([p.times for p in parts])
        stride = _stride(len(x) * len(files), system.n_beads)
        found.append(_small(x[::stride]))
        spacings.append(stride * float(np.median(np.diff(times))) if len(times) > 1 else 0.0)
    return Ensemble(name, tuple(found), float("nan"), float(np.median(spacings)), cut(found))


def _stride(frames: int, beads: int) -> int:
    """Every how many frames are kept."""
    most = max(100, min(MOST_FRAMES, MOST_BYTES // (12 * beads)))
    return max(1, -(-frames // most))


def _small(x: FloatArray) -> FloatArray:
    """In single precision: positions in memory need no more."""
    small: FloatArray = x.astype(np.float32)
    return small
