"""Sampling around frames that a committee chose: rebuilt with all atoms, they are what walkers start from.

A dataset of such frames remembers which they are, so it can be resumed after the run has gone on, or is gone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mdflash.core.damage import reading
from mdflash.core.plural import plural
from mdflash.core.system import System
from mdflash.core.types import FloatArray
from mdflash.errors import InputError
from mdflash.io.runfolder import load_manifest
from mdflash.io.topology import write_pdb
from mdflash.mapping.rebuild import in_one_place, read_beads, rebuild
from mdflash.mapping.structure import bead_map
from mdflash.sampling.dataset import HEAD, provenance_of
from mdflash.sampling.recipe import MoleculeEntry, SampleRecipe
from mdflash.sampling.setup import Model, Molecule, prepare_molecule
from mdflash.sampling.where import APART, COUNT, Chosen, choose

PILOTS = 4
"""Starts from which the map of forces is learned; the mean force is the same for any map."""


@dataclass(frozen=True)
class Where:
    """The run whose frames are chosen; arguments as of `mdflash.sampling.where.choose`."""

    run: Path
    committee: Path | None = None
    count: int = COUNT
    apart: float = APART


@dataclass(frozen=True, eq=False)
class Around:
    """A recipe whose starts were chosen.

    Attributes:
        recipe: with a walker for each start.
        entry: its molecule, as the user described it.
        said: what dataset.yaml remembers of the choice.
        models: the starts with all atoms; empty for a dataset that has them already.
    """

    recipe: SampleRecipe
    entry: MoleculeEntry
    said: dict[str, Any]
    models: tuple[Model, ...]

    def molecule(self) -> Molecule:
        """The molecule with these starts.

        Raises:
            InputError: it does not fit the recipe.
        """
        return prepare_molecule(self.entry, self.recipe.mapping, self.models)


def sample_around(recipe: SampleRecipe, where: Where, folder: Path, tell: Callable[[str], None]) -> Around:
    """Choose frames and rebuild them; or take those that the dataset in `folder` was begun with.

    Args:
        recipe: of the user; its starts say what the molecule is.
        where: which run.
        folder: of the dataset.
        tell: called with what is being done.

    Raises:
        InputError: a recipe of several molecules, with windows or held beads, no frame that can be chosen or rebuilt,
            or a dataset that was begun otherwise.
    """
    entry = only_molecule(recipe)
    if (said := _begun(folder, where)) is not None:
        with reading(folder / HEAD, "provenance.chosen.frames is damaged"):
            labels = [str(c["frame"]) for c in said["frames"]]
        return Around(_settled(recipe, entry, labels), entry, said, ())
    chosen = choose(where.run, where.committee, where.count, where.apart, tell)
    tell(describe(chosen, where.count))
    kept, models = rebuilt(chosen.system, chosen.positions, chosen.labels, entry, recipe, "--where", tell)
    labels = [chosen.labels[k] for k in kept]
    said = {
        "run": str(where.run),
        "forcefield": _forcefield_of(where.run),
        "apart_angstrom": where.apart,
        "spread_of_the_data_kcal/mol/angstrom": chosen.known,
        "frames": [{"frame": chosen.labels[k], "spread_kcal/mol/angstrom": float(chosen.spread[k])} for k in kept],
    }
    return Around(_settled(recipe, entry, labels), entry, said, models)


def describe(chosen: Chosen, wanted: int) -> str:
    """What was chosen, in a sentence."""
    few = f" ({wanted} were asked for; no others are far enough apart)" if len(chosen.labels) < wanted else ""
    return (
        f"chose {plural(len(chosen.labels), 'frame')} of {chosen.looked_at:,}{few}: spread of forces "
        f"{chosen.spread.max():.3g} to {chosen.spread.min():.3g} kcal/mol/Å; {chosen.beyond:,} have more than the "
        f"{chosen.known:.3g} of the data"
    )


def only_molecule(recipe: SampleRecipe) -> MoleculeEntry:
    """The molecule of a recipe that is sampled around frames.

    Raises:
        InputError: several, or windows, or held beads.
    """
    (entry, *others) = recipe.molecule
    if others:
        raise InputError("frames are chosen of one molecule; give a recipe of that molecule alone", key="molecule")
    if entry.umbrella is not None:
        raise InputError("windows do not go with --where; leave them out, or give another recipe", key="molecule")
    if recipe.hold is not None:
        raise InputError("held beads do not go with --where; leave this section out", key="hold")
    return entry


def _settled(recipe: SampleRecipe, entry: MoleculeEntry, labels: list[str]) -> SampleRecipe:
    """With a walker (or as many as the recipe says) for each start."""
    own = entry.model_copy(update={"starts": tuple(labels)})
    return recipe.model_copy(update={"molecule": (own,), "walkers": recipe.walkers * len(labels)})


def _begun(folder: Path, where: Where) -> dict[str, Any] | None:
    """What a dataset that was begun remembers; None: there is none yet."""
    if (said := provenance_of(folder, "chosen")) is None:
        return None
    if not isinstance(said.get("frames"), list):
        raise InputError("holds a dataset whose starts were not chosen; choose another `folder`", file=folder)
    if said.get("run") != str(where.run):
        raise InputError(f"holds samples around frames of {said.get('run')}; choose another `folder`", file=folder)
    if where.run.is_dir() and said.get("forcefield") != _forcefield_of(where.run):
        message = f"holds samples around frames that {where.run} had with another force field; choose another `folder`"
        raise InputError(message, file=folder)
    return said


def _forcefield_of(run: Path) -> str:
    """The digest of the force field that a run has."""
    with reading(run / "manifest.json"):
        return str(load_manifest(run)["forcefields"][0]["sha256"])


def rebuilt(
    system: System,
    positions: FloatArray,
    labels: Sequence[str],
    entry: MoleculeEntry,
    recipe: SampleRecipe,
    key: str,
    tell: Callable[[str], None],
) -> tuple[list[int], tuple[Model, ...]]:
    """Which frames could be rebuilt, and their atoms; mirror images of a protein are none.

    Args:
        system: the beads.
        positions: [F, N, 3] Å.
        labels: of the frames.
        entry: their molecule.
        recipe: says how it is mapped, and how many frames are rebuilt at a time.
        key: what asked for them, for errors.
        tell: called with what is being done.

    Raises:
        InputError: another mapping, or no frame can be rebuilt.
    """
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "beads.pdb"
        write_pdb(file, system, positions[0])
        structure = read_beads(file)
        beads = bead_map(structure, recipe.mapping, name=entry.name)
    if beads.system.types != system.types:
        raise InputError(
            f"the frames are of {system.n_beads} beads ({', '.join(system.types[:4])}, ...), and `mapping: "
            f"{recipe.mapping}` gives {beads.system.n_beads} of other types; map both the same way",
            key="mapping",
        )
    structure = replace(structure, positions=positions)
    bad = in_one_place(structure)
    whole = [k for k in range(len(labels)) if k not in bad]
    tell(f"rebuilding {plural(len(whole), 'frame')} with all atoms, {recipe.processes} at a time")
    kept, models = [], []
    processes = min(recipe.processes, len(whole))
    for k, frame in zip(whole, rebuild(structure, whole, processes if processes > 1 else 0), strict=True):
        if frame.wrong_hands:
            bad[k] = f"{frame.wrong_hands[0]} would be a D amino acid"
            continue
        kept.append(k)
        models.append((labels[k], frame.topology, frame.positions))
    for k, why in sorted(bad.items()):
        tell(f"{labels[k]} is left out: {why}")
    if not kept:
        raise InputError(f"none of the frames that were chosen can be rebuilt; the first: {bad[0]}", key=key)
    return kept, tuple(models)
