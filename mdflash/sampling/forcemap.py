"""From atom forces to bead forces, where bonds are constrained.

A bead that lies on one atom feels a linear combination of atom forces, f_I = Σ_a W_Ia f_a. With constraints, W must
treat all atoms of a constrained group alike (the engine's forces lack those of the constraints, which cancel only in
the sum), be 1 on the bead's own group and 0 on the groups of other beads; the weights of the other groups are free.

basic      other groups get 0: the bead feels its own group (its atom and the hydrogens on it)
optimised  other groups get the weights of the least mean square force: the same mean force, with less noise
           (A. Krämer, A. E. P. Durumeric et al., J. Phys. Chem. Lett. 14, 3970 (2023))
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mdflash.core.types import FloatArray, IntArray
from mdflash.errors import InputError
from mdflash.mapping.beads import BeadMap

REGULARIZATION = 0.005
"""Weights pay this fraction of the mean square group force, which keeps a short pilot from being fitted too well."""


def constrained_groups(n_atoms: int, constraints: IntArray) -> IntArray:
    """[atoms] number of the group of each atom: atoms connected by constraints form one, others are alone."""
    parent = list(range(n_atoms))

    def root(atom: int) -> int:
        while parent[atom] != atom:
            atom = parent[atom]
        return atom

    for i, j in constraints.tolist():
        parent[root(i)] = root(j)
    return np.unique([root(atom) for atom in range(n_atoms)], return_inverse=True)[1].astype(np.int64)


def basic_map(beads: BeadMap, groups: IntArray) -> FloatArray:
    """W [N, atoms] in which each bead feels the forces on its own group.

    Raises:
        InputError: a bead of several atoms, or two beads in one group.
    """
    atoms = beads.atoms
    if atoms is None:
        bead = int(np.argmax((beads.weights > 0).sum(axis=1) > 1))
        raise InputError(
            f"{beads.system.bead_label(bead)} represents {int((beads.weights[bead] > 0).sum())} atoms; "
            "forces are mapped for beads that lie on one atom each: name one atom per bead in the mapping"
        )
    own = groups[atoms]
    for bead in range(len(own)):
        if own[bead] in own[:bead]:
            other = int(np.argmax(own == own[bead]))
            raise InputError(
                f"{beads.system.bead_label(other)} and {beads.system.bead_label(bead)} are connected by constrained "
                "bonds, so their forces cannot be separated; leave hydrogens out of the mapping"
            )
    weights: FloatArray = (own[:, None] == groups[None, :]).astype(np.float64)
    return weights


def optimised_map(beads: BeadMap, groups: IntArray, forces: Sequence[FloatArray] | FloatArray) -> FloatArray:
    """W [N, atoms] of least mean square bead force.

    Args:
        beads: where the beads lie.
        groups: from `constrained_groups`.
        forces: [F, atoms, 3] in kcal/mol/Å, of a pilot run.
    """
    basic_map(beads, groups)  # refuses what cannot be mapped
    atom_forces = np.asarray(forces)
    n_groups = int(groups.max()) + 1
    of_group = (np.arange(n_groups)[:, None] == groups[None, :]).astype(np.float64)  # [groups, atoms]
    f = np.einsum("ga,fax->fgx", of_group, atom_forces)
    covariance = np.einsum("fgx,fhx->gh", f, f) / len(f)
    covariance += REGULARIZATION * np.trace(covariance) / n_groups * np.eye(n_groups)
    assert beads.atoms is not None  # basic_map refuses
    own = groups[beads.atoms]
    free = np.setdiff1d(np.arange(n_groups), own)
    weights = np.zeros((len(own), n_groups))
    weights[np.arange(len(own)), own] = 1.0
    if len(free):
        weights[:, free] = -np.linalg.solve(covariance[np.ix_(free, free)], covariance[np.ix_(free, own)]).T
    per_atom: FloatArray = weights @ of_group
    return per_atom
