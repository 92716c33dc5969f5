"""From a recipe to molecules ready for sampling: atoms, beads, starts, and the map of forces."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from mdflash.core.types import FloatArray, IntArray
from mdflash.errors import InputError
from mdflash.mapping.allatom import constraints, create_context, create_system, frame, relax
from mdflash.mapping.beads import BeadMap
from mdflash.mapping.formats import plain_suffix, read_bytes
from mdflash.mapping.peptide import add_hydrogens, build_peptide, parse_conformation, parse_sequence, write_pdb
from mdflash.mapping.read import read_structure
from mdflash.mapping.structure import bead_map
from mdflash.sampling.forcemap import basic_map, constrained_groups, optimised_map
from mdflash.sampling.recipe import MoleculeEntry, SampleRecipe, TorsionWindows
from mdflash.sampling.windows import BeadRmsd, Torsion, find_torsion

PILOT_FRAMES, PILOT_INTERVAL, PILOT_REST = 300, 0.5, 20.0  # per start; ps; ps
Model: TypeAlias = tuple[str, Any, FloatArray]


@dataclass(frozen=True)
class Molecule:
    """A molecule ready for sampling.

    Attributes:
        name: its folder.
        topology: OpenMM's, with all hydrogens.
        system: OpenMM's.
        starts: [S, atoms, 3] Å, not relaxed; those of the recipe other than "hot".
        beads: the mapping.
        groups: [atoms] number of each atom's constrained group.
        held: what its windows hold, or None.
    """

    name: str
    topology: Any
    system: Any
    starts: FloatArray
    beads: BeadMap
    groups: IntArray
    held: Torsion | BeadRmsd | None

    def relaxed(self) -> FloatArray:
        """The starts after energy minimization, [S, atoms, 3] Å."""
        return np.stack([relax(self.system, start) for start in self.starts])

    def pilot(self, starts: FloatArray, recipe: SampleRecipe, report: Callable[[str], None]) -> FloatArray:
        """Atom forces [F, atoms, 3] of short runs from each start, for the optimised map."""
        temperature, found = recipe.temperatures[0], []
        for k, start in enumerate(starts, start=1):
            report(f"{self.name}: pilot run {k} of {len(starts)} for the map of forces")
            context = create_context(self.system, temperature, recipe.timestep, recipe.friction, recipe.seed + k)
            context.setPositions(start / 10.0)
            context.setVelocitiesToTemperature(temperature, recipe.seed + k)
            context.getIntegrator().step(recipe.steps(PILOT_REST))
            for _ in range(PILOT_FRAMES):
                context.getIntegrator().step(recipe.steps(PILOT_INTERVAL))
                found.append(frame(context)[1])
        return np.stack(found)

    def force_map(self, starts: FloatArray, recipe: SampleRecipe, report: Callable[[str], None]) -> FloatArray:
        """W [N, atoms], as the recipe's aggregation asks for."""
        if recipe.aggregation == "basic" or self.is_complete:
            return basic_map(self.beads, self.groups)
        return optimised_map(self.beads, self.groups, self.pilot(starts, recipe, report))

    @property
    def is_complete(self) -> bool:
        """Whether every constrained group has a bead, which leaves nothing to optimize."""
        return self.beads.system.n_beads == int(self.groups.max()) + 1


def prepare_molecule(entry: MoleculeEntry, mapping: str, around: Sequence[Model] = ()) -> Molecule:
    """Build the molecule of a recipe and map it.

    Args:
        entry: of the recipe.
        mapping: of the recipe.
        around: what walkers start from in place of the starts of the recipe, which then only say what the molecule is:
            "what it is called", OpenMM's topology and positions [atoms, 3] in Å.

    Raises:
        InputError: the structure, the sequence, starts of different atoms, or a mapping that does not fit.
    """
    own = [start for start in entry.starts if start != "hot"]
    models = [*((start, *_start(entry, start)) for start in (own[:1] if around else own)), *around]
    topology = models[0][1]
    names = _names(topology)
    starts = []
    for start, other, positions in models:
        row = {name: k for k, name in enumerate(_names(other))}
        if row.keys() != set(names):
            odd = sorted(row.keys() ^ set(names))[0]
            raise InputError(
                f"molecule '{entry.name}': start '{start}' has different atoms from start '{entry.starts[0]}' "
                f"(first: {odd[2]} of {odd[1]} {odd[0] + 1}); give `sequence` and `structure` of one molecule, "
                "with the same protonation"
            )
        starts.append(positions[[row[name] for name in names]])
    system = create_system(topology)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{entry.name}.pdb"
        write_pdb(file, topology, starts[0])
        beads = bead_map(read_structure(file), mapping, name=entry.name)
    groups = constrained_groups(len(names), constraints(system))
    basic_map(beads, groups)  # refuses a mapping whose forces cannot be mapped
    held: Torsion | BeadRmsd | None = None
    if entry.windows:
        held = _torsion(entry, entry.windows, topology, beads)
    elif entry.rmsd_windows:
        assert beads.atoms is not None  # basic_map refuses beads of several atoms
        held = BeadRmsd(beads.atoms, starts[0][beads.atoms])
    return Molecule(entry.name, topology, system, np.stack(starts[1:] if around else starts), beads, groups, held)


def _torsion(entry: MoleculeEntry, windows: TorsionWindows, topology: Any, beads: BeadMap) -> Torsion:
    """The torsion of the windows; its atoms must be beads, or forces at given beads would depend on the window."""
    torsion = find_torsion(topology, windows.torsion, windows.residue, entry.name)
    assert beads.atoms is not None  # basic_map refuses beads of several atoms
    hidden = np.setdiff1d(torsion.atoms, beads.atoms)
    if len(hidden):
        name = _names(topology)[hidden[0]]
        raise InputError(
            f"molecule '{entry.name}': windows: {name[2]} of {name[1]} {name[0] + 1} is not a bead, so forces on the "
            "beads would depend on the windows; take a mapping with the whole backbone, such as `mapping: heavy`, or "
            "remove `windows:`"
        )
    return torsion


def _names(topology: Any) -> list[tuple[int, str, str]]:
    return [(a.residue.index, a.residue.name, a.name) for a in topology.atoms()]


def _start(entry: MoleculeEntry, start: str) -> tuple[Any, FloatArray]:
    if start == "structure":
        assert entry.structure is not None  # the recipe was checked
        return _from_structure(entry.structure)
    if entry.sequence is not None:
        sequence = parse_sequence(entry.sequence)
    else:
        assert entry.structure is not None
        sequence = tuple(r.name for r in read_structure(entry.structure).with_caps)
    return build_peptide(sequence, [parse_conformation(start)] * len(sequence))


def _from_structure(file: Path) -> tuple[Any, FloatArray]:
    """The molecule of a file, with the hydrogens it lacks."""
    from openmm import app

    structure = read_structure(file)  # its errors name residues
    read = app.PDBxFile if plain_suffix(file) in (".cif", ".mmcif") else app.PDBFile
    try:
        model = read(io.StringIO(read_bytes(file).decode("latin-1")))
        model = app.Modeller(model.topology, model.positions)
        known = {r.name for r in structure.with_caps} | {"HID", "HIE", "HIP", "CYX", "CYM", "ASH", "GLH", "LYN"}
        model.delete([r for r in model.topology.residues() if r.name not in known])
        return add_hydrogens(model.topology, model.positions)
    except (ValueError, KeyError) as error:
        raise InputError(f"ff14SB does not fit it: {error}", file=file) from None
