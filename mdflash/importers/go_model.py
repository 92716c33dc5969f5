"""A structure-based (Gō) CA force field: the native structure is the minimum of every term.

Clementi, Nymeyer & Onuchic, J. Mol. Biol. 298, 937 (2000), eq. 1, with their constants. Zeros mark native values.

    E =   sum over bonds       k_r (r - r0)^2
        + sum over angles      k_theta (theta - theta0)^2
        + sum over dihedrals   k_1 [1 - cos(phi - phi0)] + k_3 [1 - cos 3(phi - phi0)]
        + sum over contacts    epsilon [5 (r0/r)^12 - 6 (r0/r)^10]
        + sum over other pairs epsilon (sigma/r)^12

| symbol  | parameter        | value                   | force field term, form                    |
|---------|------------------|-------------------------|-------------------------------------------|
| epsilon | epsilon          | 1 kcal/mol unless given | contacts, contact_12_10                   |
| k_r     | bond             | 100 epsilon / Å^2       | bonds, harmonic_bond (no factor 1/2)      |
| k_theta | angle            | 20 epsilon / rad^2      | angles, harmonic_angle (no factor 1/2)    |
| k_1     | dihedral_1       | 1 epsilon               | dihedrals, fourier_dihedral, n = 1        |
| k_3     | dihedral_3       | 0.5 epsilon             | dihedrals, fourier_dihedral, n = 3        |
| sigma   | sigma            | 4 Å                     | excluded_volume, cutoff 10 Å              |

The paper writes the torsion as 1 + cos[n (phi - phi0)], with phi0 where each term is largest; here phi0 is the
native torsion, where it vanishes. Pairs at most three bonds apart feel the bonded terms only; of the others,
native contacts attract and the rest repel.

Every term is proportional to epsilon, so at a temperature T and epsilon the model is that at s T and s epsilon: its
folding temperature is proportional to epsilon.

Native contacts. The paper takes them from the CSU analysis of atomic surfaces. Here two residues touch if any of
their heavy atoms are within `contact_distance` (4.5 Å); in a structure of CA atoms alone, if their CA atoms are
within `ca_contact_distance` (8 Å). Residues of one chain must be at least 4 apart in sequence (the paper's
i > j + 3; it is kept for short hairpins as well); residues of two chains may be any. `between_chains: symmetric`
makes contacts between copies of a molecule of those within it (`go_symmetric`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from mdflash.core.geometry import bond_angles, distances, torsions
from mdflash.core.overlap import in_one_place
from mdflash.core.ranges import Range
from mdflash.core.scale import other_unit
from mdflash.core.system import System
from mdflash.core.types import FloatArray, IntArray
from mdflash.errors import InputError
from mdflash.forcefields.model import BeadType, ForceField, Term
from mdflash.importers.go_symmetric import symmetric_contacts
from mdflash.mapping.choices import AS_IT_IS, Reading
from mdflash.mapping.formats import read_content
from mdflash.mapping.read import read_structure
from mdflash.mapping.structure import map_to_ca

BetweenChains = Literal["native", "none", "symmetric"]
BONDED_RANGE = 3
"""Bonds; pairs this near are held by bonds, angles and dihedrals, and are neither contacts nor repelled."""


_LENGTHS = Range(0.5, 100.0)
"""Å."""
_STRENGTHS = Range(1e-6, 1e6)
"""kcal/mol, or in units of epsilon."""


@dataclass(frozen=True)
class GoParameters:
    """The model's constants, with the published values.

    Attributes:
        epsilon: depth of a native contact, kcal/mol; sets the folding temperature.
        bond, angle, dihedral_1, dihedral_3: force constants in units of epsilon (per Å^2, per rad^2, 1, 1).
        sigma: range of the non-native repulsion, Å.
        cutoff: where that repulsion ends, Å; at 10 Å it is 2e-5 epsilon.
        contact_distance: heavy atoms of a native contact are at most this far apart, Å.
        ca_contact_distance: the same for a structure that has only CA atoms, Å.
        between_chains: whether residues of two chains can be native contacts: native (if they touch) | none |
            symmetric (also between copies of a molecule, as within it).
    """

    epsilon: float = 1.0
    bond: float = 100.0
    angle: float = 20.0
    dihedral_1: float = 1.0
    dihedral_3: float = 0.5
    sigma: float = 4.0
    cutoff: float = 10.0
    contact_distance: float = 4.5
    ca_contact_distance: float = 8.0
    between_chains: BetweenChains = "native"

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            within = _LENGTHS if name in ("sigma", "cutoff", "contact_distance", "ca_contact_distance") else _STRENGTHS
            if name != "between_chains" and (problem := within.problem(value)) is not None:
                raise InputError(f"Gō parameter '{name}' {problem}")
        if self.between_chains not in get_args(BetweenChains):  # it was True or False once
            known = ", ".join(get_args(BetweenChains))
            raise InputError(f"Gō parameter 'between_chains' is one of {known}, found {self.between_chains!r}")


def go_from_structure(
    file: Path, parameters: GoParameters | None = None, name: str = "", reading: Reading = AS_IT_IS
) -> tuple[ForceField, tuple[str, ...]]:
    """The Gō force field of the first model in a PDB, mmCIF or GRO file, and notes for people.

    Args:
        file: the native structure, all atoms or CA only.
        parameters: default: the published ones, epsilon 1 kcal/mol.
        name: of the molecule; default: the file's name.
        reading: what to do where the file asks for a choice; without a model, the first is native.

    Raises:
        InputError: see `read_structure` and `build_go`.
    """
    models = read_content(file).models
    native = replace(reading, model=models[0].number) if reading.model is None else reading
    structure = read_structure(file, reading=native)
    system, positions, notes = map_to_ca(structure, name=name)
    heavy = None if structure.ca_only else structure.heavy_atoms()
    if len(models) > 1:
        other = " (--model chooses another)" if reading.model is None else ""
        notes = (*notes, f"model {native.model} of {len(models)} is the native structure{other}")
    if heavy is None and parameters is not None and parameters.contact_distance != GoParameters().contact_distance:
        notes = (
            *notes,
            f"the structure has CA atoms alone: contacts are CA within {parameters.ca_contact_distance:g} Å, and the "
            f"distance of heavy atoms, {parameters.contact_distance:g} Å, does not act",
        )
    chains = np.array([r.molecule for r in structure.residues])
    forcefield = build_go(system, positions[0], heavy, parameters, {"structure": file.name}, chains)
    return forcefield, (*notes, *_about_chains(system, forcefield, chains))


def _about_chains(system: System, forcefield: ForceField, chains: IntArray) -> list[str]:
    """Which contacts are between which chains."""
    if chains[-1] == 0:
        return []
    i, j = forcefield.terms[3].keys.T
    pairs = np.stack([chains[i], chains[j]], axis=1)[chains[i] != chains[j]]
    pairs, counts = np.unique(np.sort(pairs, axis=1), axis=0, return_counts=True)
    ids = [system.chain_ids[int(np.flatnonzero(chains == c)[0])] for c in range(chains[-1] + 1)]
    names = ids if len(set(ids)) == len(ids) else [f"{c + 1} ({chain})" for c, chain in enumerate(ids)]
    listed = [f"{names[a]}-{names[b]} {n}" for (a, b), n in zip(pairs, counts, strict=True)]
    shown = ", ".join(listed[:12]) + (f", and {len(listed) - 12} more pairs of chains" if len(listed) > 12 else "")
    symmetry = forcefield.provenance.get("symmetric_contacts", "")
    return [
        f"{chains[-1] + 1} chains; {int(counts.sum())} of {len(i)} contacts are between chains"
        + (f": {shown}" if listed else "")
        + (f"; {symmetry}" if symmetry else "")
    ]


def build_go(
    system: System,
    native: FloatArray,
    heavy_atoms: Sequence[FloatArray] | None = None,
    parameters: GoParameters | None = None,
    provenance: Mapping[str, Any] | None = None,
    chains: IntArray | None = None,
) -> ForceField:
    """The structure-based force field of one CA molecule (equation and constants: see the module).

    Args:
        system: one bead per residue, bonds between neighbors in the chain.
        native: [N, 3] Å, the native structure; becomes the start frame of the force field's system.
        heavy_atoms: for each residue its heavy atoms [atoms, 3] in Å, from which contacts follow; None: from CA
            distances.
        parameters: default: the published ones, epsilon 1 kcal/mol.
        provenance: more to record.
        chains: [N] number of the chain of each residue; None: residues that bonds join are one chain.

    Raises:
        InputError: shapes that do not fit, a system that is not a CA chain, no native contact.
    """
    p = parameters or GoParameters()
    native = np.asarray(native, np.float64)
    if native.shape != (system.n_beads, 3) or not np.isfinite(native).all():
        raise InputError(
            f"the native structure of '{system.name}' must be [{system.n_beads}, 3] finite numbers, "
            f"found shape {list(native.shape)}"
        )
    what = other_unit(system, native[None]) or in_one_place(system, native[None])
    if what is not None:
        raise InputError(f"the native structure of '{system.name}': {what.partition(': ')[2]}")
    bonds, angles, dihedrals = chain_terms(system)
    contacts = native_contacts(system, native, heavy_atoms, p, chains)
    r0 = distances(native, contacts)
    provenance = dict(provenance or {})
    native_count = len(contacts)
    if p.between_chains == "symmetric":
        more = symmetric_contacts(system, contacts, r0, _chains_of(system) if chains is None else chains)
        contacts, r0 = _sorted(np.concatenate([contacts, more.pairs]), np.concatenate([r0, more.r0]))
        provenance["symmetric_contacts"] = (
            f"{len(more.r0)} follow by symmetry: {more.swapped} as within a chain, {len(more.r0) - more.swapped} as at "
            "another interface"
        )
    if not len(contacts):
        raise InputError(
            f"system '{system.name}' has no native contacts, so there is nothing to fold to: its {system.n_beads} "
            "residues are too few or too extended"
        )
    types = tuple(
        BeadType(name, index, float(system.masses[system.types.index(name)]))
        for index, name in enumerate(sorted(set(system.types)))
    )
    pairs = np.stack(np.triu_indices(len(types)), axis=1)
    terms = (
        Term("bonds", "harmonic_bond", "beads", bonds, _harmonic(p.bond * p.epsilon, distances(native, bonds))),
        Term("angles", "harmonic_angle", "beads", angles, _harmonic(p.angle * p.epsilon, bond_angles(native, angles))),
        Term("dihedrals", "fourier_dihedral", "beads", dihedrals, _torsion(p, torsions(native, dihedrals))),
        Term("contacts", "contact_12_10", "beads", contacts,
             {"epsilon": np.full(len(contacts), p.epsilon), "r0": r0}),
        Term("excluded_volume", "excluded_volume", "neighbors", pairs,
             {"epsilon": np.full(len(pairs), p.epsilon), "sigma": np.full(len(pairs), p.sigma)},
             cutoff=p.cutoff, exclude_bonds=BONDED_RANGE, exclude_terms=("contacts",)),
    )  # fmt: skip
    return ForceField(
        name=f"go-{system.name}",
        bead_types=types,
        mapping="ca",
        terms=terms,
        systems=((system, native[None].copy()),),
        provenance={
            "model": "structure-based CA model of Clementi, Nymeyer & Onuchic, J. Mol. Biol. 298, 937 (2000)",
            **provenance,
            "contact_map": f"CA atoms within {p.ca_contact_distance:g} angstrom" if heavy_atoms is None
            else f"heavy atoms within {p.contact_distance:g} angstrom",
            "native_contacts": native_count,
            "epsilon": f"{p.epsilon:g} kcal/mol",
        },
    )  # fmt: skip


def chain_terms(system: System) -> tuple[IntArray, IntArray, IntArray]:
    """The bonds [., 2], angles [., 3] and dihedrals [., 4] along the chains of a CA system.

    Raises:
        InputError: a bond between beads that are not neighbors in the list.
    """
    first = np.unique(system.bonds[:, 0])
    if len(first) != len(system.bonds) or (system.bonds[:, 1] != system.bonds[:, 0] + 1).any():
        raise InputError(
            f"system '{system.name}' is not a set of CA chains: a Gō model needs one bead per residue and bonds "
            "between consecutive residues only"
        )
    bonded = np.zeros(system.n_beads + BONDED_RANGE, bool)
    bonded[first] = True
    terms = []
    for order in (2, 3, 4):
        starts = np.flatnonzero(np.all([bonded[k : system.n_beads + k] for k in range(order - 1)], axis=0))
        terms.append(starts[:, None] + np.arange(order))
    return terms[0], terms[1], terms[2]


def native_contacts(
    system: System,
    native: FloatArray,
    heavy_atoms: Sequence[FloatArray] | None = None,
    parameters: GoParameters | None = None,
    chains: IntArray | None = None,
) -> IntArray:
    """[C, 2] pairs of residues i < j in contact in the native structure, sorted; the rule is the module's.

    Arguments as for `build_go`.
    """
    from scipy.spatial import cKDTree

    p = parameters or GoParameters()
    if heavy_atoms is None:
        near = cKDTree(native).query_pairs(p.ca_contact_distance, output_type="ndarray")
    else:
        if len(heavy_atoms) != system.n_beads:
            raise InputError(f"{system.n_beads} residues, but heavy atoms of {len(heavy_atoms)}")
        owner = np.repeat(np.arange(system.n_beads), [len(atoms) for atoms in heavy_atoms])
        tree = cKDTree(np.concatenate(heavy_atoms))
        near = owner[tree.query_pairs(p.contact_distance, output_type="ndarray")]
    near = np.unique(np.sort(near.reshape(-1, 2), axis=1), axis=0).astype(np.int64)
    chain = _chains_of(system)
    i, j = near.T
    found: IntArray = near[(chain[i] != chain[j]) | (j - i > BONDED_RANGE)]
    if p.between_chains == "none":
        chain = chain if chains is None else chains
        found = found[chain[found[:, 0]] == chain[found[:, 1]]]
    return found


def _chains_of(system: System) -> IntArray:
    """[N] number of each residue's chain, as bonds have it, from 1."""
    starts = np.setdiff1d(np.arange(system.n_beads), system.bonds[:, 1])
    return np.searchsorted(starts, np.arange(system.n_beads), side="right")


def _sorted(pairs: IntArray, r0: FloatArray) -> tuple[IntArray, FloatArray]:
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    return pairs[order], r0[order]


def _harmonic(k: float, x0: FloatArray) -> dict[str, FloatArray]:
    return {"k": np.full(len(x0), k), "x0": x0}


def _torsion(p: GoParameters, phi0: FloatArray) -> dict[str, FloatArray]:
    """k_1 [1 - cos(phi - phi0)] + k_3 [1 - cos 3(phi - phi0)] as a Fourier series of degree 3."""
    k = p.epsilon * np.array([p.dihedral_1, 0.0, p.dihedral_3])
    angle = phi0[:, None] * np.arange(1, 4)  # [M, 3]
    return {"v0": np.full(len(phi0), k.sum()), "k1": -k * np.sin(angle), "k2": -k * np.cos(angle)}
