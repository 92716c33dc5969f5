"""`mdflash sample`: a recipe becomes a dataset, in one go or in several."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import yaml

from mdflash import __version__
from mdflash.core.files import atomic_write, storage_errors
from mdflash.core.regular import own_folder
from mdflash.core.types import FloatArray
from mdflash.core.yamlfile import load_yaml
from mdflash.errors import InputError
from mdflash.io.claims import claim, claimed, drop_unfinished, is_lock, refuse_in_the_way, refuse_links
from mdflash.io.runfolder import FolderLock
from mdflash.mapping import allatom
from mdflash.mapping.peptide import write_pdb
from mdflash.sampling.around import PILOTS, Around, Where, sample_around
from mdflash.sampling.configurations import Configurations, begun, choose_configurations
from mdflash.sampling.dataset import HEAD, create_dataset
from mdflash.sampling.held import HeldWalker
from mdflash.sampling.recipe import Hold, SampleRecipe
from mdflash.sampling.schedule import Progress, Task, carry_out
from mdflash.sampling.setup import Molecule, prepare_molecule
from mdflash.sampling.walker import Walker

_MAY_CHANGE = ("length", "walkers", "processes", "folder")
_MAY_CHANGE_HELD = ("processes", "folder")
"""Of held beads: more walkers would share the configurations otherwise."""


def walkers(recipe: SampleRecipe, folder: Path, chosen: bool = False) -> list[Walker]:
    """Every walker of a recipe; more walkers, or a longer run, keep the numbers of those that were there.

    Args:
        recipe: what to sample.
        folder: of the dataset.
        chosen: whether its starts were chosen for their uncertainty.
    """
    found: list[Walker] = []
    ladders = [recipe.temperatures] if recipe.exchange else [(t,) for t in recipe.temperatures]
    for entry in recipe.molecule:
        built = [start for start in entry.starts if start != "hot"]
        windows = entry.umbrella.all if entry.umbrella else (None,)
        for w, window in enumerate(windows * recipe.walkers):
            for t, temperatures in enumerate(ladders):
                number, count = w * len(ladders) + t, len(temperatures)
                starts = [entry.starts[(w * count + k) % len(entry.starts)] for k in range(count)]
                held = f", {entry.umbrella.label(window)}" if entry.umbrella and window else ""
                kelvin = f"{temperatures[0]:g} K" if count == 1 else f"{min(temperatures):g} to {max(temperatures):g} K"
                found.append(
                    Walker(
                        trajectory=folder / entry.name / f"{number:03d}.h5",
                        setup=folder / "sampling" / entry.name,
                        number=number,
                        starts=tuple(0 if start == "hot" else built.index(start) for start in starts),
                        hot=tuple(start == "hot" for start in starts),
                        temperatures=temperatures,
                        timestep=recipe.timestep,
                        friction=recipe.friction,
                        stride=recipe.steps(recipe.interval),
                        exchange=recipe.steps(recipe.exchange or recipe.interval),
                        equilibration=recipe.steps(recipe.equilibration),
                        seed=(recipe.seed * 1_000_003 + 10 * count * len(found)) % 2**31,
                        aggregation=recipe.aggregation,
                        window=window,
                        label=f"{entry.name} {number:03d} ({kelvin}{held}, {', '.join(dict.fromkeys(starts))})",
                        chosen=chosen,
                    )
                )
    return found


def held_walkers(recipe: SampleRecipe, hold: Hold, folder: Path, configurations: Mapping[str, int]) -> list[HeldWalker]:
    """Every walker of a recipe whose beads are held.

    Args:
        recipe: what to sample.
        hold: of it.
        folder: of the dataset.
        configurations: how many each molecule has.
    """
    found: list[HeldWalker] = []
    before = 0
    for name, count in configurations.items():
        for number in range(min(recipe.walkers, count)):
            found.append(
                HeldWalker(
                    trajectory=folder / name / f"{number:03d}.h5",
                    setup=folder / "sampling" / name,
                    number=number,
                    configurations=tuple(range(number, count, recipe.walkers)),
                    temperature=recipe.temperatures[0],
                    timestep=recipe.timestep,
                    friction=recipe.friction,
                    settle=recipe.steps(hold.settle),
                    stride=recipe.steps(recipe.interval),
                    samples=int(hold.average / recipe.interval + 1e-6),
                    seed=(recipe.seed * 1_000_003 + 10 * before) % 2**31,
                    aggregation=recipe.aggregation,
                    label=f"{name} {number:03d} ({recipe.temperatures[0]:g} K, held)",
                )
            )
        before += count
    return found


def prepare(recipe: SampleRecipe) -> list[Molecule]:
    """Build and map every molecule; writes nothing.

    Raises:
        InputError: OpenMM is not installed, a structure or sequence is wrong, or the mapping does not fit.
    """
    allatom.openmm_version()
    return [prepare_molecule(entry, recipe.mapping) for entry in recipe.molecule]


def speed(molecule: Molecule, recipe: SampleRecipe) -> float:
    """Simulated ps per second of one process, measured for about a second."""
    context = allatom.create_context(molecule.system, 300.0, recipe.timestep, recipe.friction, 1)
    context.setPositions(allatom.relax(molecule.system, molecule.starts[0]) / 10.0)
    steps, began = 0, time.perf_counter()
    while (seconds := time.perf_counter() - began) < 1.0:
        context.getIntegrator().step(50)
        steps += 50
    return steps * recipe.timestep / seconds


def sample(
    recipe: SampleRecipe, tell: Callable[[str], None], watch: Callable[[Progress], None], where: Where | None = None
) -> Path:
    """Sample as a recipe describes, or resume.

    Args:
        recipe: from `load_recipe`.
        tell: called with what is being prepared.
        watch: called after every block of frames.
        where: start from frames of a run that a committee knows least of, in place of the recipe's starts; not with
            `hold`.

    Returns:
        The dataset's folder.

    Raises:
        InputError: the recipe does not fit its molecules, or the folder holds samples of another recipe.
        StorageError: the folder holds files that no sampling wrote and that this one would replace.
        Interrupted: stopped by a signal; the same command resumes.
    """
    folder = recipe.folder
    assert folder is not None  # load_recipe fills it in
    if not (owned := _is_sampling(folder)):
        foreign = [] if is_lock(folder / "lock") else ["lock"]
        names = (*foreign, HEAD, "sampling", *(entry.name for entry in recipe.molecule))
        refuse_in_the_way(folder, [folder / name for name in names], "sampling", "folder")
    molecules = [entry.name for entry in recipe.molecule]
    refuse_links(folder, ["lock", HEAD, "sampling", *molecules, *(f"sampling/{name}" for name in molecules)])
    around, held = None, None  # before anything is written
    if where is not None:
        around = sample_around(recipe, where, folder, tell)
    elif recipe.hold is not None and begun(folder) is None:
        held = choose_configurations(recipe, recipe.hold, tell)
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    lock = FolderLock(folder / "lock", folder)
    try:
        if owned:
            drop_unfinished([folder, *(folder / name for name in molecules), *folder.glob("sampling/*")])
        else:
            claim(folder, "sampling")
        todo = recipe if around is None else around.recipe
        _set_up(todo, folder, tell, around, held)
        carry_out(_tasks(todo, folder, around is not None), todo.processes, watch)
    finally:
        lock.release()
    return folder


def _tasks(recipe: SampleRecipe, folder: Path, chosen: bool) -> dict[Task, int]:
    """The walkers of a dataset that was set up, and how many frames each is to have."""
    if recipe.hold is None:
        return dict.fromkeys(walkers(recipe, folder, chosen), recipe.frames_of_a_walker)
    counts = {name: len(labels) for name, labels in (begun(folder) or {}).items()}
    return {walker: len(walker.configurations) for walker in held_walkers(recipe, recipe.hold, folder, counts)}


def _is_sampling(folder: Path) -> bool:
    """Whether a sampling of mdflash began here: its mark, or the head of its dataset."""
    if claimed(folder, "sampling") is not None:
        return True
    with suppress(InputError, OSError):
        head = load_yaml(folder / HEAD).data
        return isinstance(head, dict) and "mdflash_dataset" in head and is_lock(folder / "lock")
    return False


def _set_up(
    recipe: SampleRecipe,
    folder: Path,
    tell: Callable[[str], None],
    around: Around | None,
    held: Sequence[Configurations] | None,
) -> None:
    described = _describe(recipe)
    if (folder / HEAD).is_file():
        _check_same(described, folder)
        return
    molecules = prepare(recipe) if around is None else [around.molecule()]
    said: dict[str, Any] = {} if around is None else {"chosen": around.said}
    if recipe.hold is not None and held is not None:
        molecules = [one.molecule for one in held]
        frames = {one.molecule.name: list(one.labels) for one in held}
        said = {"held": {"dataset": str(recipe.hold.dataset), "frames": frames}}
    systems = {}
    for k, molecule in enumerate(molecules):
        if held is None:
            tell(f"{molecule.name}: relaxing {len(molecule.starts)} starts")
            starts = molecule.relaxed()
            own = None if around is not None else molecule.beads.positions(starts)  # what was chosen is not native
            _write_setup(folder, molecule, starts, starts if around is None else starts[:PILOTS], recipe, tell)
        else:
            own, few = held[k].native, replace(molecule, starts=molecule.starts[:PILOTS])
            pilots = few.starts if molecule.is_complete else few.relaxed()  # walkers relax each with its beads held
            _write_setup(folder, molecule, molecule.starts, pilots, recipe, tell, {"beads": held[k].beads})
        systems[molecule.name] = (molecule.beads.system, own)
    provenance = {
        "recipe": described,
        "model": allatom.MODEL,
        "engine": f"OpenMM {allatom.openmm_version()}",
        "written_by": f"mdflash {__version__}",
        "integrator": "LangevinMiddleIntegrator",
        "atoms": {m.name: len(m.groups) for m in molecules},
        "systems": {name: system.digest for name, (system, _) in systems.items()},
        **said,
    }
    create_dataset(folder, systems, recipe.mapping, provenance)


def _write_setup(
    folder: Path,
    molecule: Molecule,
    starts: FloatArray,
    pilots: FloatArray,
    recipe: SampleRecipe,
    tell: Callable[[str], None],
    more: Mapping[str, FloatArray] = MappingProxyType({}),
) -> None:
    """What the walkers of a molecule read: starts [S, atoms, 3] Å, the map of forces as learned from `pilots`, ..."""
    import openmm as mm
    from safetensors.numpy import save

    setup = folder / "sampling" / molecule.name
    with storage_errors(setup):
        own_folder(setup.parent)
        own_folder(setup)
    write_pdb(setup / "structure.pdb", molecule.topology, starts[0])
    atomic_write(setup / "system.xml", mm.XmlSerializer.serialize(molecule.system))
    atoms = molecule.beads.atoms
    assert atoms is not None  # prepare_molecule refuses beads of several atoms
    force_map = molecule.force_map(pilots, recipe, tell)
    arrays = {"starts": starts, "atoms": atoms, "force_map": np.ascontiguousarray(force_map), **more}
    if molecule.held is not None:
        arrays |= molecule.held.arrays()
    atomic_write(setup / "setup.safetensors", save(arrays))


def _describe(recipe: SampleRecipe) -> dict[str, Any]:
    """The recipe as YAML can hold it; files by their names."""
    described: dict[str, Any] = recipe.model_dump(mode="json", exclude={"folder", "processes"})
    for entry in described["molecule"]:
        if entry["structure"]:
            entry["structure"] = Path(entry["structure"]).name
        for key in ("windows", "rmsd_windows"):
            if entry[key] is None:
                del entry[key]  # as in datasets that are older than windows
    if recipe.hold is None:
        del described["hold"]
    else:
        described["hold"]["dataset"] = recipe.hold.dataset.name
    if Path(described["mapping"]).suffix:
        described["mapping"] = Path(described["mapping"]).name
    return described


def _check_same(described: dict[str, Any], folder: Path) -> None:
    """Refuse to resume with another recipe."""
    head = load_yaml(folder / HEAD).data
    provenance = head.get("provenance") if isinstance(head, dict) else None
    before = provenance.get("recipe") if isinstance(provenance, dict) else None
    if not isinstance(before, dict):
        raise InputError("is the head of a dataset that no recipe made; choose another `folder`", file=folder / HEAD)
    may_change = _MAY_CHANGE if described.get("hold") is None else _MAY_CHANGE_HELD
    for key, value in {"hold": None, **described}.items():
        if key not in may_change and before.get(key) != value:
            old, new = (
                yaml.safe_dump(v, default_flow_style=True, width=1000).split("\n")[0] for v in (before.get(key), value)
            )
            raise InputError(
                f"holds samples of another recipe: {key} was {old}, and is {new} now. Choose another `folder`, or put "
                f"the old value back (only {', '.join(may_change[:-1])} may change)",
                file=folder,
                key=key,
            )
