"""Whether positions are in Å, by how far apart bonded beads are."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from mdflash.core.geometry import distances
from mdflash.core.system import System
from mdflash.core.types import FloatArray

_CA, _ATOMS = 3.8, 1.4
"""Å; bonds of CA beads of two residues, and of backbone atoms."""
_BACKBONE = frozenset(("N", "CA", "CB", "C", "O"))
_NEAREST = 0.5
"""Å; no bond of whatever beads is shorter."""
_SCALES = (
    (0.1, "as if they were in nm; multiply them by 10"),
    (10.0, "as if they had been taken from nm to Å twice; divide them by 10"),
    (100.0, "as if they were in pm; divide them by 100"),
    (1e-10, "as if they were in m; multiply them by 1e10"),
)


def other_unit(system: System, positions: npt.NDArray[np.floating]) -> str | None:
    """What is wrong with the unit of positions [F, N, 3], as a sentence with the cure; None where they may be in Å.

    It is judged by the median bond of each frame, so that some stretched bonds do not matter.
    """
    for name, usual, bonds in _bonds(system):
        for begin in range(0, len(positions), 1000):
            lengths: FloatArray = np.median(
                distances(positions[begin : begin + 1000].astype(np.float64), bonds), axis=1
            )
            for factor, what in _SCALES:
                if usual is None and factor > 1:
                    continue
                low, high = (0.0, _NEAREST) if usual is None else (usual * factor / 2, usual * factor * 2)
                found = np.flatnonzero((lengths > low) & (lengths < high))
                if len(found):
                    k = int(found[0])
                    often = "" if usual is None else f", where {usual:g} Å is usual"
                    return (
                        f"frame {begin + k}: {name} are {lengths[k]:.2g} Å apart{often}; positions are in Å, and these "
                        f"look {what}"
                    )
    return None


def _bonds(system: System) -> Iterator[tuple[str, float | None, npt.NDArray[np.int64]]]:
    """Kinds of bonds with a usual length, in Å, and their beads; else all of them."""
    if not len(system.bonds):
        return
    names, (i, j) = np.array(system.bead_names), system.bonds.T
    residues = system.residue_index[system.bonds]
    ca = (names[i] == "CA") & (names[j] == "CA") & (residues[:, 0] != residues[:, 1])
    atoms = np.isin(names[i], list(_BACKBONE)) & np.isin(names[j], list(_BACKBONE)) & ~ca
    if ca.any():
        yield "bonded CA", _CA, system.bonds[ca]
    elif atoms.any():
        yield "bonded atoms", _ATOMS, system.bonds[atoms]
    else:
        yield "bonded beads", None, system.bonds
