"""Half lists of eights: each entry is a bead and eight consecutive ones, with a bit for each that is a neighbor.

A vector holds eight numbers, and bead j always stands in lane j modulo 8, whatever the list. A lane whose bit is not
set, or whose pair is beyond the cutoff, adds exactly nothing; so sums over lanes have the same bits whenever the list
was built and whatever its skin, as sums over the sorted rows of `neighbors.cpu` do.
"""

from __future__ import annotations

import numpy as np

from mdflash.compiled.jit import njit
from mdflash.compiled.lanes import bits_of, fma
from mdflash.compiled.simd import load
from mdflash.core.types import FloatArray, Int32Array, IntArray
from mdflash.neighbors.boxes import EIGHT, aligned, make_boxes, near_eights, near_windows, nearest_images, place


@njit(cache=True, error_model="numpy")
def columns_of(
    x: FloatArray,  # [N, 3] Å
    member: Int32Array,  # [M] beads
) -> FloatArray:
    """[eights, 3, 8] flat: the coordinates of some beads, those of an eight together."""
    m = member.shape[0]
    size = (m + EIGHT - 1) // EIGHT * EIGHT
    y = aligned(3 * size)
    for k in range(m):
        for c in range(3):
            y[place(k) + c * EIGHT] = x[member[k], c]
    return y


@njit(cache=True)
def _leave_out(
    beads: IntArray,
    row: IntArray,  # entries, in and out
) -> int:
    """Take the bits of these beads out of a row; returns how many entries are left without any, and are gone."""
    for bead in beads:
        for q in range(row.shape[0]):
            if row[q] >> 8 == bead >> 3:
                row[q] &= ~(np.int64(1) << (bead & 7))
                break
    kept = 0
    for entry in row:
        row[kept] = entry
        kept += (entry & 255) != 0
    gone: int = row.shape[0] - kept
    return gone


@njit(cache=True, error_model="numpy")
def build_eights(
    x: FloatArray,
    member: Int32Array,
    reach: float,
    box: FloatArray,
    exclusion_start: IntArray,
    exclusion: IntArray,
    start: IntArray,
    neighbor: IntArray,
) -> int:
    """Fill start [M + 1] and neighbor [capacity]; returns how many entries there are.

    More than capacity: that much room is enough, and the caller repeats with it.

    Args:
        x: [N, 3] Å.
        member: [M] the beads to search among; they are numbered anew.
        reach: cutoff + skin, Å.
        box: [3] edges in Å, 0 for no box.
        exclusion_start, exclusion: CSR of pairs (i, j > i) to leave out.
    """
    reach *= 1.0 + 1e-12  # a square that is rounded otherwise must not lose a pair
    y, m = columns_of(x, member), member.shape[0]
    edge_x, edge_y, edge_z = box[0], box[1], box[2]
    reach2 = reach * reach
    boxes = make_boxes(y, m, reach)
    windows, near = np.empty(boxes.cuts.shape[0], np.int64), np.empty(boxes.cut.shape[0] + EIGHT, np.int64)
    count = many = found = 0
    for i in range(m):
        if i & 63 == 0:
            many = near_windows(boxes, i >> 6, reach2, box, windows)
        if i & 7 == 0:
            found = near_eights(boxes, i >> 3, windows[:many], reach2, box, near)
        start[i] = count
        at = place(i)
        xi, yi, zi = y[at], y[at + EIGHT], y[at + 2 * EIGHT]
        later = -(np.int64(2) << (i & 7))  # the lanes of i's own eight that are behind it
        for k in range(found):
            b = near[k]
            dx = nearest_images(load(y, 3 * b * EIGHT) - xi, edge_x)
            dy = nearest_images(load(y, (3 * b + 1) * EIGHT) - yi, edge_y)
            dz = nearest_images(load(y, (3 * b + 2) * EIGHT) - zi, edge_z)
            bits = bits_of(fma(dx, dx, fma(dy, dy, dz * dz)) < reach2) & later
            later = np.int64(-1)
            if (b + 1) * EIGHT > m:
                bits &= (np.int64(1) << (m & 7)) - 1
            if count < neighbor.shape[0]:
                neighbor[count] = (b << 8) | bits
            count += bits != 0  # a branch could not be predicted
        if exclusion_start[i] < exclusion_start[i + 1] and count <= neighbor.shape[0]:
            row = neighbor[start[i] : count]
            count -= _leave_out(exclusion[exclusion_start[i] : exclusion_start[i + 1]], row)
    start[m] = count
    return count
