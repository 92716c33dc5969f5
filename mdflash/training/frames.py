"""The frames of a training in memory, split into training and validation."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from mdflash.config.biases import BiasEntry
from mdflash.core.scale import other_unit
from mdflash.core.state import Layout, State
from mdflash.core.system import System
from mdflash.core.types import FloatArray, IntArray
from mdflash.engine.engine import Engine
from mdflash.engine.settings import Dynamics
from mdflash.errors import InputError, UnstableError
from mdflash.forcefields.build import build_potential
from mdflash.forcefields.model import ForceField
from mdflash.integrators.langevin import LangevinMiddle
from mdflash.sampling.dataset import Dataset, load_dataset
from mdflash.sampling.restraint import Restraint
from mdflash.sampling.trajectory import Frames, Trajectory
from mdflash.training.schedule import with_windows
from mdflash.training.split import SAME_TEMPERATURE, hold_out, parts_of
from mdflash.training.units import other_force_unit

Float32 = npt.NDArray[np.float32]

CHUNK = 2048
"""Frames whose prior forces are evaluated together."""


@dataclass(frozen=True, eq=False)
class MoleculeFrames:
    """All frames of one molecule.

    Attributes:
        system: the molecule.
        start: start frames [S, N, 3] in Å, or None.
        positions, forces: [F, N, 3] Å and kcal/mol/Å.
        energies: [F] kcal/mol, or None unless every trajectory has them.
        temperature: [F] K.
        source: [F] number of each frame's trajectory.
        files: files of the trajectories.
        validation: [F] whether a frame is held out.
        biased: [F] whether a frame was held in an umbrella window, or chosen: its force counts, how often it comes does
            not.
        restraints: what held each trajectory; None where nothing did, or nothing is known of it.
        potential: [F] kcal/mol of the model that was simulated, NaN where it is not known; for weights.
        column: [F] the numbers of the column that was asked for, or None.
        force_error: [F] kcal/mol/Å, root mean square of the standard errors of a frame's forces where these are means,
            NaN elsewhere; None where none are.
    """

    system: System
    start: FloatArray | None
    positions: Float32
    forces: Float32
    energies: FloatArray | None
    temperature: Float32
    source: IntArray
    files: tuple[Path, ...]
    validation: npt.NDArray[np.bool_]
    biased: npt.NDArray[np.bool_]
    restraints: tuple[Restraint | None, ...] = ()
    potential: FloatArray | None = None
    column: FloatArray | None = None
    force_error: FloatArray | None = None

    def at(self, kelvin: float) -> MoleculeFrames:
        """The frames at a temperature, of the same split.

        Raises:
            InputError: there are none.
        """
        keep = np.abs(self.temperature - kelvin) <= SAME_TEMPERATURE
        if not keep.any():
            there = (round(float(t)) for t in np.unique(self.temperature))
            raise _no_frames(self.system.name, kelvin, there, self.files[0].parent)
        columns = ("positions", "forces", "energies", "temperature", "source", "validation", "biased", "potential",
                   "column", "force_error")  # fmt: skip
        values = {name: getattr(self, name) for name in columns}
        return replace(self, **{name: value[keep] for name, value in values.items() if value is not None})


@dataclass(frozen=True, eq=False)
class TrainingData:
    """What a training reads.

    Attributes:
        molecules: with their frames.
        mapping: how structures became beads.
        digest: SHA-256 over all frames, hexadecimal.
        notes: messages for the user.
    """

    molecules: tuple[MoleculeFrames, ...]
    mapping: str
    digest: str
    notes: tuple[str, ...]

    def at(self, kelvin: float) -> TrainingData:
        """The frames at a temperature, of the same split.

        Raises:
            InputError: a molecule has none.
        """
        return replace(self, molecules=tuple(m.at(kelvin) for m in self.molecules))

    def count(self, validation: bool) -> int:
        """Frames for training, or for validation."""
        return sum(int((m.validation == validation).sum()) for m in self.molecules)


def load_frames(
    folders: Sequence[Path],
    validation: float,
    mapping: str | None = None,
    temperature: float | None = None,
    windows: Sequence[BiasEntry] = (),
    weights: str | None = None,
) -> TrainingData:
    """Read datasets and hold out a share of each molecule's trajectories, see `split`.

    Args:
        folders: datasets; molecules of one name are the same molecule.
        validation: share to hold out.
        mapping: what the datasets must be mapped by, or None.
        temperature: K; only frames within `SAME_TEMPERATURE` of it; None: all.
        windows: of held trajectories that do not store them, see `schedule.with_windows`.
        weights: what frames will be weighed by, which then belongs to the digest: "mbar", "equal" or a column.

    Raises:
        InputError: datasets that do not fit each other or the arguments, no frames left, a damaged file, positions or
            forces in another unit; frames that were chosen, where weights are asked for.
    """
    read = [load_dataset(folder) for folder in folders]
    if weights is not None:
        _refuse_chosen(read, weights)
    datasets = with_windows(read, windows)
    mappings = {d.mapping: d.folder for d in datasets}
    wanted = mapping or datasets[0].mapping
    for found, folder in mappings.items():
        if found != wanted:
            raise InputError(
                f"is mapped by '{found}', but "
                + (f"the recipe asks for '{wanted}'" if mapping else f"{datasets[0].folder} by '{wanted}'")
                + "; a force field has one mapping",
                file=folder,
            )
    notes: list[str] = []
    digest = hashlib.sha256()
    molecules = []
    for name in dict.fromkeys(m.name for d in datasets for m in d.molecules):
        molecules.append(_load_molecule(name, datasets, validation, temperature, weights, notes, digest))
    return TrainingData(tuple(molecules), wanted, digest.hexdigest(), tuple(notes))


def _refuse_chosen(datasets: Sequence[Dataset], weights: str) -> None:
    """Frames that were chosen have forces and no weights, whatever a recipe asks for."""
    for dataset in datasets:
        for molecule in dataset.molecules:
            if any(trajectory.chosen for trajectory in molecule.trajectories):
                raise InputError(
                    "was sampled around frames that a committee chose (mdflash sample --where), or with held beads "
                    f"(`hold`), so how often its frames come says nothing and they have no weight ({weights}). Their "
                    "forces are for force matching: leave this dataset out of `data.dataset` where frames are weighed "
                    "(`relative_entropy:`, `data.weights`)",
                    file=dataset.folder,
                    key="data.dataset",
                )


def _load_molecule(
    name: str,
    datasets: Sequence[Dataset],
    share: float,
    temperature: float | None,
    weights: str | None,
    notes: list[str],
    digest: hashlib._Hash,
) -> MoleculeFrames:
    mine = [(d, m) for d in datasets for m in d.molecules if m.name == name]
    system = mine[0][1].system
    for dataset, molecule in mine:
        if molecule.system != system:
            raise InputError(
                f"molecule '{name}' is another one in {dataset.folder} than in {mine[0][0].folder} (beads, bonds or "
                "masses differ); rename one of them, or map both the same way",
                file=dataset.folder / name / "system.safetensors",
            )
    trajectories: list[Trajectory] = [t for _, m in mine for t in m.trajectories]
    parts, energies, used, seen = [], [], [], set()
    potential, columns, errors = [], [], []
    column = None if weights in (None, "mbar", "equal") else weights
    for trajectory in trajectories:
        frames = trajectory.read()
        if (what := other_unit(system, frames.positions)) is not None:
            raise InputError(f"{what}; make the dataset again", file=trajectory.file)
        seen |= {round(float(t)) for t in np.unique(frames.temperature)}
        keep = np.ones(len(frames.time), bool)
        if temperature is not None:
            keep = np.abs(frames.temperature - temperature) <= SAME_TEMPERATURE
        if keep.any():
            parts.append((frames.positions[keep], frames.forces[keep], frames.temperature[keep]))
            energies.append(None if frames.energy is None else frames.energy[keep])
            known_energy = frames.energy if frames.potential is None else frames.potential
            potential.append(np.full(keep.sum(), np.nan) if known_energy is None else known_energy[keep])
            columns.append(None if column is None else trajectory.column(column)[keep])
            errors.append(_error_of(frames)[keep])
            used.append(trajectory)
    if not parts:
        assert temperature is not None  # without one every frame is kept
        raise _no_frames(name, temperature, seen, mine[0][0].folder)
    biased, files = [t.biased for t in used], [t.file for t in used]
    counts = np.array([len(p[0]) for p in parts])
    source = np.repeat(np.arange(len(parts)), counts)
    positions, forces, kelvin = (np.concatenate([p[k] for p in parts]) for k in range(3))
    if (what := other_force_unit(system, positions, forces, kelvin)) is not None:
        raise InputError(f"molecule '{name}': {what}; make the dataset again", file=mine[0][0].folder)
    digest.update(b"".join([system.digest.encode(), positions.tobytes(), forces.tobytes(), kelvin.tobytes()]))
    known = [e for e in energies if e is not None]
    energy = np.concatenate(known) if len(known) == len(parts) else None
    if energy is not None:
        digest.update(energy.tobytes())
    error = np.concatenate(errors)
    means = int(np.isfinite(error).sum())
    if means:
        digest.update(error.tobytes())
        notes.append(
            f"molecule '{name}': {means:,} of {len(error):,} frames are mean forces with standard errors of "
            f"{np.nanmin(error):.2g} to {np.nanmax(error):.2g} kcal/mol/Å, by which they count in the loss"
        )
    own = np.concatenate([c for c in columns if c is not None]) if column is not None else None
    if weights is not None:
        digest.update(np.concatenate(potential).tobytes() + (b"" if own is None else own.tobytes()))
        for restraint in (t.restraint for t in used if t.restraint is not None):
            digest.update(restraint.digest.encode())
    free = np.flatnonzero(~np.array(biased))
    in_parts = None
    if weights is not None:
        windows = ["" if t.restraint is None else t.restraint.digest for t in used]
        numbers = np.unique(windows, return_inverse=True)[1]
        in_parts = parts_of(numbers[source], kelvin)
    held = hold_out(source, np.repeat(biased, counts), share, in_parts)
    whole = [k for k in free if held[source == k].all()]
    if len(parts) == 1 and not any(biased):
        notes.append(f"molecule '{name}' has one trajectory: its last {share:.0%} are held out for validation")
    elif len(free) > 1 and not whole:
        notes.append(
            f"molecule '{name}': the end of every trajectory is held out for validation, since of whole ones some "
            "window or temperature would have no frame, or all"
        )
    elif whole:
        notes.append(
            f"molecule '{name}': {len(whole)} of {len(free)} trajectories are held out for validation, each as a "
            f"whole: {held.sum() / len(held):.0%} of the frames, where `validation: {share:g}` asks for {share:.0%}"
        )
    if held.all():
        raise InputError(f"molecule '{name}': {len(source)} frames are too few to train on", file=mine[0][0].folder)
    return MoleculeFrames(
        system, mine[0][1].start, positions, forces, energy, kelvin, source, tuple(files), held,
        np.repeat(biased, counts), tuple(t.restraint for t in used), np.concatenate(potential),
        own, error if means else None,
    )  # fmt: skip


def _error_of(frames: Frames) -> FloatArray:
    """[F] kcal/mol/Å, see `MoleculeFrames.force_error`."""
    if frames.force_error is None:
        return np.full(len(frames.time), np.nan)
    found: FloatArray = np.sqrt((frames.force_error.astype(np.float64) ** 2).mean(axis=(1, 2)))
    return found


def _no_frames(name: str, kelvin: float, there: Iterable[int], folder: Path) -> InputError:
    temperatures = ", ".join(f"{t} K" for t in sorted(set(there)))
    return InputError(
        f"molecule '{name}' has no frames at {kelvin:g} K; its temperatures are {temperatures}", file=folder
    )


def prior_forces(ff: ForceField, system: System, positions: Float32) -> tuple[Float32, FloatArray]:
    """Forces [F, N, 3] kcal/mol/Å and energies [F] kcal/mol of the terms of `ff` at positions [F, N, 3] in Å.

    Raises:
        ForceFieldError: the force field does not fit the molecule.
        UnstableError: a force is not finite; names the frame.
    """
    forces, energies = np.empty_like(positions), np.empty(len(positions))
    for begin in range(0, len(positions), CHUNK):
        x = positions[begin : begin + CHUNK].astype(np.float64)
        layout = Layout((system,), (len(x),))
        state = State.at(layout, torch.from_numpy(x.reshape(-1, 3)), 0.0)
        engine = Engine(layout, build_potential([ff], layout), state, Dynamics(LangevinMiddle(0.001, 1.0), seed=0))
        engine.evaluate()
        found = state.forces.numpy().reshape(x.shape)
        bad = np.flatnonzero(~np.isfinite(found).all(axis=(1, 2)))
        if len(bad):
            raise UnstableError(f"frame {begin + bad[0]} of '{system.name}': the forces of the priors are not finite")
        forces[begin : begin + CHUNK], energies[begin : begin + CHUNK] = found, state.energy.numpy()
    return forces, energies
