"""Collective variables: what biases act on. Plain torch here; `cpu.py` holds the compiled twins.

| kind               | value                                                          | unit |
|--------------------|----------------------------------------------------------------|------|
| distance           | between two beads, or centres of mass of groups                | Å    |
| angle              | at the second of three                                         | rad  |
| dihedral           | of four, MDTraj's sign                                         | rad  |
| position           | sqrt(sum_i |x_i - ref_i|^2), nothing moved or turned           | Å    |
| rmsd               | sqrt(sum_i |x_i - R ref_i|^2 / n) after optimal superposition  | Å    |
| radius_of_gyration | sqrt(sum_i m_i |x_i - c|^2 / sum_i m_i)                        | Å    |
| native_contacts    | Q = mean over contacts of 1 / (1 + exp(beta (r - lambda r0)))  |      |
| energy             | of one listed term of the force field                    | kcal/mol |

Q: Best, Hummer & Eaton, PNAS 110, 17874 (2013). A harmonic bias on `position` with center 0 holds each of its beads at
its own reference point. A linear bias on `energy` scales the term: with force constant s - 1 it counts s times.

Positions are taken as they are: molecules are never wrapped, so within one that bonds hold together no periodic box
matters. What lies between molecules would need images, and is refused with a box (`check_images`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mdflash.core.system import FloatArray, IntArray, System
from mdflash.errors import InputError
from mdflash.potentials.priors import geometry
from mdflash.potentials.priors.term import PriorTerm

Kind = Literal["distance", "angle", "dihedral", "position", "rmsd", "radius_of_gyration", "native_contacts", "energy"]

GROUPS: Final[Mapping[Kind, int]] = MappingProxyType({"distance": 2, "angle": 3, "dihedral": 4})
"""How many beads (or groups of beads) a variable takes; the others take one set."""

UNITS: Final[Mapping[Kind, str]] = MappingProxyType(
    {
        "distance": "A", "angle": "rad", "dihedral": "rad", "position": "A", "rmsd": "A", "radius_of_gyration": "A",
        "native_contacts": "", "energy": "term_kcal_mol",
    }
)  # fmt: skip
"""The unit of each variable's value, as columns name it."""


def _no_reference() -> FloatArray:
    return np.zeros((0, 3))


@dataclass(frozen=True, eq=False)
class Variable:
    """One collective variable of one molecule; make it with the functions below.

    Attributes:
        kind: see the module.
        groups: bead indices of each group; a set is one group, and contacts are one group of pairs, flattened.
        weights: of each bead in its group's centre, adding up to 1; of contacts, r0 in Å of each bead's contact.
        reference: [M, 3] Å, of position and rmsd.
        beta, stretch: of contacts, 1/Å and lambda.
        term: of energy, and the number of the molecule among those that it knows.
    """

    kind: Kind
    groups: tuple[IntArray, ...]
    weights: tuple[FloatArray, ...]
    reference: FloatArray = field(default_factory=_no_reference)
    beta: float = 0.0
    stretch: float = 0.0
    term: tuple[PriorTerm, int] | None = None

    @property
    def periodic(self) -> bool:
        """Whether values 2 pi apart are the same."""
        return self.kind == "dihedral"

    @cached_property
    def digest(self) -> str:
        """SHA-256 over everything that changes a value, hexadecimal."""
        h = hashlib.sha256(f"{self.kind} {self.beta!r} {self.stretch!r}".encode())
        for array in (*self.groups, *self.weights, self.reference):
            h.update(f"{array.shape}".encode() + array.tobytes())
        if self.term is not None:
            term, system = self.term
            index, parameters = term.tables[system]
            h.update(term.form.name.encode() + index.tobytes() + term.form.rows(parameters).tobytes())
        return h.hexdigest()

    def value(self, x: Tensor) -> Tensor:
        """The variable at x [n, N, 3] in Å: [n], differentiable."""
        if self.kind == "energy":
            assert self.term is not None
            term, system = self.term
            return term.energies(system, x)
        beads = torch.from_numpy(self.groups[0])
        if self.kind == "position":
            away = x[:, beads] - torch.from_numpy(self.reference).to(x)
            return _norm(away.flatten(1))
        if self.kind == "rmsd":
            return _rmsd(x[:, beads], torch.from_numpy(self.reference).to(x))
        if self.kind == "radius_of_gyration":
            weight = torch.from_numpy(self.weights[0]).to(x)[:, None]
            away = x[:, beads] - (weight * x[:, beads]).sum(1, keepdim=True)
            return _norm((weight.sqrt() * away).flatten(1))
        if self.kind == "native_contacts":
            r0 = torch.from_numpy(self.weights[0][::2]).to(x)
            r = geometry.distance(x, beads.reshape(-1, 2))
            return torch.sigmoid(-self.beta * (r - self.stretch * r0)).mean(dim=1)
        centers = torch.stack([self._center(x, k) for k in range(len(self.groups))], dim=1)  # [n, groups, 3]
        coordinate = geometry.COORDINATES[self.kind]
        return coordinate(centers, torch.arange(len(self.groups))[None])[:, 0]

    def _center(self, x: Tensor, k: int) -> Tensor:
        weight = torch.from_numpy(self.weights[k]).to(x)[:, None]
        return (weight * x[:, torch.from_numpy(self.groups[k])]).sum(dim=1)


def _norm(v: Tensor) -> Tensor:
    """|v| over the last axis; with gradient 0, not NaN, at 0."""
    norm: Tensor = torch.linalg.vector_norm(v, dim=-1)
    return norm


def _rmsd(x: Tensor, reference: Tensor) -> Tensor:
    """Of x [n, M, 3] from a centred reference [M, 3]. Kabsch, Acta Cryst. A 34, 827 (1978).

    At the optimum the rotation's own change does not change the value, so no gradient goes through it.
    """
    x = x - x.mean(dim=1, keepdim=True)
    with torch.no_grad():
        u, _, vt = torch.linalg.svd(torch.einsum("ma,nmb->nab", reference, x))
        flip = torch.ones(len(x), 1, 3).to(x)
        flip[:, 0, 2] = torch.sign(torch.linalg.det(u @ vt))  # a rotation, not a mirror
        turn = (u * flip) @ vt  # [n, 3, 3]
    away: Tensor = x - reference @ turn
    return _norm(away.flatten(1) / len(reference) ** 0.5)


Beads = int | Sequence[int] | IntArray
"""A bead, or a group of beads, by index within the molecule."""


def _group(system: System, beads: Beads) -> IntArray:
    found = np.atleast_1d(np.asarray(beads, np.int64))
    if not len(found):
        raise InputError(f"a group of beads of system '{system.name}' is empty")
    if found.min() < 0 or found.max() >= system.n_beads:
        bad = found.max() if found.min() >= 0 else found.min()
        raise InputError(f"bead {bad} is not in system '{system.name}'; its beads are 0 to {system.n_beads - 1}")
    if len(set(found.tolist())) < len(found):
        raise InputError(f"a group of beads of system '{system.name}' names a bead twice: {found.tolist()}")
    return found


def _shares(system: System, beads: IntArray) -> FloatArray:
    """[M] each bead's share of the mass."""
    masses = system.masses[beads]
    return np.asarray(masses / masses.sum())


def _of_centers(kind: Kind, system: System, groups: Sequence[Beads]) -> Variable:
    found = tuple(_group(system, g) for g in groups)
    return Variable(kind, found, tuple(_shares(system, g) for g in found))


def distance(system: System, a: Beads, b: Beads) -> Variable:
    """Between two beads, or the centres of mass of two groups.

    Raises:
        InputError: as of all variables, a bead the molecule does not have, an empty group.
    """
    return _of_centers("distance", system, (a, b))


def angle(system: System, a: Beads, b: Beads, c: Beads) -> Variable:
    """At b, in [0, pi]; beads or centres of mass of groups."""
    return _of_centers("angle", system, (a, b, c))


def dihedral(system: System, a: Beads, b: Beads, c: Beads, d: Beads) -> Variable:
    """Torsion about b-c, in (-pi, pi]; beads or centres of mass of groups."""
    return _of_centers("dihedral", system, (a, b, c, d))


def _points(beads: IntArray, reference: npt.ArrayLike) -> FloatArray:
    points = np.asarray(reference, np.float64)
    if points.shape != (len(beads), 3) or not np.isfinite(points).all():
        raise InputError(f"the reference must be [{len(beads)}, 3] finite numbers in Å, found {list(points.shape)}")
    return points


def position(system: System, beads: Beads, reference: npt.ArrayLike) -> Variable:
    """How far beads are from fixed points [M, 3] in Å, all together."""
    group = _group(system, beads)
    return Variable("position", (group,), (np.ones(len(group)),), _points(group, reference))


def rmsd(system: System, beads: Beads, reference: npt.ArrayLike) -> Variable:
    """From a structure [M, 3] in Å of three or more beads, superposed; beads count equally."""
    group = _group(system, beads)
    if len(group) < 3:
        raise InputError(f"an rmsd takes three or more beads, found {len(group)}")
    points = _points(group, reference)
    return Variable("rmsd", (group,), (np.full(len(group), 1.0 / len(group)),), points - points.mean(axis=0))


def radius_of_gyration(system: System, beads: Beads) -> Variable:
    """About the centre of mass, weighted by mass."""
    group = _group(system, beads)
    return Variable("radius_of_gyration", (group,), (_shares(system, group),))


def native_contacts(system: System, contacts: npt.ArrayLike, r0: npt.ArrayLike, beta: float = 5.0,
                    stretch: float = 1.2) -> Variable:  # fmt: skip
    """The fraction of native contacts Q.

    Args:
        system: the molecule.
        contacts: [C, 2] pairs of beads.
        r0: [C] their native distances, Å.
        beta: steepness, 1/Å.
        stretch: lambda; 1.2 suits models with one bead per residue, 1.8 all atoms.
    """
    pairs = np.asarray(contacts, np.int64).reshape(-1, 2)
    native = np.asarray(r0, np.float64)
    if not len(pairs) or native.shape != (len(pairs),) or not (native > 0).all():
        raise InputError(
            f"native contacts need one r0 > 0 for each pair, found {len(pairs)} pairs and {native.size} r0"
        )
    for pair in pairs:
        _group(system, pair)
    return Variable(
        "native_contacts", (pairs.ravel(),), (np.repeat(native, 2),), beta=float(beta), stretch=float(stretch)
    )


def energy(system: System, term: PriorTerm, number: int = 0) -> Variable:
    """The energy of a listed term.

    Args:
        system: the molecule.
        term: knows it as its system `number`.
        number: see `term`.
    """
    beads = np.arange(system.n_beads)
    return Variable("energy", (beads,), (np.zeros(len(beads)),), term=(term, number))


def check_images(variable: Variable, system: System) -> None:
    """Refuse a variable that lies between molecules, for use with a periodic box.

    Raises:
        InputError: no chain of bonds connects two of its beads.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if variable.kind in ("position", "energy"):  # which no image changes; whose term has no images either
        return
    graph = coo_array((np.ones(len(system.bonds)), tuple(system.bonds.T)), shape=(system.n_beads,) * 2)
    molecule = connected_components(graph, directed=False)[1]
    beads = np.concatenate(variable.groups)
    apart = beads[molecule[beads] != molecule[beads[0]]]
    if len(apart):
        one, other = (system.bead_label(int(bead)) for bead in (beads[0], apart[0]))
        raise InputError(
            f"with a periodic box, a bias acts within one molecule, but no bonds connect {one} and {other}; "
            "choose beads of one molecule, or write `box: none`"
        )


def contacts_of(system: System, beads: Beads, structure: npt.ArrayLike, cutoff: float, separation: int) -> IntArray:
    """[C, 2] pairs of `beads` nearer than `cutoff` (Å) in a structure [N, 3], in residues more than `separation` apart.

    Residues of different chains are always far apart.
    """
    x = np.asarray(structure, np.float64)
    group = np.sort(_group(system, beads))
    i, j = (group[k] for k in np.triu_indices(len(group), k=1))
    residue = system.residue_index
    chain = np.array(system.chain_ids)
    apart = (np.abs(residue[j] - residue[i]) > separation) | (chain[residue[i]] != chain[residue[j]])
    near = np.linalg.norm(x[j] - x[i], axis=1) < cutoff
    return np.asarray(np.stack([i, j], axis=1)[apart & near])
