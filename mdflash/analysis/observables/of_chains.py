"""The size of the chains in a box of many: means over all chains of a frame."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mdflash.analysis.measures import end_to_end, radius_of_gyration
from mdflash.analysis.molecule import Molecule
from mdflash.analysis.observables.base import Observable, Values
from mdflash.core.types import FloatArray


def _mean(m: Molecule, of: Callable[[FloatArray, FloatArray], FloatArray]) -> Values | None:
    """The mean of `of` (positions [C, n, 3] and masses [n] of chains -> [C]) over the chains of a frame."""
    if not m.many:
        return None
    kinds = [(s.beads, m.system.masses[s.beads[0]]) for s in m.species]
    chains = sum(len(beads) for beads, _ in kinds)

    def values(x: FloatArray) -> FloatArray:
        total = np.zeros(len(x))
        for beads, masses in kinds:
            own = np.ascontiguousarray(x[:, beads]).reshape(-1, beads.shape[1], 3)
            total += of(own, masses).reshape(len(x), -1).sum(axis=1)
        mean: FloatArray = total / chains
        return mean

    return values


CHAIN_RG = Observable(
    "chain_rg",
    "radius of gyration of a chain",
    "Å",
    lambda m: _mean(m, radius_of_gyration),
    source="radius of gyration of each chain, weighted by mass, mean over chains",
)

CHAIN_ENDS = Observable(
    "chain_end_to_end",
    "end-to-end distance of a chain",
    "Å",
    lambda m: _mean(m, lambda x, masses: end_to_end(x)),
    source="distance of the first and the last residue of each chain, mean over chains",
)
