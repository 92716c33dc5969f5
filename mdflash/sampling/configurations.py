"""Configurations at which beads are held: frames of a dataset, with all atoms around them.

A dataset of mean forces remembers which frames they were, so it can be resumed after the other dataset is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from mdflash.core.damage import reading
from mdflash.core.plural import plural
from mdflash.core.types import FloatArray
from mdflash.errors import InputError
from mdflash.sampling.around import rebuilt
from mdflash.sampling.dataset import HEAD, Dataset, load_dataset, provenance_of
from mdflash.sampling.dataset import Molecule as Source
from mdflash.sampling.means import DISAGREE
from mdflash.sampling.recipe import Hold, MoleculeEntry, SampleRecipe
from mdflash.sampling.setup import Model, Molecule, prepare_molecule

NEIGHBORHOOD = 3
"""Bonds from a hydrogen within which heavy atoms say where it is."""


@dataclass(frozen=True, eq=False)
class Configurations:
    """The configurations of one molecule.

    Attributes:
        molecule: with all their atoms as its starts.
        beads: [C, N, 3] Å, where beads are held.
        native: start frames [S, N, 3] Å of the dataset that they are from, or None.
        labels: of each, the frame it is, as words.
    """

    molecule: Molecule
    beads: FloatArray
    native: FloatArray | None
    labels: tuple[str, ...]


def begun(folder: Path) -> dict[str, list[str]] | None:
    """The frames that a dataset of mean forces holds beads at, by molecule; None: there is no dataset yet.

    Raises:
        InputError: a dataset of something else.
    """
    file = folder / HEAD
    if (said := provenance_of(folder, "held")) is None:
        return None
    if not said:
        raise InputError("holds a dataset whose beads were not held; choose another `folder`", file=folder, key="hold")
    with reading(file, "provenance.held is damaged"):
        return {str(name): [str(label) for label in labels] for name, labels in said["frames"].items()}


def choose_configurations(recipe: SampleRecipe, hold: Hold, tell: Callable[[str], None]) -> list[Configurations]:
    """Draw frames of the dataset for each molecule, and put all atoms around them.

    Args:
        recipe: of the user; starts of its molecules only say what they are.
        hold: of it.
        tell: called with what is being done.

    Raises:
        InputError: the dataset is of other molecules, beads or too few frames, or no frame can be rebuilt.
    """
    dataset = load_dataset(hold.dataset)
    if dataset.mapping != recipe.mapping:
        raise InputError(
            f"{dataset.folder} is mapped by '{dataset.mapping}'; write `mapping: {dataset.mapping}`", key="mapping"
        )
    return [_of_molecule(recipe, k, entry, dataset, hold.count, tell) for k, entry in enumerate(recipe.molecule)]


def _of_molecule(
    recipe: SampleRecipe, number: int, entry: MoleculeEntry, dataset: Dataset, count: int, tell: Callable[[str], None]
) -> Configurations:
    source = next((m for m in dataset.molecules if m.name == entry.name), None)
    if source is None:
        known = ", ".join(m.name for m in dataset.molecules)
        raise InputError(f"{dataset.folder} has no molecule '{entry.name}'; it has {known}", key="hold.dataset")
    if source.n_frames < count:
        raise InputError(
            f"'{entry.name}' has {plural(source.n_frames, 'frame')} in {dataset.folder}; write `count: "
            f"{source.n_frames}` or less",
            key="hold.count",
        )
    own = prepare_molecule(entry, recipe.mapping)
    if own.beads.system != source.system:
        raise InputError(
            f"'{entry.name}' is another molecule in {dataset.folder} (beads, bonds or masses differ); give the "
            "`sequence` or `structure` that it was sampled with",
            key="molecule",
        )
    labels, positions = _draw(source, count, np.random.default_rng([recipe.seed, number]))
    tell(f"{entry.name}: {plural(count, 'configuration')} of {source.n_frames:,} frames")
    if recipe.mapping == "heavy":
        models: list[Model] = [
            (label, own.topology, with_hydrogens(own, x)) for label, x in zip(labels, positions, strict=True)
        ]
        kept = list(range(count))
    else:
        bare = [r for r in own.topology.residues() if r.index not in {a.residue.index for a in _bead_atoms(own)}]
        if bare:
            raise InputError(
                f"'{entry.name}': {bare[0].name} {bare[0].id} has no bead, so its atoms cannot be rebuilt; leave the "
                "caps out, or take `mapping: heavy`",
                key="mapping",
            )
        kept, found = rebuilt(source.system, positions, labels, entry, recipe, "hold.dataset", tell)
        kept, models = _alike(kept, found, own, tell)
    return Configurations(
        prepare_molecule(entry, recipe.mapping, models), positions[kept], source.start, tuple(labels[k] for k in kept)
    )


def _draw(source: Source, count: int, rng: np.random.Generator) -> tuple[list[str], FloatArray]:
    """A frame at random of each of `count` equal stretches of all frames: their labels and positions [C, N, 3] Å."""
    edges = np.linspace(0, source.n_frames, count + 1).astype(np.int64)
    ends = np.cumsum([t.n_frames for t in source.trajectories])
    labels, parts = [], []
    for row in rng.integers(edges[:-1], edges[1:]).tolist():
        k = int(np.searchsorted(ends, row, side="right"))
        trajectory = source.trajectories[k]
        frame = row - int(ends[k]) + trajectory.n_frames
        labels.append(f"{trajectory.file.stem} frame {frame}")
        parts.append(trajectory.read(frame, frame + 1).positions[0].astype(np.float64))
    return labels, np.stack(parts)


def _bead_atoms(molecule: Molecule) -> list[Any]:
    """OpenMM's atoms at the beads."""
    atoms = list(molecule.topology.atoms())
    assert molecule.beads.atoms is not None  # prepare_molecule refuses beads of several atoms
    return [atoms[k] for k in molecule.beads.atoms]


def _alike(
    kept: list[int], models: Sequence[Model], own: Molecule, tell: Callable[[str], None]
) -> tuple[list[int], list[Model]]:
    """The models with the atoms of the molecule; a histidine may have been given its hydrogen elsewhere."""
    atoms = {(a.residue.index, a.name) for a in own.topology.atoms()}
    same = [{(a.residue.index, a.name) for a in model[1].atoms()} == atoms for model in models]
    for model, fits in zip(models, same, strict=True):
        if not fits:
            tell(f"{model[0]} is left out: it was rebuilt with another protonation")
    if not any(same):
        raise InputError(
            f"'{own.name}': no frame was rebuilt with the atoms of `structure` or `sequence`; give another protonation",
            key="molecule",
        )
    return [k for k, fits in zip(kept, same, strict=True) if fits], [
        model for model, fits in zip(models, same, strict=True) if fits
    ]


def with_hydrogens(molecule: Molecule, heavy: FloatArray) -> FloatArray:
    """All atoms [atoms, 3] in Å of a molecule whose heavy atoms are its beads, at `heavy` [N, 3].

    Each hydrogen goes along with the heavy atoms within `NEIGHBORHOOD` bonds, from the molecule's own first start, by
    the best superposition (W. Kabsch, Acta Cryst. A 34, 827 (1978)).
    """
    rows, reference = molecule.beads.atoms, molecule.starts[0]
    assert rows is not None  # prepare_molecule refuses beads of several atoms
    found: FloatArray = reference.copy()
    found[rows] = heavy
    near: list[set[int]] = [set() for _ in range(len(reference))]
    for a, b in molecule.topology.bonds():
        near[a.index].add(b.index)
        near[b.index].add(a.index)
    known = set(rows.tolist())
    for hydrogen in sorted(set(range(len(reference))) - known):
        around = {hydrogen}
        for _ in range(NEIGHBORHOOD):
            around = around.union(*(near[atom] for atom in around))
        own = sorted(around & known)
        a, b = reference[own].mean(axis=0), found[own].mean(axis=0)
        turn, _ = Rotation.align_vectors(found[own] - b, reference[own] - a)
        found[hydrogen] = turn.apply(reference[hydrogen] - a) + b
    return found


def disagreements(folder: Path) -> list[str]:
    """The configurations of a dataset of mean forces whose two halves disagree, one sentence each.

    Raises:
        InputError: it is no such dataset.
    """
    dataset, labels = load_dataset(folder), begun(folder) or {}
    found = []
    for molecule in dataset.molecules:
        walkers = len(molecule.trajectories)
        for trajectory in molecule.trajectories:
            halves = trajectory.read().halves
            assert halves is not None  # held walkers write them
            for frame in np.flatnonzero(halves.max(axis=1) > DISAGREE).tolist():
                bead = int(halves[frame].argmax())
                number = int(trajectory.file.stem) + walkers * frame
                found.append(
                    f"{molecule.name} configuration {number} ({labels[molecule.name][number]}): the halves differ by "
                    f"{np.sqrt(halves[frame, bead]):.1f} standard errors at {molecule.system.bead_label(bead)}"
                )
    return found
