"""OpenMM topologies and mdflash Systems: each from the other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mdflash.core.optional import require
from mdflash.core.system import System
from mdflash.errors import ForceFieldError, InputError
from mdflash.forcefields.model import ForceField
from mdflash.io.topology import topology_dict
from mdflash.mapping.read import Residue, Structure
from mdflash.mapping.residues import CAPS, SAME_RESIDUE, WATERS
from mdflash.mapping.structure import bead_map

BEADS = {"ca": frozenset({"CA"}), "five-bead": frozenset({"N", "CA", "CB", "C", "O"})}
"""The atoms that are beads, by mapping."""


def make_topology(system: System, copies: int = 1) -> Any:
    """`copies` copies of a System as one `openmm.app.Topology`, each in chains of its own.

    Beads are carbons, for readers drop particles without an element.
    """
    app = require("openmm.app", "openmm", "an OpenMM topology")
    topology = app.Topology()
    atoms = []
    for chain_record in topology_dict(system, copies)["chains"]:
        chain = topology.addChain(chain_record["chain_id"])
        for record in chain_record["residues"]:
            code = system.insertion_code(record["index"] % system.n_residues)
            residue = topology.addResidue(record["name"], chain, str(record["resSeq"]), code)
            atoms += [topology.addAtom(atom["name"], app.element.carbon, residue) for atom in record["atoms"]]
    for copy in range(copies):
        for i, j in system.bonds.tolist():
            topology.addBond(atoms[copy * system.n_beads + i], atoms[copy * system.n_beads + j])
    return topology


def beads_of(topology: Any, openmm_system: Any, name: str = "openmm") -> System:
    """The particles of an OpenMM model as a System: to run it in mdflash with `OpenMMPotential`.

    Args:
        topology: `openmm.app.Topology`; atom names become bead types and names.
        openmm_system: `openmm.System`, whose masses are taken.
        name: name of the System.

    Raises:
        InputError: sizes that differ, or a particle without mass (it would not move).
    """
    atoms = list(topology.atoms())
    if len(atoms) != openmm_system.getNumParticles():
        raise InputError(
            f"the topology has {len(atoms)} atoms, but the OpenMM System {openmm_system.getNumParticles()} particles"
        )
    residues = list(topology.residues())
    return System(
        name=name,
        types=tuple(atom.name for atom in atoms),
        bead_names=tuple(atom.name for atom in atoms),
        residue_index=np.array([atom.residue.index for atom in atoms]),
        residue_names=tuple(residue.name for residue in residues),
        residue_ids=tuple(_number(residue) for residue in residues),
        chain_ids=tuple(residue.chain.id for residue in residues),
        masses=np.array([openmm_system.getParticleMass(i)._value for i in range(len(atoms))]),
        bonds=np.array([[bond[0].index, bond[1].index] for bond in topology.bonds()], np.int64).reshape(-1, 2),
    )


def find_molecule(ff: ForceField, topology: Any, replicas: int, particles: Sequence[int] | None) -> System:
    """The molecule that a topology shows: one that came with the force field, or beads of the force field's mapping.

    Args:
        ff: the force field.
        topology: `openmm.app.Topology` of all replicas, one after the other.
        replicas: how many.
        particles: the atoms that are beads, in this order; None: all.

    Raises:
        ForceFieldError: it is no molecule of the force field.
        InputError: it cannot be so many replicas.
    """
    atoms = list(topology.atoms())
    if particles is not None:
        atoms = [atoms[i] for i in particles]
    n, rest = divmod(len(atoms), replicas)
    labels = [(SAME_RESIDUE.get(a.residue.name, a.residue.name), a.name) for a in atoms]
    if rest or not n or any(labels[r * n : (r + 1) * n] != labels[:n] for r in range(replicas)):
        raise InputError(
            f"the topology ({len(atoms)} atoms) does not hold {replicas} copies of one molecule, one after the other; "
            "see mdflash.openmm.make_topology(system, copies)"
        )
    for own, _ in ff.systems:
        if labels[:n] == _labels(own):
            return own
    one_molecule = any(term.keyed_by == "beads" for term in ff.terms)
    for own, _ in ff.systems:
        copies = n // own.n_beads
        if one_molecule and labels[:n] == _labels(own) * copies:
            raise InputError(
                f"the topology holds {copies * replicas} copies of {own.name} ({own.n_beads} beads), found "
                f"replicas={replicas}; write replicas={copies * replicas} for copies that do not interact"
            )
    _refuse_all_atoms(ff, atoms)
    reason = "and it has no mapping"
    if ff.mapping != "none":
        try:
            mapped = bead_map(_structure(topology, atoms[:n]), ff.mapping, ff, "molecule")
            if mapped.atoms is not None and np.array_equal(mapped.atoms, np.arange(n)):
                return mapped.system
            reason = f"nor the beads of its mapping '{ff.mapping}'"
        except InputError as error:
            reason = f"nor the beads of its mapping '{ff.mapping}': {error.message}"
    known = ", ".join(f"{s.name} ({s.n_beads} beads)" for s, _ in ff.systems)
    shown = ", ".join(" ".join(label) for label in labels[: min(n, 4)])
    raise ForceFieldError(
        f"the {n} atoms of the topology ({shown}, ...) are no molecule of force field '{ff.name}' "
        f"({known or 'it has none'}), {reason}. Pass the System itself, or a topology made by "
        "mdflash.openmm.make_topology(system)"
    )


def _refuse_all_atoms(ff: ForceField, atoms: Sequence[Any]) -> None:
    """Raise InputError where atoms that are no beads, as hydrogens or waters, lie among them."""
    beads = BEADS.get(ff.mapping)
    others = [a.name for a in atoms if beads is not None and a.name not in beads]
    if not others:
        return
    water = len({a.residue.index for a in atoms if a.residue.name in WATERS})
    found = ", ".join(list(dict.fromkeys(others))[:4]) + (f"; residues of water: {water}" if water else "")
    raise InputError(
        f"the topology holds all atoms ({len(atoms)}, such as {found}), but force field '{ff.name}' acts on beads (its "
        f"mapping is '{ff.mapping}'). Write the beads with `mdflash map STRUCTURE.pdb --mapping {ff.mapping}`, and "
        "give the topology of the NAME-beads.pdb that it writes"
    )


def _labels(system: System) -> list[tuple[str, str]]:
    return [(system.residue_names[r], b) for r, b in zip(system.residue_index, system.bead_names, strict=True)]


def _structure(topology: Any, atoms: Sequence[Any]) -> Structure:
    """These atoms as a structure file would give them."""
    row = {atom.index: i for i, atom in enumerate(atoms)}
    members: dict[Any, dict[str, int]] = {}
    for atom in atoms:
        members.setdefault(atom.residue, {})[atom.name] = row[atom.index]
    residues = tuple(
        Residue(SAME_RESIDUE.get(r.name, r.name), _number(r), r.chain.id, r.chain.index, names)
        for r, names in members.items()
    )
    bonds = [sorted((row[a.index], row[b.index])) for a, b in topology.bonds() if a.index in row and b.index in row]
    return Structure(
        file=Path("the topology"),
        residues=tuple(r for r in residues if r.name not in CAPS),
        with_caps=residues,
        positions=np.zeros((1, len(atoms), 3)),
        bonds=np.array(bonds, np.int64).reshape(-1, 2),
        notes=(),
    )


def _number(residue: Any) -> int:
    return int(residue.id if residue.id.lstrip("-").isdecimal() else residue.index + 1)
