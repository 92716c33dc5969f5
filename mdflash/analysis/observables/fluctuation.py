"""Root mean square fluctuation of every residue about the mean structure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mdflash.analysis.measures import superpose
from mdflash.analysis.molecule import Molecule
from mdflash.analysis.observables.base import Profile
from mdflash.core.types import FloatArray


def _parts(m: Molecule) -> Any:
    target = m.reference if m.reference is not None else m.start
    if target is None or len(m.trace) < 4 or m.many:
        return None
    beads = m.trace

    def sums(x: FloatArray) -> dict[str, FloatArray]:
        y = superpose(x[:, beads], target[beads])
        return {"position": y.sum(axis=0), "square": np.einsum("fnx,fnx->n", y, y)}

    return sums


def _result(m: Molecule, means: Mapping[str, FloatArray]) -> dict[str, Any]:
    variance = means["square"] - (means["position"] ** 2).sum(axis=1)
    return {"rmsf": np.sqrt(np.maximum(variance, 0.0)), "mean_structure": means["position"]}


FLUCTUATION = Profile(
    "fluctuation",
    "fluctuation of residues",
    _parts,
    _result,
    lambda m: 30 * len(m.trace),
    source="RMSF about the mean structure after superposition on the reference (or the start)",
)
