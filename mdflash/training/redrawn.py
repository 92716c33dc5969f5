"""How uncertain weighted frames are: weighed again and again, from blocks of their trajectories drawn anew.

Each trajectory is cut into `BLOCKS` equal stretches (of one frame, where there are fewer), and as many of them are
drawn with replacement (B. Efron, Ann. Stat. 7, 1 (1979)). So frames need not be independent; what is slower than a
stretch is not seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mdflash.core.types import FloatArray, IntArray
from mdflash.units import kT

BLOCKS = 8
"""Of each trajectory."""
TIMES = 24
"""That frames are drawn anew."""
MOST = 20_000
"""Frames that are weighed again, at most."""


@dataclass(frozen=True, eq=False)
class Redrawn:
    """Some frames with their weights in each draw.

    Attributes:
        frames: [P] which.
        weights: [draws, P], of sum 1 in each draw.
    """

    frames: IntArray
    weights: FloatArray

    def error(self, values: FloatArray, edges: FloatArray, kelvin: float) -> FloatArray:
        """[bins] standard error of the free energy along a variable, kcal/mol; infinite where it is not known.

        Draws are shifted to each other by the populations, as an error against another free energy is.

        Args:
            values: [P] of the variable.
            edges: [bins + 1].
            kelvin: the temperature.
        """
        p = np.stack([np.histogram(values, edges, weights=w)[0] for w in self.weights])
        with np.errstate(divide="ignore", invalid="ignore"):
            f = -kT(kelvin) * np.log(p)
            known = np.isfinite(f).all(axis=0)  # a bin that some draw leaves empty says nothing of the others
            f, mean = np.where(known, f, 0.0), np.where(known, p.mean(axis=0), 0.0)
            f -= (f * mean).sum(axis=1, keepdims=True) / mean.sum()
            return np.asarray(np.where(known, f.std(axis=0, ddof=1), np.inf))


def block_counts(source: IntArray, draw: int) -> FloatArray:
    """[P] how often each frame counts in a draw.

    Args:
        source: [P] number of each frame's trajectory, in which frames are in the order of time.
        draw: number of the draw, which decides it.
    """
    rng = np.random.default_rng([len(source), draw])
    counts = np.zeros(len(source))
    for k in np.unique(source):
        own = np.flatnonzero(source == k)
        blocks = min(BLOCKS, len(own))  # none is empty, so that no trajectory is left without a frame
        mine = np.array_split(own, blocks)
        for b in rng.integers(blocks, size=blocks):
            counts[mine[b]] += 1.0
    return counts
