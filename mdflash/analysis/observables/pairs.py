"""Distances of all pairs of residues: distance and contact maps, scaling exponent, hydrodynamic radius."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mdflash.analysis.measures import CONTACT, SCALING_RANGE, hydrodynamic_radius, scaling_exponent
from mdflash.analysis.molecule import Molecule
from mdflash.analysis.observables.base import Profile
from mdflash.core.geometry import distances
from mdflash.core.types import FloatArray, IntArray

FEWEST_RESIDUES = 20
"""A shorter chain has no scaling exponent."""
MOST_RESIDUES = 400
"""A longer molecule is looked at through every second residue, or fewer."""


def traces(m: Molecule) -> IntArray:
    """[C, n] the beads of each molecule that is averaged over: in a box of many, the chains of the first kind."""
    if not m.many:
        return m.trace[None]
    beads = m.species[0].beads
    return beads[:, np.isin(beads[0], m.trace)]


def rows(m: Molecule) -> IntArray:
    """The residues of the maps."""
    n = traces(m).shape[1]
    return np.arange(0, n, -(-n // MOST_RESIDUES))


def _parts(m: Molecule) -> Any:
    chains = traces(m)[:, rows(m)]
    if chains.shape[1] < 3:
        return None
    pairs = np.stack(np.triu_indices(chains.shape[1], 1), axis=1)

    def of_one(x: FloatArray) -> dict[str, FloatArray]:
        r = distances(x, pairs)
        return {
            "distance": r.sum(axis=0),
            "square": np.einsum("fp,fp->p", r, r),
            "inverse": (1.0 / r).sum(axis=0),
            "contact": (r < CONTACT).sum(axis=0).astype(np.float64),
        }

    def sums(x: FloatArray) -> dict[str, FloatArray]:
        each = [of_one(np.ascontiguousarray(x[:, beads])) for beads in chains]
        return {key: np.sum([one[key] for one in each], axis=0) / len(each) for key in each[0]}

    return sums


def _result(m: Molecule, means: Mapping[str, FloatArray]) -> dict[str, Any]:
    at = rows(m)
    n = len(at)
    i, j = np.triu_indices(n, 1)

    def square(values: FloatArray) -> FloatArray:
        full = np.zeros((n, n))
        full[i, j] = full[j, i] = values
        return full

    found: dict[str, Any] = {
        "residues": at,
        "distance_map": square(means["distance"]),
        "contact_map": square(means["contact"]),
        "rh": hydrodynamic_radius(float(means["inverse"].mean()), n),
    }
    if (m.many or len(m.chains) == 1) and n == traces(m).shape[1] and n >= FEWEST_RESIDUES:
        separation = np.arange(1, n, dtype=np.float64)
        distance = np.sqrt([means["square"][j - i == s].mean() for s in range(1, n)])
        nu, r0 = scaling_exponent(separation, distance)
        found |= {"separation": separation, "scaling": distance, "nu": nu, "r0": r0}
    return found


PAIRS = Profile(
    "pairs",
    "distances of pairs of residues",
    _parts,
    _result,
    lambda m: len(traces(m)) * len(rows(m)) ** 2 // 2,
    source=(
        f"contacts: pairs nearer than {CONTACT:g} Å; nu and R0: least squares of R0 |i-j|^nu to sqrt(<R_ij²>) for "
        f"|i-j| > {SCALING_RANGE}; Rh: Kirkwood's 1/[(1-1/N) <1/r_ij>]"
    ),
)
