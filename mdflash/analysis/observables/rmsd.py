"""Root mean square deviation from the start and from a reference, of the beads that stand for residues."""

from __future__ import annotations

import numpy as np

from mdflash.analysis.measures import rmsd
from mdflash.analysis.molecule import Molecule
from mdflash.analysis.observables.base import Observable, Values
from mdflash.core.types import FloatArray


def _from(m: Molecule, structure: FloatArray | None) -> Values | None:
    if structure is None or len(m.trace) < 4:
        return None
    rows, target = m.trace, structure[m.trace]
    return lambda x: rmsd(x[:, rows], target)


def _from_start(m: Molecule) -> Values | None:
    """Nothing new where the start is the reference; nothing of use where molecules move apart."""
    if m.many:
        return None
    if m.start is not None and m.reference is not None and np.allclose(m.start, m.reference, atol=1e-3):
        return None
    return _from(m, m.start)


RMSD = Observable(
    "rmsd",
    "RMSD from the reference",
    "Å",
    lambda m: _from(m, m.reference),
    source="RMSD after the best superposition, one bead of each residue",
)

RMSD_START = Observable(
    "rmsd_start",
    "RMSD from the start",
    "Å",
    _from_start,
    source="RMSD after the best superposition on the structure that the run started from, one bead of each residue",
)
