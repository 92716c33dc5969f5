"""Half lists of eights: each entry is a bead and eight consecutive ones, with a bit for each that is a neighbor.

A vector holds eight numbers, and bead j always stands in lane j modulo 8, whatever the list. A lane whose bit is not
set, or whose pair is beyond the cutoff, adds exactly nothing; so sums over lanes have the same bits whenever the list
was built and whatever its skin, as sums over the sorted rows of `neighbors.cpu` do.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from mdflash.compiled.jit import njit
from mdflash.compiled.lanes import Real, floor
from mdflash.core.types import FloatArray, IntArray
from mdflash.neighbors.cpu import build_half_list

EIGHT: Final = 8


@njit(cache=True)
def _gather(
    start: IntArray,  # [M + 1] in and out
    neighbor: IntArray,  # [P] in and out
) -> int:
    """Make a half list one of eights, in its place: entry = (eight << 8) + bits; returns how many there are."""
    written = 0
    for i in range(start.shape[0] - 1):
        begin, end = start[i], start[i + 1]
        start[i] = written
        at = np.int64(-1)
        for p in range(begin, end):
            j = neighbor[p]
            if j >> 3 != at:
                at = j >> 3
                neighbor[written] = at << 8  # never beyond what was read
                written += 1
            neighbor[written - 1] |= np.int64(1) << (j & 7)
    start[start.shape[0] - 1] = written
    return written


@njit(cache=True, error_model="numpy")
def build_eights(
    y: FloatArray,
    reach: float,
    box: FloatArray,
    exclusion_start: IntArray,
    exclusion: IntArray,
    start: IntArray,
    neighbor: IntArray,
) -> int:
    """Fill start [M + 1] and neighbor [capacity]; returns how many entries there are.

    More than capacity: that much room is needed to build the list, and nothing of it is of use.

    Args:
        y: [M, 3] Å.
        reach: cutoff + skin, Å.
        box: [3] edges in Å, 0 for no box.
        exclusion_start, exclusion: CSR of pairs (i, j > i) to leave out.
    """
    count = build_half_list(y, reach, box, exclusion_start, exclusion, start, neighbor)
    return count if count > neighbor.shape[0] else _gather(start, neighbor)


@njit(cache=True, error_model="numpy")
def nearest_images(d: Real, edge: float) -> Real:
    """`neighbors.cpu.nearest_image` of a number or a vector."""
    if edge > 0.0:
        return d - edge * floor(d * (1.0 / edge) + 0.5)
    return d
