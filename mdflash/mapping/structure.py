"""From a structure file to beads.

==========  ================================================================================================
mapping     beads
==========  ================================================================================================
ca          one for each residue, at its CA; its type is the residue's name
heavy       every atom but hydrogens, caps too; types are RESIDUE-ATOM, as in ALA-CB
five-bead   N, CA, CB, C, O of each residue (glycine has no CB), with the types and interaction lists of mlcg
file.yaml   as the file defines, see `mdflash.mapping.custom`
==========  ================================================================================================
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mdflash.core.system import System
from mdflash.core.types import FloatArray
from mdflash.errors import ForceFieldError, InputError
from mdflash.forcefields.kinds import bead_masses
from mdflash.forcefields.model import ForceField
from mdflash.mapping.beads import BeadMap, make_beads, refuse_long_bonds
from mdflash.mapping.choices import AS_IT_IS, Reading
from mdflash.mapping.custom import CustomMapping
from mdflash.mapping.fivebead import five_bead
from mdflash.mapping.interactions import from_bonds, pairs_apart
from mdflash.mapping.read import Structure, read_structure
from mdflash.mapping.residues import ELEMENT_MASS, RESIDUE_MASS

NONBONDED_BONDS = {"ca": 3, "five-bead": 5}
"""At least so many bonds lie between the pairs of mlcg's list "non_bonded"."""


class Mapped(NamedTuple):
    """Beads from a structure.

    Attributes:
        system: the beads.
        positions: [F, N, 3] Å, one frame per model of the file.
        notes: what was skipped or looks odd, for people.
    """

    system: System
    positions: FloatArray
    notes: tuple[str, ...]


def map_structure(
    file: Path,
    mapping: str = "ca",
    forcefield: ForceField | None = None,
    name: str = "",
    reading: Reading = AS_IT_IS,
) -> Mapped:
    """Read a PDB, mmCIF or GRO file and map it to beads.

    Args:
        file: structure; several models become several frames.
        mapping: "ca", "heavy", "five-bead", or the path of a mapping file.
        forcefield: where given, its masses are taken and its bead types must cover the structure.
            Otherwise CA beads weigh what their residues weigh on average, others what their atoms weigh.
        name: of the System; default: the file's name.
        reading: what to do where the file asks for a choice: models, chains, ligands, missing residues.

    Raises:
        InputError: the file (see `read_structure`), a missing atom, or an unknown mapping.
        ForceFieldError: a bead type that the force field does not have, or nobody a mass for.
    """
    structure = read_structure(file, known_types(forcefield, mapping), reading)
    beads = bead_map(structure, mapping, forcefield, name)
    return Mapped(beads.system, beads.positions(structure.positions), beads.notes)


def known_types(forcefield: ForceField | None, mapping: str) -> frozenset[str]:
    """Residue names that are amino acids because a force field of CA beads has them."""
    return frozenset(t.name for t in forcefield.bead_types) if forcefield and mapping == "ca" else frozenset()


def bead_map(structure: Structure, mapping: str, forcefield: ForceField | None = None, name: str = "") -> BeadMap:
    """Which atoms become which beads, with the interactions that the force field asks for (all, without one).

    Arguments and errors as for `map_structure`.
    """
    if mapping == "ca":
        beads = _ca(structure, forcefield, name)
    elif mapping == "heavy":
        beads = _heavy(structure, name)
    elif mapping == "five-bead":
        beads = five_bead(structure, name)
    elif Path(mapping).suffix in (".yaml", ".yml"):
        beads = CustomMapping(Path(mapping)).apply(structure, name)
    else:
        raise InputError(
            f"mapping '{mapping}' is not known: ca, heavy, five-bead, or the path of a mapping file (.yaml). A force "
            "field with mapping 'none' contains its molecules: "
            "write `structure: FORCEFIELD/systems/NAME.safetensors`",
            file=structure.file,
        )
    system = beads.system
    if forcefield is None:
        lists = dict(system.interactions) or from_bonds(system.n_beads, system.bonds)
        return replace(beads, system=replace(system, interactions={k: rows for k, rows in lists.items() if len(rows)}))
    return replace(beads, system=fit_system(system, forcefield, mapping))


def fit_system(system: System, forcefield: ForceField, mapping: str) -> System:
    """A molecule with the masses of the force field, and those lists of interactions that it asks for.

    Raises:
        ForceFieldError: a bead type that the force field does not have.
    """
    forcefield.type_indices(system)
    lists = dict(system.interactions) or from_bonds(system.n_beads, system.bonds)
    if mapping in NONBONDED_BONDS:
        lists["non_bonded"] = pairs_apart(system.n_beads, system.bonds, NONBONDED_BONDS[mapping])
    if mapping == "ca" and "dihedrals" in lists:
        lists["pseudo_ca_dihedral"] = lists["dihedrals"]
    wanted = {t.name for t in forcefield.terms if t.keyed_by == "types"}
    wanted |= {name for n in forcefield.networks for name in n.hyperparameters.get("exclude_interactions", ())}
    return replace(
        system,
        masses=bead_masses(forcefield, system),
        interactions={key: rows for key, rows in lists.items() if key in wanted},
    )


def map_to_ca(structure: Structure, forcefield: ForceField | None = None, name: str = "") -> Mapped:
    """A structure that was read already, one bead per residue, without lists of interactions."""
    beads = _ca(structure, forcefield, name)
    if forcefield is not None:
        forcefield.type_indices(beads.system)
    return Mapped(beads.system, beads.positions(structure.positions), beads.notes)


def _ca(structure: Structure, forcefield: ForceField | None, name: str) -> BeadMap:
    residues = structure.residues
    masses = dict(RESIDUE_MASS)
    if forcefield is not None:
        masses |= {t.name: t.mass for t in forcefield.bead_types if t.mass is not None}
    for residue in residues:
        if residue.name not in masses:
            raise ForceFieldError(
                f"residue {residue.place} has no mass: "
                f"add one to bead_types, as in `{residue.name}: {{index: 0, mass: 110 Da}}`",
                file=structure.file,
            )
    chain = np.array([r.chain_index for r in residues])
    first = np.flatnonzero(chain[1:] == chain[:-1])
    caps = Counter(r.name for r in structure.with_caps if "CA" not in r.atoms)
    return make_beads(
        structure,
        residues,
        [("CA", r.name, masses[r.name], [r.ca]) for r in residues],
        owner=np.arange(len(residues)),
        bonds=np.stack([first, first + 1], axis=1),
        name=name,
        notes=tuple(f"skipped {count} cap {cap}" for cap, count in caps.items()),
    )


def _heavy(structure: Structure, name: str) -> BeadMap:
    residues = structure.with_caps
    atoms = [(atom, row, k) for k, r in enumerate(residues) for atom, row in r.atoms.items()]
    bead_of = {row: bead for bead, (_, row, _) in enumerate(atoms)}
    bonds = np.array(
        [(bead_of[i], bead_of[j]) for i, j in structure.bonds.tolist() if i in bead_of and j in bead_of], np.int64
    ).reshape(-1, 2)
    for bead in np.setdiff1d(np.arange(len(atoms)), bonds).tolist():
        atom, _, k = atoms[bead]
        raise InputError(
            f"atom {atom} of residue {residues[k].place} has no bonds: its name or the residue's is not "
            "the standard one, or atoms are missing; PDBFixer repairs both",
            file=structure.file,
        )
    beads = make_beads(
        structure,
        residues,
        [(atom, f"{residues[k].name}-{atom}", ELEMENT_MASS[atom[0]], [row]) for atom, row, k in atoms],
        owner=np.array([k for _, _, k in atoms]),
        bonds=bonds,
        name=name,
    )
    refuse_long_bonds(structure, beads)
    return beads
