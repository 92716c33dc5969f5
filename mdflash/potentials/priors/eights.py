"""Neighbor-list terms eight pairs at a time: one bead with eight consecutive ones.

A search is over the beads of a molecule on which its terms act (charged ones, say), up to their cutoff; those beads are
its members, and are numbered anew. What the functions of the forms read of a pair is laid out by the type of the one
bead and the types of the eight, so that eight numbers are read as one vector. Equal eights share their numbers: copies
of a chain cost no room.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mdflash.compiled.arrays import release
from mdflash.compiled.jit import njit
from mdflash.compiled.lanes import any_lane, first_bits, fma, where
from mdflash.compiled.simd import load, splat, store, total
from mdflash.core.types import FloatArray, Int32Array, IntArray
from mdflash.neighbors.boxes import EIGHT, aligned, nearest_images, place
from mdflash.neighbors.eights import build_eights, columns_of
from mdflash.potentials import forms

COLUMNS: Final = 6
"""Most numbers of a pair that a form reads."""
REMEMBERED: Final = 1 << 15
"""From so many entries on, those whose pairs are all beyond the cutoff are evaluated like others, and add exactly
nothing. Of a shorter list, a processor remembers from step to step which they are; of a longer one it guesses, and a
wrong guess costs as much as an entry (measured: benchmarks/README.md)."""


class Eights(NamedTuple):
    """The searches of all systems, and the terms that act on what they find.

    Attributes:
        search: [systems + 1] system s owns the searches search[s]:search[s + 1].
        cutoff: [S] Å.
        first: [S + 1] where the members of each search begin; plus its number, in `exclusion_start`.
        member: [members] int32 bead of the molecule, ascending.
        type: [members] int32 row in the tables.
        exclusion_start: [members + S] CSR rows of the pairs (i, j > i) of members that do not interact, absolute.
        exclusion: [E] the j of each.
        eight: [eights of all searches] int32 which of its search's different eights it is.
        eight_first: [S + 1] where the eights of each search begin.
        kinds: [S] how many different eights there are.
        term: [S + 1] search k serves the terms term[k]:term[k + 1].
        code: [terms] int8, the form.
        width: [terms] numbers of a pair.
        table: [terms] where its numbers begin, in `numbers`.
        numbers: of each term [types, kinds, width, 8], flat.
    """

    search: IntArray
    cutoff: FloatArray
    first: IntArray
    member: Int32Array
    type: Int32Array
    exclusion_start: IntArray
    exclusion: IntArray
    eight: Int32Array
    eight_first: IntArray
    kinds: IntArray
    term: IntArray
    code: npt.NDArray[np.int8]
    width: IntArray
    table: IntArray
    numbers: FloatArray


@njit(cache=True, error_model="numpy")
def find_eights(
    eights: Eights | None,
    system: int,
    skin: float,
    box: FloatArray,
    x: FloatArray,
    start: IntArray,
    neighbor: IntArray,
    count: int,
) -> int:
    """Append the lists of one system to neighbor[:count]; returns for how many entries there must be room.

    Args:
        skin: Å.
        box: [3] edges in Å, 0 for no box.
        x: [N, 3] Å.
        start: [M + 1] rows for each search, one after the other; absolute.
        neighbor: [capacity].
    """
    if eights is None:
        return count
    row = 0
    for k in range(eights.search[system], eights.search[system + 1]):
        begin, end = eights.first[k], eights.first[k + 1]
        rows = start[row : row + end - begin + 1]
        found = build_eights(
            x, eights.member[begin:end], eights.cutoff[k] + skin, box,
            eights.exclusion_start[begin + k : end + k + 1], eights.exclusion,
            rows, neighbor[min(count, neighbor.shape[0]) :],
        )  # fmt: skip
        for m in range(rows.shape[0]):
            rows[m] += count
        count += found
        row += rows.shape[0]
    return count


@njit(cache=True, borrow=True, error_model="numpy")
def _add_term(
    eights: Eights,
    k: int,
    t: int,
    box: FloatArray,  # [3] edges in Å, 0 for no box
    start: IntArray,  # [M + 1]
    neighbor: IntArray,  # [P]
    y: FloatArray,  # [eights, 3, 8] Å, flat
    g: FloatArray,  # [2, eights, 3, 8] kcal/mol/Å, flat
) -> float:
    """Add the forces of term t of search k to g, on second beads and on first ones; returns its energy.

    The two are kept apart: a lane that was just written cannot be read as part of a vector without waiting for it.
    """
    code, n = eights.code[t], y.shape[0]
    cutoff2 = eights.cutoff[k] * eights.cutoff[k]
    edge_x, edge_y, edge_z = box[0], box[1], box[2]
    numbers, size = eights.numbers[eights.table[t] :], eights.width[t] * EIGHT
    type_, eight = eights.type[eights.first[k] :], eights.eight[eights.eight_first[k] :]
    nothing = splat(load(y, 0), 0.0)
    energy = nothing
    skips = start[-1] - start[0] < REMEMBERED
    for i in range(start.shape[0] - 1):
        row = type_[i] * eights.kinds[k] * size
        own = place(i)
        xi, yi, zi = y[own], y[own + EIGHT], y[own + 2 * EIGHT]
        own_x, own_y, own_z = nothing, nothing, nothing
        for q in range(start[i], start[i + 1]):
            entry = neighbor[q]
            b = entry >> 8
            j = 3 * b * EIGHT
            dx = nearest_images(load(y, j) - xi, edge_x)
            dy = nearest_images(load(y, j + EIGHT) - yi, edge_y)
            dz = nearest_images(load(y, j + 2 * EIGHT) - zi, edge_z)
            r2 = fma(dx, dx, fma(dy, dy, dz * dz))
            near = (r2 < cutoff2) & first_bits(r2, entry)
            if skips & (not any_lane(near)):
                continue
            at = row + eight[b] * size
            p = (
                load(numbers, at),
                load(numbers, at + EIGHT),
                load(numbers, at + 2 * EIGHT),
                load(numbers, at + 3 * EIGHT),
                load(numbers, at + 4 * EIGHT),
                load(numbers, at + 5 * EIGHT),
            )  # what the form does not read costs nothing
            u, pull = forms.pair(code, r2, p, eights.cutoff[k])
            energy = energy + where(near, u, 0.0)  # (vectors know no +=)
            pull = where(near, pull, 0.0)
            dx, dy, dz = pull * dx, pull * dy, pull * dz
            own_x, own_y, own_z = own_x + dx, own_y + dy, own_z + dz
            store(g, j, load(g, j) - dx)
            store(g, j + EIGHT, load(g, j + EIGHT) - dy)
            store(g, j + 2 * EIGHT, load(g, j + 2 * EIGHT) - dz)
        g[n + own] += total(own_x)
        g[n + own + EIGHT] += total(own_y)
        g[n + own + 2 * EIGHT] += total(own_z)
    return total(energy)


@njit(cache=True, borrow=True, error_model="numpy")
def add_eights(
    eights: Eights | None,
    system: int,
    box: FloatArray,  # [3] edges in Å, 0 for no box
    start: IntArray,  # of `find_eights`
    neighbor: IntArray,  # of `find_eights`
    x: FloatArray,  # [N, 3] Å
    f: FloatArray,  # [N, 3] kcal/mol/Å
) -> float:
    """Add the forces of one replica's terms to f [N, 3]; returns their energy in kcal/mol."""
    if eights is None:
        return 0.0
    energy = 0.0
    row = 0
    for k in range(eights.search[system], eights.search[system + 1]):
        begin, end = eights.first[k], eights.first[k + 1]
        y = columns_of(x, eights.member[begin:end])
        size = y.shape[0]
        g = aligned(2 * size)
        rows = start[row : row + end - begin + 1]
        for t in range(eights.term[k], eights.term[k + 1]):
            energy += _add_term(eights, k, t, box, rows, neighbor, y, g)
        for m in range(begin, end):
            for c in range(3):
                at = place(m - begin) + c * EIGHT
                f[eights.member[m], c] += g[at] + g[size + at]
        release(y)
        release(g)
        row += end - begin + 1
    return energy
