"""A Gō model of SMOG 2 or OpenSMOG as a force field: the C-alpha models (-CA, -CAgaussian).

    V =   sum over bonds      k_b / 2 (r - r0)^2
        + sum over angles     k_a / 2 (theta - theta0)^2
        + sum over dihedrals  k_n [1 + cos(n phi - phi_n)]
        + sum over contacts   A / r^12 - B / r^10, or a Gaussian well
        + sum over other pairs C12 / r^12

Clementi, Nymeyer & Onuchic, J. Mol. Biol. 298, 937 (2000); Lammert, Schug & Onuchic, Proteins 77, 881 (2009), for
Gaussian wells; Noel et al., PLoS Comput. Biol. 12, e1004794 (2016), for the files.

| SMOG                     | here                                                            |
|--------------------------|-----------------------------------------------------------------|
| unit of energy           | 1 kJ/mol unless `epsilon` says else: GROMACS and OpenMM take it so |
| k/2 (q - q0)^2           | k (q - q0)^2, with half the k                                    |
| dihedral phi_n           | phi_n is where the term is largest: phi0 n + 180 degrees         |
| pairs within 3 bonds     | excluded, as its nrexcl says                                     |
| C12 / r^12, plain cutoff | excluded_volume, which is shifted to end at `CUTOFF`             |
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mdflash.core.chain_ids import chain_name
from mdflash.core.overlap import in_one_place
from mdflash.core.scale import other_unit
from mdflash.core.system import System
from mdflash.core.types import FloatArray, IntArray
from mdflash.core.words import is_word
from mdflash.errors import ForceFieldError, InputError
from mdflash.forcefields.model import BeadType, ForceField, Term, repeated_row
from mdflash.importers.smog_files import GAUSSIAN, TEN_TWELVE, Row, Topology, read_contacts, read_topology
from mdflash.mapping.formats import is_structure, read_content
from mdflash.units import BOLTZMANN, KCAL_PER_KJ

CUTOFF: Final = 11.0
"""Å, of the repulsion: OpenSMOG's usual 1.1 nm for C-alpha models."""
_NM: Final = 10.0
"""Å."""
_PROPER: Final = "1"
"""GROMACS's number of harmonic bonds and angles, of periodic dihedrals, and of pairs with two parameters."""
_GAUSSIAN_PAIR: Final = "6"
MOST_MULTIPLE: Final = 12
"""Of a dihedral."""
BELOW_FOLDING: Final = 0.8
"""SMOG's temperature that the ready run has: these models fold near 1."""


def import_smog(files: Sequence[Path], name: str, epsilon: float = KCAL_PER_KJ) -> tuple[ForceField, tuple[str, ...]]:
    """The force field in the files of one model, and notes for people.

    Args:
        files: the .top, the .xml where OpenSMOG's contacts are in one, and the .gro (or another structure) of the
            same atoms, which becomes the start frame.
        name: of the force field and its molecule.
        epsilon: kcal/mol, SMOG's unit of energy; temperatures scale with it.

    Raises:
        InputError: a file is missing, damaged, of another model or of another kind of model; names file and line.
    """
    top, xml, structure = _sort(files)
    topology = read_topology(top)
    _check(topology)
    contacts = [*topology.pairs, *([] if xml is None else read_contacts(xml, len(topology.atoms)))]
    if not contacts:
        raise InputError("has no contacts: give OpenSMOG's .xml too, which holds them", file=top)
    try:
        types, system = _molecule(topology, name)
    except InputError as error:  # of the molecule, which knows no file
        raise InputError(error.message, file=top) from None
    positions = _positions(structure, topology, system)
    try:
        terms = [t for t in (*_bonded(topology, epsilon), *_contacts(contacts, top, epsilon)) if len(t.keys)]
    except ForceFieldError as error:  # a number that no physics has
        raise InputError(error.message, file=top) from None
    for term in terms:
        if (twice := repeated_row("beads", term.keys)) is not None:
            atoms = ", ".join(str(bead + 1) for bead in term.keys[twice[0]])
            raise InputError(f"has the atoms {atoms} twice among its {term.name.replace('_', ' ')}", file=top)
    wells = tuple(term.name for term in terms if term.form.startswith("contact"))
    terms.append(_repulsion(topology, types, wells, epsilon))
    _check_excluded(topology, contacts)
    kelvin = epsilon / BOLTZMANN
    forcefield = ForceField(
        name=name,
        bead_types=tuple(BeadType(kind, k, topology.types[own].mass) for k, (kind, own) in enumerate(types.items())),
        mapping="ca",
        terms=tuple(terms),
        systems=((system, positions[None]),),
        dynamics={"timestep": "2 fs", "friction": "1 /ps", "temperature": f"{BELOW_FOLDING * kelvin:.4g} K"},
        provenance={
            "model": "structure-based C-alpha model of SMOG 2, Noel et al., PLoS Comput. Biol. 12, e1004794 (2016)",
            "files": ", ".join(file.name for file in files),
            "unit_of_energy": f"{epsilon:.9g} kcal/mol",
        },
    )
    return forcefield, (
        f"SMOG's unit of energy is {epsilon:.6g} kcal/mol, so its temperature 1 is {kelvin:.5g} K here; the models "
        f"fold near 1, and the ready run has {BELOW_FOLDING:g}",
    )


def _sort(files: Sequence[Path]) -> tuple[Path, Path | None, Path]:
    """The topology, the contacts where they have a file, the structure."""
    found: dict[str, Path] = {}
    for file in files:
        suffix = file.suffix.lower()
        kind = suffix if suffix in (".top", ".xml") else "structure" if is_structure(file) else ""
        if not kind:
            raise InputError("is none of a SMOG model's files; expected .top, .xml and .gro", file=file)
        if kind in found:
            raise InputError(f"is a second file beside {found[kind].name}; give those of one model", file=file)
        found[kind] = file
    if ".top" not in found:
        raise InputError("the topology is missing: mdflash import smog model.top model.xml model.gro --out folder")
    if "structure" not in found:
        raise InputError(f"the positions are missing: give the .gro that SMOG 2 wrote beside {found['.top'].name}, too")
    return found[".top"], found.get(".xml"), found["structure"]


def _check(topology: Topology) -> None:
    """Refuse what is no C-alpha model, or what no term here is."""
    residues = len({(atom.residue_number, atom.residue) for atom in topology.atoms})
    if any(atom.name != "CA" for atom in topology.atoms):
        raise InputError(
            f"has {len(topology.atoms)} atoms in {residues} residues: C-alpha models are imported (smog2 -CA or "
            "-CAgaussian), and all-atom models are not",
            file=topology.file,
        )
    for kind, own in topology.types.items():
        if own.c6 != 0.0 or own.charge != 0.0:
            what = "a charge" if own.charge else "an attraction of all pairs (c6)"
            raise InputError(f"atom type '{kind}' has {what}, which is not imported", file=topology.file)
    for what, rows, many in (("bond", topology.bonds, 2), ("angle", topology.angles, 2),
                             ("dihedral", topology.dihedrals, 3), ("pair", topology.pairs, 2)):  # fmt: skip
        for row in rows:
            gaussian = what == "pair" and row.function == _GAUSSIAN_PAIR and len(row.values) == 4
            if not gaussian and (row.function != _PROPER or len(row.values) != many):
                raise InputError(
                    f"a {what} of function {row.function} with {len(row.values)} numbers is not imported",
                    file=topology.file, line=row.line,
                )  # fmt: skip


def _molecule(topology: Topology, name: str) -> tuple[dict[str, str], System]:
    """Bead types, each with the atom type that it is, and the molecule; bonded beads are a chain."""
    own: dict[str, set[str]] = {}
    for atom in topology.atoms:
        own.setdefault(atom.residue, set()).add(atom.type)
    beads = [a.residue if len(own[a.residue]) == 1 else f"{a.residue}-{a.type}" for a in topology.atoms]
    for bead in beads:
        if not is_word(bead):
            raise InputError(f"'{bead[:60]}' is no name of a residue")
    bonds = np.array([row.atoms for row in topology.bonds], np.int64).reshape(-1, 2)
    n = len(beads)
    graph = coo_array((np.ones(len(bonds)), bonds.T), shape=(n, n))
    _, chain = connected_components(graph, directed=False)
    system = System(
        name=name,
        types=tuple(beads),
        bead_names=("CA",) * n,
        residue_index=np.arange(n),
        residue_names=tuple(atom.residue for atom in topology.atoms),
        residue_ids=tuple(atom.residue_number for atom in topology.atoms),
        chain_ids=tuple(chain_name(int(c)) for c in chain),
        masses=np.array([topology.types[atom.type].mass for atom in topology.atoms]),
        bonds=bonds,
    )
    return dict(sorted(zip(beads, (atom.type for atom in topology.atoms), strict=True))), system


def _positions(file: Path, topology: Topology, system: System) -> FloatArray:
    """[N, 3] Å, of the same atoms."""
    model = read_content(file).models[0]
    found = [atom.residue for atom in model.atoms]
    if found != list(system.residue_names):
        raise InputError(
            f"holds {len(found)} atoms, and the topology {topology.file.name} has {system.n_beads}"
            if len(found) != system.n_beads
            else f"has other residues than the topology {topology.file.name}",
            file=file,
        )
    positions = np.asarray(model.positions, np.float64)
    what = other_unit(system, positions[None]) or in_one_place(system, positions[None])
    if what is not None:
        raise InputError(what.partition(": ")[2], file=file)
    return positions


def _beads(rows: Sequence[Row], order: int) -> IntArray:
    return np.array([row.atoms for row in rows], np.int64).reshape(-1, order)


def _values(rows: Sequence[Row], width: int) -> FloatArray:
    return np.array([row.values for row in rows], np.float64).reshape(-1, width)


def _bonded(topology: Topology, epsilon: float) -> Iterator[Term]:
    r0, k = _values(topology.bonds, 2).T
    yield Term("bonds", "harmonic_bond", "beads", _beads(topology.bonds, 2),
               {"k": 0.5 * k * epsilon / _NM**2, "x0": r0 * _NM})  # fmt: skip
    theta0, k = _values(topology.angles, 2).T
    yield Term("angles", "harmonic_angle", "beads", _beads(topology.angles, 3),
               {"k": 0.5 * k * epsilon, "x0": np.radians(theta0)})  # fmt: skip
    by_beads: dict[tuple[int, ...], list[Row]] = {}
    for row in topology.dihedrals:
        if row.values[2] not in range(1, MOST_MULTIPLE + 1):
            raise InputError(
                f"a dihedral has the multiplicity {row.values[2]:g}; 1 to {MOST_MULTIPLE} are imported",
                file=topology.file, line=row.line,
            )  # fmt: skip
        by_beads.setdefault(row.atoms, []).append(row)
    degree = max((int(row.values[2]) for row in topology.dihedrals), default=1)
    v0, k1, k2 = np.zeros(len(by_beads)), np.zeros((len(by_beads), degree)), np.zeros((len(by_beads), degree))
    for d, rows in enumerate(by_beads.values()):
        for row in rows:
            phase, k_n, n = np.radians(row.values[0]), row.values[1] * epsilon, int(row.values[2])
            v0[d] += k_n
            k1[d, n - 1] += k_n * np.sin(phase)
            k2[d, n - 1] += k_n * np.cos(phase)
    yield Term("dihedrals", "fourier_dihedral", "beads", np.array(list(by_beads), np.int64).reshape(-1, 4),
               {"v0": v0, "k1": k1, "k2": k2})  # fmt: skip


def _contacts(rows: Sequence[Row], top: Path, epsilon: float) -> Iterator[Term]:
    """Wells of both shapes. A .top does not say that its pairs of function 1 are 10-12; those of C-alpha models are."""
    gaussian = [row for row in rows if row.function in (GAUSSIAN, _GAUSSIAN_PAIR)]
    if gaussian:
        a, r0, width, c12 = _values(gaussian, 4).T
        _refuse(gaussian, (a <= 0.0) | (r0 <= 0.0) | (width <= 0.0) | (c12 <= 0.0), top)
        yield Term("gaussian_contacts", "contact_gaussian", "beads", _beads(gaussian, 2),
                   {"epsilon": a * epsilon, "r0": r0 * _NM, "width": width * _NM,
                    "sigma": (c12 / a) ** (1.0 / 12.0) * _NM})  # fmt: skip
    wells = [row for row in rows if row.function == TEN_TWELVE]
    # GROMACS writes C10 before C12
    wells += [Row(r.atoms, TEN_TWELVE, (r.values[1], r.values[0]), r.line) for r in rows if r.function == _PROPER]
    if wells:
        a, b = _values(wells, 2).T
        _refuse(wells, (a <= 0.0) | (b <= 0.0), top)
        r0 = np.sqrt(1.2 * a / b)  # nm
        yield Term("contacts", "contact_12_10", "beads", _beads(wells, 2),
                   {"epsilon": b / (6.0 * r0**10) * epsilon, "r0": r0 * _NM})  # fmt: skip


def _refuse(rows: Sequence[Row], odd: npt.NDArray[np.bool_], top: Path) -> None:
    if odd.any():
        row = rows[int(np.flatnonzero(odd)[0])]
        i, j = row.atoms
        numbers = ", ".join(f"{value:g}" for value in row.values)
        raise InputError(f"the contact of atoms {i + 1} and {j + 1} needs positive numbers, found {numbers}", file=top)


def _repulsion(topology: Topology, types: Mapping[str, str], wells: tuple[str, ...], epsilon: float) -> Term:
    """C12 / r^12 as unit of energy times (sigma / r)^12."""
    names = list(types.values())
    pairs = np.stack(np.triu_indices(len(names)), axis=1)

    def c12(a: str, b: str) -> float:
        first, second = sorted((a, b))
        own = topology.pair_types.get((first, second), (0.0, math.sqrt(topology.types[a].c12 * topology.types[b].c12)))
        if own[0] != 0.0 or not own[1] > 0.0:
            raise InputError(
                f"atom types '{a}' and '{b}' do not simply repel, which is not imported", file=topology.file
            )
        return own[1]

    sigma = np.array([c12(names[i], names[j]) for i, j in pairs]) ** (1.0 / 12.0) * _NM
    return Term("excluded_volume", "excluded_volume", "neighbors", pairs,
                {"epsilon": np.full(len(pairs), epsilon), "sigma": sigma},
                cutoff=CUTOFF, exclude_bonds=topology.bonds_excluded, exclude_terms=wells)  # fmt: skip


def _check_excluded(topology: Topology, contacts: Sequence[Row]) -> None:
    """Refuse pairs that the topology excludes, but that would repel here; and contacts that it does not exclude."""
    excluded = {tuple(sorted(pair)) for pair in topology.exclusions}
    wells = {tuple(sorted(row.atoms)) for row in contacts}
    if only := sorted(excluded - wells):
        i, j = only[0]
        raise InputError(f"atoms {i + 1} and {j + 1} are excluded, but no contact: not imported", file=topology.file)
    if only := sorted(wells - excluded):
        i, j = only[0]
        raise InputError(f"atoms {i + 1} and {j + 1} are a contact and repel, too: not imported", file=topology.file)
