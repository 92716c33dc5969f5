"""Many molecules as one System: copies, one behind the other, each with chains of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mdflash.core.chain_ids import chain_name
from mdflash.core.system import System
from mdflash.core.types import IntArray


def repeat_rows(rows: IntArray, count: int, step: int, offset: int = 0) -> IntArray:
    """Rows of bead numbers [M, order] for `count` copies that lie `step` beads apart, the first at `offset`."""
    shifts = offset + step * np.arange(count)
    repeated: IntArray = (rows[None] + shifts[:, None, None]).reshape(-1, rows.shape[1])
    return repeated


def join(parts: Sequence[tuple[System, int]], name: str) -> System:
    """`parts`, molecules with how often each is there, as one System.

    Chains are named anew, A, B, ..., 9, AA, AB, ...; residues keep their numbers.
    """
    chains: list[str] = []
    bonds: list[IntArray] = []
    interactions: dict[str, list[IntArray]] = {}
    residue_index: list[IntArray] = []
    beads = residues = n_chains = 0
    for system, count in parts:
        n, index = system.n_beads, system.chain_index
        for copy in range(count):
            chains += [chain_name(n_chains + int(c)) for c in index]
            n_chains += int(index[-1]) + 1
            residue_index.append(system.residue_index + residues + copy * system.n_residues)
        bonds.append(repeat_rows(system.bonds, count, n, beads))
        for key, rows in system.interactions.items():
            interactions.setdefault(key, []).append(repeat_rows(rows, count, n, beads))
        beads += count * n
        residues += count * system.n_residues
    return System(
        name=name,
        types=tuple(t for system, count in parts for t in system.types * count),
        bead_names=tuple(b for system, count in parts for b in system.bead_names * count),
        residue_index=np.concatenate(residue_index),
        residue_names=tuple(r for system, count in parts for r in system.residue_names * count),
        residue_ids=tuple(i for system, count in parts for i in system.residue_ids * count),
        chain_ids=tuple(chains),
        masses=np.concatenate([np.tile(system.masses, count) for system, count in parts]),
        bonds=np.concatenate(bonds),
        interactions={key: np.concatenate(rows) for key, rows in interactions.items()},
        insertion_codes=tuple(
            c for system, count in parts for c in (system.insertion_codes or ("",) * system.n_residues) * count
        ),
    )
