"""The mean of forces at held beads, its standard error, and whether its two halves agree.

Each half of a run is cut into `BLOCKS` blocks, whose means give the error of the half's mean (H. Flyvbjerg and H. G.
Petersen, J. Chem. Phys. 91, 461 (1989), with one length of blocks). What is slower than a half, such as a side chain
that turned once, is in no block: but then the halves differ by more than these errors. Where they do, the error of a
bead is scaled up by the ratio, as is usual for measurements that contradict each other (Particle Data Group, Phys. Rev.
D 110, 030001 (2024), section 5.2.2). Without anything slow that makes errors some 15 % too large on average.

Whether halves disagree is judged by the differences of successive blocks (J. von Neumann, Ann. Math. Stat. 12, 367
(1941)): a jump within a half is in one of them, while it would widen the spread of all its blocks. What did not turn at
all within a run leaves no sign in it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mdflash.core.types import FloatArray

BLOCKS = 16
"""In each half."""
DISAGREE = 16.0
"""Halves disagree where the square of their difference at a bead is so many times what its error makes likely: four
standard errors. Of 100 runs of 10 beads without anything slow at most one is beyond."""


class MeanForce(NamedTuple):
    """Mean force [N, 3] and its standard error [N, 3] in kcal/mol/Å, and `halves` [N]: the squared difference of the
    means of both halves in units of its expected square, 1 on average where nothing is slow."""

    mean: FloatArray
    error: FloatArray
    halves: FloatArray


def mean_force(forces: FloatArray) -> MeanForce:
    """The mean of forces [K, N, 3] in the order of time, K at least 2 `BLOCKS`."""
    halves = np.array_split(forces, 2)
    blocks = [np.stack([b.mean(axis=0) for b in np.array_split(half, BLOCKS)]) for half in halves]
    spread = sum(b.var(axis=0, ddof=1) for b in blocks) / BLOCKS  # [N, 3], of the difference of the halves
    steps = sum((np.diff(b, axis=0) ** 2).sum(axis=0) for b in blocks) / (2 * BLOCKS * (BLOCKS - 1))
    found = (halves[0].mean(axis=0) - halves[1].mean(axis=0)) ** 2
    scale = np.maximum(_ratio(found, spread), 1.0)
    error = np.sqrt(0.25 * spread * scale[:, None])
    return MeanForce(forces.mean(axis=0), error, _ratio(found, steps))


def _ratio(found: FloatArray, expected: FloatArray) -> FloatArray:
    """[N] of the sums over the components [N, 3] of each bead; 0 where forces never change."""
    total = expected.sum(axis=1)
    ratio: FloatArray = found.sum(axis=1) / np.where(total > 0.0, total, np.inf)
    return ratio
