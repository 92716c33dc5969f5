"""Which beads the bonded terms of a force field act on, read off the bonds of a molecule."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np

from mdflash.core.system import System
from mdflash.core.types import IntArray


def from_bonds(n_beads: int, bonds: IntArray) -> dict[str, IntArray]:
    """Bonds, angles, dihedrals and impropers of a bonded network of beads.

    Args:
        n_beads: how many beads there are.
        bonds: [M, 2].

    Returns:
        "bonds" [M, 2];
        "angles" [M, 3], the middle bead second, the first bead before the third;
        "dihedrals" [M, 4] along three bonds, second bead before the third;
        "impropers" [M, 4]: the three neighbors, in order, of a bead that has exactly three, and that bead last:
        their torsion distinguishes the two hands of a center. Tables without rows are left out.
    """
    near: list[list[int]] = [[] for _ in range(n_beads)]
    for i, j in bonds.tolist():
        near[i].append(j)
        near[j].append(i)
    near = [sorted(beads) for beads in near]
    rows: dict[str, list[tuple[int, ...]]] = {
        "bonds": sorted((min(i, j), max(i, j)) for i, j in bonds.tolist()),
        "angles": [(i, j, k) for j in range(n_beads) for i, k in combinations(near[j], 2)],
        "dihedrals": [
            (i, j, k, m)
            for j in range(n_beads)
            for k in near[j]
            if j < k
            for i in near[j]
            for m in near[k]
            if len({i, j, k, m}) == 4
        ],
        "impropers": [(*near[j], j) for j in range(n_beads) if len(near[j]) == 3],
    }
    return {name: np.array(table, np.int64) for name, table in rows.items() if table}


def with_interactions(system: System) -> System:
    """The system with the lists of `from_bonds` beside those that it has already."""
    found = from_bonds(system.n_beads, system.bonds)
    return replace(system, interactions={**found, **system.interactions})


def pairs_apart(n_beads: int, bonds: IntArray, at_least: int) -> IntArray:
    """[M, 2] every pair of beads that `at_least` bonds or more lie between, sorted; chains are infinitely far apart."""
    step = np.eye(n_beads, dtype=bool)
    step[bonds[:, 0], bonds[:, 1]] = step[bonds[:, 1], bonds[:, 0]] = True
    near = np.eye(n_beads, dtype=bool)
    for _ in range(at_least - 1):
        near = near @ step
    return np.argwhere(np.triu(~near)).astype(np.int64)
