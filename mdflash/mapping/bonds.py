"""Which atoms are bonded: by the names of atoms and residues, by distance for disulfides, and by the file."""

from __future__ import annotations

from collections.abc import Sequence, Set
from itertools import groupby

import numpy as np

from mdflash.core.types import FloatArray, IntArray
from mdflash.mapping.chains import PEPTIDE_BOND, Residue


def find_bonds(
    residues: Sequence[Residue], x: FloatArray, listed: Sequence[tuple[int, int]], thiols: Set[int]
) -> IntArray:
    """[bonds, 2] rows of bonded atoms other than hydrogen, each row ascending.

    Args:
        residues: with caps.
        x: [atoms, 3] Å.
        listed: rows that the file lists as bonded; those that no bond could span are passed over.
        thiols: sulfur atoms that hold a hydrogen, so that no disulfide begins there.
    """
    from mdtraj import Topology
    from mdtraj.core.element import carbon

    topology = Topology()
    row: list[int] = []
    for _, chain in groupby(residues, key=lambda r: r.chain_index):
        stretch = topology.add_chain()
        for r in chain:
            residue = topology.add_residue(r.name, stretch, r.number)
            for name, k in r.atoms.items():
                topology.add_atom(name, carbon, residue)
                row.append(k)
                if k in thiols:
                    topology.add_atom("HG", carbon, residue)
                    row.append(k)  # its place matters to nobody
    topology.create_standard_bonds()
    topology.create_disulfide_bonds(x[row] / 10.0)
    rows = [(row[a.index], row[b.index]) for a, b in topology.bonds if "HG" not in (a.name, b.name)]
    known, own = set(map(_ascending, rows)), set(row)
    for i, j in listed:
        if i in own and j in own and _ascending((i, j)) not in known and np.linalg.norm(x[i] - x[j]) <= PEPTIDE_BOND:
            rows.append((i, j))
    return np.array([_ascending(pair) for pair in rows], np.int64).reshape(-1, 2)


def _ascending(pair: tuple[int, int]) -> tuple[int, int]:
    return min(pair), max(pair)
