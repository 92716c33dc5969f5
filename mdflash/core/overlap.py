"""Whether two beads of a molecule lie in one place, where no force between them has a direction."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from mdflash.core.system import System
from mdflash.core.types import FloatArray

NEAREST: Final = 0.01
"""Å; no thermal motion brings two beads this near."""
_FEW = 64
"""Beads up to which all pairs are looked at."""


def in_one_place(system: System, positions: npt.NDArray[np.floating]) -> str | None:
    """The first two beads in one place in positions [F, N, 3] in Å, as a sentence; None where there are none."""
    for frame, x in enumerate(positions):
        if (pair := nearest_pair(np.asarray(x, np.float64))) is not None:
            return f"frame {frame}: {pair_sentence(system, pair, x)}"
    return None


def pair_sentence(system: System, pair: tuple[int, int], x: npt.NDArray[np.floating]) -> str:
    """Two beads and how near they are at x [N, 3]."""
    i, j = pair
    apart = float(np.linalg.norm(np.asarray(x[j], np.float64) - x[i]))
    near = "in one place" if apart == 0.0 else f"{apart:.2g} Å apart"
    return f"{system.bead_label(i)} and {system.bead_label(j)} are {near}"


def nearest_pair(x: FloatArray) -> tuple[int, int] | None:
    """Two beads of [N, 3] nearer than `NEAREST`, those of the lowest numbers."""
    if len(x) <= _FEW:
        i, j = np.triu_indices(len(x), 1)
        with np.errstate(over="ignore"):  # beads that far apart are not near
            near = np.flatnonzero(((x[i] - x[j]) ** 2).sum(axis=1) < NEAREST**2)
        return (int(i[near[0]]), int(j[near[0]])) if len(near) else None
    from scipy.spatial import cKDTree

    pairs = cKDTree(x).query_pairs(NEAREST, output_type="ndarray")
    return None if not len(pairs) else tuple(sorted(map(int, min(pairs.tolist()))))  # type: ignore[return-value]
