"""Maps of phi and psi, where the beads hold a backbone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mdflash.analysis.against.coordinates import backbone_torsions
from mdflash.analysis.molecule import Molecule
from mdflash.analysis.observables.base import Profile
from mdflash.core.geometry import torsions
from mdflash.core.types import FloatArray

BINS = 36
MOST = 64
"""Residues."""


def _parts(m: Molecule) -> Any:
    found = backbone_torsions(m.system)[:MOST]
    if not found:
        return None
    index = np.concatenate([rows for _, rows in found])

    def sums(x: FloatArray) -> dict[str, FloatArray]:
        angles = torsions(x, index).reshape(len(x), -1, 2)
        bins = ((angles + np.pi) * (BINS / (2.0 * np.pi))).astype(np.int64).clip(0, BINS - 1)
        flat = (np.arange(len(found)) * BINS + bins[:, :, 0]) * BINS + bins[:, :, 1]
        counts = np.bincount(flat.ravel(), minlength=len(found) * BINS * BINS)
        return {"counts": counts.reshape(len(found), BINS, BINS).astype(np.float64)}

    return sums


def _result(m: Molecule, means: Mapping[str, FloatArray]) -> dict[str, Any]:
    labels = [label for label, _ in backbone_torsions(m.system)[:MOST]]
    return {"dihedral_labels": labels, "dihedral_maps": means["counts"]}


DIHEDRALS = Profile(
    "dihedrals",
    "phi and psi",
    _parts,
    _result,
    lambda m: 200 * min(MOST, m.system.n_residues),
    source="phi and psi of every residue whose backbone atoms are beads, IUPAC sign",
)
