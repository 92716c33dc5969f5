"""Compiled neighbor lists of one replica: half lists (j > i) in CSR form, rows sorted.

Sorted rows are what makes a list's history invisible: a pair beyond the cutoff contributes nothing, the others are
summed in the order (i, j), so forces have the same bits whenever the list was built and whatever its skin.

Two ways to build, same result: all pairs, or cells of edge >= reach (Allen & Tildesley, "Computer Simulation of
Liquids", ch. 5) from a few hundred beads on, where that becomes the faster one.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np

from mdflash.compiled.arrays import integers, numbers, vectors
from mdflash.compiled.jit import njit, prange
from mdflash.core.types import FloatArray, IntArray

CELLS_FROM = 400
"""Beads from which cells pay."""

SHARES: Final = 64
"""Ranges of beads whose rows are found by one thread among others."""


@njit(cache=True, error_model="numpy")
def nearest_image(d: float, edge: float) -> float:
    """A displacement component by the minimum-image rule; edge 0 means no box."""
    if edge > 0.0:
        image: float = d - edge * np.floor(d * (1.0 / edge) + 0.5)  # the quotient stays the same over a loop
        return image
    return d


@njit(cache=True, error_model="numpy")
def squared_distance(
    a: FloatArray,  # [3] Å
    b: FloatArray,  # [3] Å
    box: FloatArray,  # [3] edges in Å, 0 for no box
) -> float:
    """Squared nearest-image distance of two positions, Å²."""
    dx = nearest_image(b[0] - a[0], box[0])
    dy = nearest_image(b[1] - a[1], box[1])
    dz = nearest_image(b[2] - a[2], box[2])
    return dx * dx + dy * dy + dz * dz


@njit(cache=True)
def _is_excluded(
    exclusion_start: IntArray,  # [N + 1]
    exclusion: IntArray,  # [E]
    i: int,
    j: int,
) -> bool:
    for e in range(exclusion_start[i], exclusion_start[i + 1]):
        if exclusion[e] == j:
            return True
    return False


@njit(cache=True, error_model="numpy")
def _by_all_pairs(
    x: FloatArray,  # [N, 3] Å
    reach: float,
    box: FloatArray,  # [3] edges in Å, 0 for no box
    exclusion_start: IntArray,  # [N + 1]
    exclusion: IntArray,  # [E]
    start: IntArray,  # [N + 1] out
    neighbor: IntArray,  # [capacity] out
) -> int:
    count = 0
    reach2 = reach * reach
    for i in range(x.shape[0]):
        start[i] = count
        for j in range(i + 1, x.shape[0]):
            if squared_distance(x[i], x[j], box) < reach2 and not _is_excluded(exclusion_start, exclusion, i, j):
                if count < neighbor.shape[0]:
                    neighbor[count] = j
                count += 1
    start[x.shape[0]] = count
    return count


@njit(cache=True, error_model="numpy")
def _cell_of(
    x: FloatArray,  # [N, 3] Å
    i: int,
    low: FloatArray,  # [3] Å
    width: FloatArray,  # [3] Å
    cells: IntArray,  # [3]
    box: FloatArray,  # [3] edges in Å, 0 for no box
) -> int:
    index = 0
    for k in range(3):
        u = x[i, k]
        if box[k] > 0.0:
            u -= box[k] * math.floor(u / box[k])
        c = int((u - low[k]) / width[k])
        index = index * cells[k] + min(max(c, 0), cells[k] - 1)
    return index


class _Cells(NamedTuple):
    """Beads and their positions, cell by cell; ascending within a cell."""

    shape: IntArray  # [3] cells along each axis
    of: IntArray  # [N] the cell of each bead
    first: IntArray  # [cells + 1] where its members begin
    member: IntArray  # [N]
    y: FloatArray  # [N, 3]


@njit(cache=True, error_model="numpy")
def _sort_into_cells(
    x: FloatArray,  # [N, 3] Å
    reach: float,
    box: FloatArray,  # [3] edges in Å, 0 for no box
) -> _Cells:
    n = x.shape[0]
    low, width, cells = numbers(3), numbers(3), integers(3)
    # a bead that flew away must not ask for a universe of cells
    most = max(1, int(math.ceil((8.0 * n) ** (1.0 / 3.0))))
    for k in range(3):
        extent = box[k]
        if not extent > 0.0:
            low[k] = high = x[0, k]
            for i in range(n):
                if x[i, k] < low[k]:
                    low[k] = x[i, k]
                if x[i, k] > high:
                    high = x[i, k]
            extent = high - low[k] + 1e-6
        cells[k] = min(max(int(extent / reach), 1), most)
        width[k] = extent / cells[k]

    cell, first = integers(n), integers(cells[0] * cells[1] * cells[2] + 1)
    for i in range(n):
        cell[i] = _cell_of(x, i, low, width, cells, box)
        first[cell[i] + 1] += 1
    for c in range(1, first.shape[0]):
        first[c] += first[c - 1]
    cursor = first[:-1].copy()
    member, y = integers(n), vectors(n)
    for i in range(n):  # ascending, so that each cell's members are sorted
        member[cursor[cell[i]]] = i
        for k in range(3):
            y[cursor[cell[i]], k] = x[i, k]
        cursor[cell[i]] += 1
    return _Cells(cells, cell, first, member, y)


@njit(cache=True)
def _first_from(
    member: IntArray,  # ascending from low to high
    low: int,
    high: int,
    bead: int,
) -> int:
    """Where the members that are not below `bead` begin."""
    while low < high:
        middle = (low + high) // 2
        if member[middle] < bead:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True, error_model="numpy")
def _find_rows(
    cells: _Cells,
    x: FloatArray,  # [N, 3] Å
    reach: float,
    box: FloatArray,  # [3] edges in Å, 0 for no box
    exclusion_start: IntArray,  # [N + 1]
    exclusion: IntArray,  # [E]
    begin: int,
    end: int,
    start: IntArray,  # [N + 1] out
    neighbor: IntArray,  # [capacity] out
) -> int:
    """The rows of the beads begin:end, from neighbor[0] on, with start[begin] = 0; returns how many pairs they have.

    What does not fit into `neighbor` is not written.
    """
    shape, first, member, y = cells.shape, cells.first, cells.member, cells.y
    cursor = first[:-1].copy()  # the first member of each cell that is greater than i
    for c in range(cursor.shape[0]):
        cursor[c] = _first_from(member, first[c], first[c + 1], begin)
    near = np.empty(x.shape[0], np.int64)
    count = 0
    reach2 = reach * reach
    for i in range(begin, end):
        start[i] = count
        found = 0
        cell = cells.of[i]
        cursor[cell] += 1
        c2 = cell % shape[2]
        c1 = (cell // shape[2]) % shape[1]
        c0 = cell // (shape[2] * shape[1])
        for a in range(-1, 2):
            for b in range(-1, 2):
                for c in range(-1, 2):
                    d0, ok0 = _neighbor_cell(c0, a, shape[0], box[0])
                    d1, ok1 = _neighbor_cell(c1, b, shape[1], box[1])
                    d2, ok2 = _neighbor_cell(c2, c, shape[2], box[2])
                    if not (ok0 and ok1 and ok2):
                        continue
                    other = (d0 * shape[1] + d1) * shape[2] + d2
                    for m in range(cursor[other], first[other + 1]):
                        near[found] = member[m]
                        found += squared_distance(x[i], y[m], box) < reach2  # a branch could not be predicted
        near[:found].sort()
        for m in range(found):
            if not _is_excluded(exclusion_start, exclusion, i, near[m]):
                if count < neighbor.shape[0]:
                    neighbor[count] = near[m]
                count += 1
    return count


@njit(cache=True, error_model="numpy")
def _by_cells(
    x: FloatArray,  # [N, 3] Å
    reach: float,
    box: FloatArray,  # [3] edges in Å, 0 for no box
    exclusion_start: IntArray,  # [N + 1]
    exclusion: IntArray,  # [E]
    start: IntArray,  # [N + 1] out
    neighbor: IntArray,  # [capacity] out
) -> int:
    n = x.shape[0]
    cells = _sort_into_cells(x, reach, box)
    count = _find_rows(cells, x, reach, box, exclusion_start, exclusion, 0, n, start, neighbor)
    start[n] = count
    return count


@njit(cache=True)
def _neighbor_cell(c: int, offset: int, cells: int, edge: float) -> tuple[int, bool]:
    """The cell beside c, and whether to visit it (each one once: with 1 or 2 cells, neighbors coincide)."""
    d = c + offset
    if edge > 0.0:
        if cells == 1:
            return 0, offset == 0
        if cells == 2:
            return (d + 2) % 2, offset != -1
        return (d + cells) % cells, True
    return d, 0 <= d < cells


@njit(cache=True, error_model="numpy")
def build_half_list(
    x: FloatArray,
    reach: float,
    box: FloatArray,
    exclusion_start: IntArray,
    exclusion: IntArray,
    start: IntArray,
    neighbor: IntArray,
) -> int:
    """Fill start [N + 1] and neighbor [capacity]; returns how many pairs there are.

    More pairs than capacity: the surplus is not written, and the caller repeats with more room.

    Args:
        x: [N, 3] Å.
        reach: cutoff + skin, Å.
        box: [3] edges in Å, 0 for no box.
        exclusion_start, exclusion: CSR of pairs (i, j > i) to leave out.
    """
    if x.shape[0] < CELLS_FROM:
        return _by_all_pairs(x, reach, box, exclusion_start, exclusion, start, neighbor)
    return _by_cells(x, reach, box, exclusion_start, exclusion, start, neighbor)


@njit(cache=True)
def room_for(count: int) -> IntArray:
    """An array for a list of `count` entries, with some room to grow."""
    return np.empty(count + count // 4 + 64, np.int64)


@njit(cache=True)
def rebuild(
    x: FloatArray,  # [N, 3] Å
    reach: float,
    box: FloatArray,  # [3] edges in Å, 0 for no box
    exclusion_start: IntArray,  # [N + 1]
    exclusion: IntArray,  # [E]
    start: IntArray,  # [N + 1] out
    neighbor: IntArray,  # [capacity] out
) -> IntArray:
    """`build_half_list`, with more room if needed; returns the array that holds the list."""
    count = build_half_list(x, reach, box, exclusion_start, exclusion, start, neighbor)
    if count > neighbor.shape[0]:
        neighbor = room_for(count)
        build_half_list(x, reach, box, exclusion_start, exclusion, start, neighbor)
    return neighbor


@njit(cache=True, parallel={"prange": True, "numpy": False}, error_model="numpy")
def _find_shares(
    cells: _Cells,
    x: FloatArray,  # [N, 3] Å
    reach: float,
    box: FloatArray,  # [3] edges in Å, 0 for no box
    exclusion_start: IntArray,  # [N + 1]
    exclusion: IntArray,  # [E]
    start: IntArray,  # [N + 1] out
    neighbor: IntArray,  # [capacity] out
    at: IntArray,  # [SHARES + 1]
    count: IntArray,  # [SHARES] out
) -> None:
    """The rows of each share from neighbor[at[share]] on, where they may reach to the next one's; and their number."""
    n = x.shape[0]
    for share in prange(SHARES):
        begin, end = n * share // SHARES, n * (share + 1) // SHARES
        room = neighbor[at[share] : at[share + 1]]
        count[share] = _find_rows(cells, x, reach, box, exclusion_start, exclusion, begin, end, start, room)


@njit(cache=True, error_model="numpy")
def rebuild_together(
    x: FloatArray,  # [N, 3] Å
    reach: float,
    box: FloatArray,  # [3] edges in Å, 0 for no box
    exclusion_start: IntArray,  # [N + 1]
    exclusion: IntArray,  # [E]
    start: IntArray,  # [N + 1] out
    neighbor: IntArray,  # [capacity] out
) -> IntArray:
    """`rebuild` by all threads; the same list.

    Where rows will come to lie is guessed from the list that was there. Where there was none, or the guess is wrong,
    the search has counted the pairs, and is done again.
    """
    n = x.shape[0]
    if n < CELLS_FROM:
        return rebuild(x, reach, box, exclusion_start, exclusion, start, neighbor)
    cells = _sort_into_cells(x, reach, box)
    at, count = integers(SHARES + 1), integers(SHARES)
    for share in range(1, SHARES + 1):
        guess = start[n * share // SHARES] * neighbor.shape[0] // max(start[n], 1)
        at[share] = min(max(guess, at[share - 1]), neighbor.shape[0])
    _find_shares(cells, x, reach, box, exclusion_start, exclusion, start, neighbor, at, count)
    needed, fits = 0, True
    for share in range(SHARES):  # (number by number: what NumPy does with whole arrays takes longest to compile)
        needed += count[share]
        fits &= count[share] <= at[share + 1] - at[share]
    if not fits:
        if needed > neighbor.shape[0]:
            neighbor = room_for(needed)
        for share in range(SHARES):
            at[share + 1] = at[share] + count[share]
        _find_shares(cells, x, reach, box, exclusion_start, exclusion, start, neighbor, at, count)
    total = 0
    for share in range(SHARES):
        for i in range(n * share // SHARES, n * (share + 1) // SHARES):
            start[i] += total
        for p in range(at[share], at[share] + count[share]):  # to the left, over what was copied before
            neighbor[total] = neighbor[p]
            total += 1
    start[n] = total
    return neighbor


@njit(cache=True, error_model="numpy")
def moved_too_far(
    x: FloatArray,  # [N, 3] Å
    x_at_build: FloatArray,  # [N, 3] Å
    skin: float,
) -> bool:
    """Whether any bead has moved more than half the skin since the list was built (or is not finite)."""
    limit = 0.25 * skin * skin
    for i in range(x.shape[0]):
        dx = x[i, 0] - x_at_build[i, 0]
        dy = x[i, 1] - x_at_build[i, 1]
        dz = x[i, 2] - x_at_build[i, 2]
        if not dx * dx + dy * dy + dz * dz <= limit:
            return True
    return False


@njit(cache=True)
def remember(x: FloatArray, x_at_build: FloatArray) -> None:
    """Note in x_at_build [N, 3] the positions that a list was built from.

    (`x_at_build[:] = x` would bring along what numba words its error with: 36 functions.)
    """
    for i in range(x.shape[0]):
        for k in range(3):
            x_at_build[i, k] = x[i, k]
