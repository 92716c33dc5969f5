"""Distances of all pairs of residues: distance and contact maps, scaling exponent, hydrodynamic radius."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mdflash.analysis.measures import CONTACT, SCALING_RANGE, hydrodynamic_radius, scaling_exponent
from mdflash.analysis.molecule import Molecule
from mdflash.analysis.observables.base import Profile
from mdflash.core.types import FloatArray, IntArray

FEWEST_RESIDUES = 20
"""A shorter chain has no scaling exponent."""
MOST_RESIDUES = 400
"""A longer molecule is looked at through every second residue, or fewer."""
AT_ONCE = 50_000
"""Beads whose distances are computed at once, over frames: three arrays of them fit in a cache."""


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
    count, n = chains.shape
    if n < 3:
        return None
    i, j = np.triu_indices(n, 1)
    order = np.argsort(np.argsort(j - i, kind="stable"))  # of pairs by separation, where `triu_indices` has each

    def sums(x: FloatArray) -> dict[str, FloatArray]:
        every = np.ascontiguousarray(x[:, chains].reshape(-1, n, 3).transpose(2, 0, 1))
        at_once = max(1, AT_ONCE // n)
        blocks = [_by_separation(every[:, k : k + at_once]) for k in range(0, every.shape[1], at_once)]
        found = np.sum(blocks, axis=0)[:, order] / count
        return dict(zip(("distance", "square", "inverse", "contact"), found, strict=True))

    return sums


def _by_separation(x: FloatArray) -> FloatArray:
    """Sums [4, pairs] over frames of r, r², 1/r and contacts, from [3, F, n], pairs with the nearest residues first.

    Slices of the same separation need no gathering of beads, and fit in the cache: 0.2 s where all pairs at once took
    4.7 s (269 residues, 625 frames).
    """
    found = []
    for k in range(1, x.shape[2]):
        d = x[:, :, k:] - x[:, :, :-k]
        square = (d * d).sum(axis=0)
        r = np.sqrt(square)
        found.append([r.sum(axis=0), square.sum(axis=0), (1.0 / r).sum(axis=0), (r < CONTACT).sum(axis=0)])
    return np.concatenate(found, axis=1)


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
