"""Which eights of beads can be near each other, by the boxes around them.

Eight eights are a window, with a box of its own: eights are looked at only in windows that are near. Boxes are looked
at eight at a time, as one vector. What comes out is ascending, and misses no pair.

Consecutive beads are near each other, but for the places where one chain ends and the next begins. So what lies around
a long step has two boxes, one for the beads on each side of its longest step.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mdflash.compiled.jit import njit
from mdflash.compiled.lanes import Real, bits_of, floor, fma, where
from mdflash.compiled.simd import load, maximum
from mdflash.core.types import FloatArray, IntArray

EIGHT: Final = 8
SIDES: Final = 6
"""Numbers of a box: its middle, and half of its edges."""
LONG: Final = 0.5
"""A step is long beyond this times the reach."""
NOWHERE: Final = -1e300
"""Half an edge of a box that is near nothing."""


class Boxes(NamedTuple):
    """The boxes around some beads.

    Attributes:
        eights: [windows, 2, 6, 8] flat, Å; the second is the box beyond the longest step, where there is one.
        windows: [windows / 8, 2, 6, 8] flat, Å; likewise.
        cut: [eights of all windows] whether an eight has two.
        cuts: [windows] whether any of its eights has two.
    """

    eights: FloatArray
    windows: FloatArray
    cut: npt.NDArray[np.int8]
    cuts: npt.NDArray[np.int8]


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
def _after_longest_step(
    y: FloatArray,  # [eights, 3, 8] Å, flat
    begin: int,
    end: int,
    long2: float,
) -> int:
    """The bead behind the longest step among begin:end; `end` where none is long."""
    found = end
    for k in range(begin + 1, end):
        a, b = place(k - 1), place(k)
        dx, dy, dz = y[b] - y[a], y[b + EIGHT] - y[a + EIGHT], y[b + 2 * EIGHT] - y[a + 2 * EIGHT]
        step2 = dx * dx + dy * dy + dz * dz
        if step2 > long2:
            found, long2 = k, step2
    return found


@njit(cache=True, error_model="numpy")
def _put_box(
    y: FloatArray,  # [eights, 3, 8] Å, flat
    begin: int,
    end: int,
    out: FloatArray,  # [n, 6, 8] flat
    at: int,
) -> None:
    """The box around the beads begin:end in the lane at out[at]."""
    for c in range(3):
        low = high = y[place(begin) + c * EIGHT]
        for k in range(begin + 1, end):
            value = y[place(k) + c * EIGHT]
            low, high = min(low, value), max(high, value)
        out[at + c * EIGHT], out[at + (3 + c) * EIGHT] = 0.5 * (low + high), 0.5 * (high - low)


@njit(cache=True, error_model="numpy")
def make_boxes(
    y: FloatArray,  # [eights, 3, 8] Å, flat
    m: int,
    reach: float,
) -> Boxes:
    """The boxes around m beads, in eights and in windows."""
    many = (m + EIGHT * EIGHT - 1) // (EIGHT * EIGHT)
    eights, windows = aligned(many * 2 * SIDES * EIGHT), aligned((many + EIGHT - 1) // EIGHT * 2 * SIDES * EIGHT)
    cut, cuts = np.zeros(many * EIGHT, np.int8), np.zeros(many, np.int8)
    long2 = (LONG * reach) ** 2
    for at in range(0, windows.shape[0], SIDES * EIGHT):
        for lane in range(EIGHT):
            windows[at + 3 * EIGHT + lane] = NOWHERE
    for w in range(many):
        begin, end = w * EIGHT * EIGHT, min((w + 1) * EIGHT * EIGHT, m)
        middle = _after_longest_step(y, begin, end, long2)
        at = (w >> 3) * 2 * SIDES * EIGHT + (w & 7)
        _put_box(y, begin, middle, windows, at)
        if middle < end:
            _put_box(y, middle, end, windows, at + SIDES * EIGHT)
        first = w * 2 * SIDES * EIGHT
        for lane in range(EIGHT):
            begin = (w * EIGHT + lane) * EIGHT
            end = min(begin + EIGHT, m)
            at = first + lane
            eights[at + 3 * EIGHT] = eights[at + (SIDES + 3) * EIGHT] = NOWHERE
            if begin >= m:
                continue
            middle = _after_longest_step(y, begin, end, long2)
            _put_box(y, begin, middle, eights, at)
            if middle < end:
                _put_box(y, middle, end, eights, at + SIDES * EIGHT)
                cut[w * EIGHT + lane] = cuts[w] = 1
    return Boxes(eights, windows, cut, cuts)


@njit(cache=True, error_model="numpy")
def _near_of_eight(
    e: FloatArray,  # [n, 6, 8] flat, Å; of `Boxes`
    p: int,
    q: int,
    reach2: float,
    edge_x: float,
    edge_y: float,
    edge_z: float,
) -> int:
    """A bit for each of the eight boxes at e[q] that is near the one whose middle is at e[p]."""
    dx = nearest_images(load(e, q) - e[p], edge_x)
    dy = nearest_images(load(e, q + EIGHT) - e[p + EIGHT], edge_y)
    dz = nearest_images(load(e, q + 2 * EIGHT) - e[p + 2 * EIGHT], edge_z)
    dx = maximum(dx, 0.0 - dx) - load(e, q + 3 * EIGHT) - e[p + 3 * EIGHT]
    dy = maximum(dy, 0.0 - dy) - load(e, q + 4 * EIGHT) - e[p + 4 * EIGHT]
    dz = maximum(dz, 0.0 - dz) - load(e, q + 5 * EIGHT) - e[p + 5 * EIGHT]
    dx, dy, dz = where(dx > 0.0, dx, 0.0), where(dy > 0.0, dy, 0.0), where(dz > 0.0, dz, 0.0)
    return bits_of(fma(dx, dx, fma(dy, dy, dz * dz)) < reach2)


@njit(cache=True, error_model="numpy")
def near_windows(
    boxes: Boxes,
    a: int,
    reach2: float,
    box: FloatArray,  # [3] edges in Å, 0 for no box
    found: IntArray,  # [windows] out
) -> int:
    """The windows from a on that can have a bead within reach of one in window a, ascending; returns how many."""
    edge_x, edge_y, edge_z = box[0], box[1], box[2]
    size = SIDES * EIGHT
    first = (a >> 3) * 2 * size
    count = 0
    later = -(np.int64(1) << (a & 7))
    for q in range(first, boxes.windows.shape[0], 2 * size):
        bits = np.int64(0)
        for p in (first + (a & 7), first + (a & 7) + size):
            bits |= _near_of_eight(boxes.windows, p, q, reach2, edge_x, edge_y, edge_z)
            bits |= _near_of_eight(boxes.windows, p, q + size, reach2, edge_x, edge_y, edge_z)
        bits &= later
        later = np.int64(-1)
        for lane in range(EIGHT):
            if bits >> lane & 1:
                found[count] = q // (2 * size) * EIGHT + lane
                count += 1
    return count


@njit(cache=True, error_model="numpy")
def near_eights(
    boxes: Boxes,
    a: int,
    windows: IntArray,  # of `near_windows`
    reach2: float,
    box: FloatArray,  # [3] edges in Å, 0 for no box
    found: IntArray,  # [eights of all windows + 8] out
) -> int:
    """The eights from a on that can have a bead within reach of one in eight a, ascending; returns how many."""
    edge_x, edge_y, edge_z = box[0], box[1], box[2]
    size = SIDES * EIGHT
    p = (a >> 3) * 2 * size + (a & 7)
    count = 0
    later = -(np.int64(1) << (a & 7))  # of a's own window
    for w in windows:
        q = w * 2 * size
        bits = _near_of_eight(boxes.eights, p, q, reach2, edge_x, edge_y, edge_z)
        if boxes.cuts[w]:
            bits |= _near_of_eight(boxes.eights, p, q + size, reach2, edge_x, edge_y, edge_z)
        if boxes.cut[a]:
            bits |= _near_of_eight(boxes.eights, p + size, q, reach2, edge_x, edge_y, edge_z)
            if boxes.cuts[w]:
                bits |= _near_of_eight(boxes.eights, p + size, q + size, reach2, edge_x, edge_y, edge_z)
        bits &= later
        later = np.int64(-1)
        if bits == 0:
            continue
        for lane in range(EIGHT):
            found[count] = w * EIGHT + lane
            count += (bits >> lane) & 1  # a branch could not be predicted
    return count
