"""Half lists of eights: each entry is a bead and eight consecutive ones, with a bit for each that is a neighbor.

A vector holds eight numbers, and bead j always stands in lane j modulo 8, whatever the list. A lane whose bit is not
set, or whose pair is beyond the cutoff, adds exactly nothing; so sums over lanes have the same bits whenever the list
was built and whatever its skin, as sums over the sorted rows of `neighbors.cpu` do.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from mdflash.compiled.jit import njit
from mdflash.compiled.lanes import Real, bits_of, floor, fma
from mdflash.compiled.simd import load
from mdflash.core.types import FloatArray, Int32Array, IntArray
from mdflash.neighbors.cpu import build_half_list

EIGHT: Final = 8

CELLS_FROM: Final = 50_000
"""Beads from which cells pay, which are searched bead by bead: far more than for `neighbors.cpu`."""


@njit(cache=True)
def gather(
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
def nearest_images(d: Real, edge: float) -> Real:
    """`neighbors.cpu.nearest_image` of a number or a vector."""
    if edge > 0.0:
        return d - edge * floor(d * (1.0 / edge) + 0.5)
    return d


@njit(cache=True)
def aligned(count: int) -> FloatArray:
    """[count] zeros that begin where a line of the cache does, so that no vector lies in two."""
    array = np.zeros(count + EIGHT)
    first = -(array.ctypes.data // 8) % EIGHT
    return array[first : first + count]


@njit(cache=True)
def place(k: int) -> int:
    """Where the x of bead k is in arrays [eights, 3, 8], flat."""
    return (k >> 3) * 3 * EIGHT + (k & 7)


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


@njit(cache=True, error_model="numpy")
def _boxes(
    y: FloatArray,  # [eights, 3, 8] Å, flat
    m: int,
) -> FloatArray:
    """[eights, 6] the middle of the box around each eight, and half of its edges, Å."""
    eights = y.shape[0] // (3 * EIGHT)
    boxes = np.empty((eights, 6))
    for b in range(eights):
        for c in range(3):
            low = high = y[place(b * EIGHT) + c * EIGHT]
            for k in range(b * EIGHT + 1, min((b + 1) * EIGHT, m)):
                value = y[place(k) + c * EIGHT]
                low, high = min(low, value), max(high, value)
            boxes[b, c], boxes[b, 3 + c] = 0.5 * (low + high), 0.5 * (high - low)
    return boxes


@njit(cache=True, error_model="numpy")
def _are_near(
    boxes: FloatArray,  # [eights, 6]
    a: int,
    b: int,
    reach2: float,
    box: FloatArray,  # [3] edges in Å, 0 for no box
) -> bool:
    """Whether beads of two eights can be within reach of each other."""
    gap2 = 0.0
    for c in range(3):
        gap = abs(nearest_images(boxes[b, c] - boxes[a, c], box[c])) - boxes[a, 3 + c] - boxes[b, 3 + c]
        gap2 += max(gap, 0.0) * max(gap, 0.0)
    return gap2 < reach2


@njit(cache=True, error_model="numpy")
def _by_all_pairs(
    y: FloatArray,  # [eights, 3, 8] Å, flat
    reach: float,
    box: FloatArray,  # [3] edges in Å, 0 for no box
    exclusion_start: IntArray,  # [M + 1]
    exclusion: IntArray,  # [E]
    start: IntArray,  # [M + 1] out
    neighbor: IntArray,  # [capacity] out
) -> int:
    m, eights = start.shape[0] - 1, y.shape[0] // (3 * EIGHT)
    edge_x, edge_y, edge_z = box[0], box[1], box[2]
    reach2 = reach * reach
    count = found = 0
    boxes, near = _boxes(y, m), np.empty(eights, np.int64)
    for i in range(m):
        if i & 7 == 0:  # the eights that are near to this one
            found = 0
            for b in range(i >> 3, eights):
                near[found] = b
                found += _are_near(boxes, i >> 3, b, reach2, box)  # a branch could not be predicted
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
            if bits == 0:
                continue
            if (b + 1) * EIGHT > m:
                bits &= (np.int64(1) << (m & 7)) - 1
            for e in range(exclusion_start[i], exclusion_start[i + 1]):
                if exclusion[e] >> 3 == b:
                    bits &= ~(np.int64(1) << (exclusion[e] & 7))
            if bits != 0:
                if count < neighbor.shape[0]:
                    neighbor[count] = (b << 8) | bits
                count += 1
    start[m] = count
    return count


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

    More than capacity: that much room is needed to build the list, and nothing of it is of use.

    Args:
        x: [N, 3] Å.
        member: [M] the beads to search among; they are numbered anew.
        reach: cutoff + skin, Å.
        box: [3] edges in Å, 0 for no box.
        exclusion_start, exclusion: CSR of pairs (i, j > i) to leave out.
    """
    reach *= 1.0 + 1e-12  # a square that is rounded otherwise must not lose a pair
    if member.shape[0] < CELLS_FROM:
        return _by_all_pairs(columns_of(x, member), reach, box, exclusion_start, exclusion, start, neighbor)
    y = np.empty((member.shape[0], 3))
    for m in range(member.shape[0]):
        for c in range(3):
            y[m, c] = x[member[m], c]
    count = build_half_list(y, reach, box, exclusion_start, exclusion, start, neighbor)
    return count if count > neighbor.shape[0] else gather(start, neighbor)
