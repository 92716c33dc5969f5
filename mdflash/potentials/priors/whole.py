"""The priors of a whole molecule inside a program that owns it: every bead at once, listed terms and near pairs.

What `triton.py` and `triton_pairs.py` do with a program for each bead: an interaction is evaluated for each bead it
acts on, and only that bead's force is kept. A tile is [rows, lanes]: some beads, some interactions of each. Near pairs
need no list: a molecule has at most 64 beads, so they are a tile of beads by beads, and a row of pairs that act is one
number of 64 bits. Everything is float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from mdflash.compiled.triton.vectors import load_vector
from mdflash.core.types import IntArray
from mdflash.potentials.forms import CODES
from mdflash.potentials.priors.neighbor_term import NeighborTerm
from mdflash.potentials.priors.triton import add_shares, of_angles, of_dihedrals, of_distances
from mdflash.potentials.priors.triton_pairs import of_pairs

_LANES = tl.constexpr((16, 4, 4, 4))  # interactions of a bead taken at a time, of each coordinate


class WholePairs(NamedTuple):
    """The neighbor-list terms of one molecule.

    Attributes:
        kind: [terms, N] int32 row of each bead in the term's parameter matrices.
        acts: [terms, N] int64: bit j of row i is set where the term acts between i and j.
        size: [terms] int32 rows of these matrices; at: [terms] int32 where they begin in `numbers`.
        code: [terms] int32, 1 << the form's number.
        cutoff: [terms] float64 Å.
        numbers: float64, for each term [P, size, size], the form's `pair_rows`.
    """

    kind: Tensor
    acts: Tensor
    size: Tensor
    at: Tensor
    code: Tensor
    cutoff: Tensor
    numbers: Tensor


def bits_of(pairs: IntArray, beads: int, into: int) -> IntArray:
    """[into] numbers of 64 bits: bit j of row i is set where (i, j) or (j, i) is among the pairs [P, 2]."""
    table = np.zeros((into, 64), bool)
    table[pairs[:, 0], pairs[:, 1]] = table[pairs[:, 1], pairs[:, 0]] = True
    words = np.packbits(table, axis=1, bitorder="little").view("<u8")[:, 0]
    assert into >= beads
    return words.astype(np.uint64).view(np.int64)


def whole_pairs(
    terms: Sequence[NeighborTerm], system: int, beads: int, into: int, device: torch.device
) -> tuple[WholePairs, tuple[tuple[int, int], ...]]:
    """The terms that act in one molecule of `beads` beads, in tables of `into`, and their forms as in `near_pairs`."""
    every = np.stack(np.triu_indices(beads, 1), axis=1)
    kind, acts, size, at, numbers = [], [], [], [], []
    occur: dict[int, int] = {}
    end = 0
    acting = [term for term in terms if len(term.tables[system].excluded) < len(every)]
    for term in acting:
        table = term.tables[system]
        rows = np.moveaxis(term.form.pair_rows(table.parameters, term.cutoff), 2, 0)
        kind.append(np.pad(table.types, (0, into - beads)))
        silent = bits_of(np.asarray(table.excluded, np.int64).reshape(-1, 2), beads, into)
        acts.append(bits_of(every, beads, into) & ~silent)
        size.append(rows.shape[1])
        at.append(end)
        end += rows.size
        numbers.append(np.ascontiguousarray(rows).ravel())
        occur[1 << CODES[term.form.name]] = len(rows)

    def put(array: Any, dtype: torch.dtype = torch.int32) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device, dtype)

    if not acting:
        nothing = np.zeros(1)
        return WholePairs(*(put(nothing) for _ in range(7))), ()
    tables = WholePairs(
        put(np.stack(kind)), put(np.stack(acts), torch.int64), put(size), put(at),
        put([1 << CODES[term.form.name] for term in acting]),
        put([term.cutoff for term in acting], torch.float64),
        put(np.concatenate(numbers), torch.float64),
    )  # fmt: skip
    return tables, tuple(sorted(occur.items()))


@triton.jit
def _of_kind(
    x: tl.tensor, origin: tl.tensor, t: tl.core.base_value, m: tl.tensor, inside: tl.tensor, KIND: tl.constexpr,
    OCCUR: tl.constexpr, WIDTH: tl.constexpr,
) -> tuple[tl.tensor, tuple[tl.tensor, tl.tensor, tl.tensor]]:  # fmt: skip
    if KIND == 0:
        u, f = of_distances(x, origin, t, m, inside, OCCUR, WIDTH, tl.float64)
    elif KIND == 3:
        u, f = of_dihedrals(x, origin, t, m, inside, OCCUR, WIDTH, tl.float64)
    else:
        u, f = of_angles(x, origin, t, m, inside, KIND == 1, OCCUR, WIDTH, tl.float64)
    return u, f


@triton.jit
def _listed(
    x: tl.tensor, origin: tl.tensor, i: tl.tensor, mine: tl.tensor, t: tl.core.base_value, KIND: tl.constexpr,
    OCCUR: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor, tl.tensor]:  # fmt: skip
    """Energy shares and forces of the beads i [ROWS] from the terms of one coordinate."""
    LANES: tl.constexpr = _LANES[KIND]
    begin = tl.load(t.start + i, mask=mine, other=0)
    end = tl.load(t.start + i + 1, mask=mine, other=0)
    most = tl.max(end - begin, axis=0)
    e = tl.zeros([ROWS, LANES], tl.float64)
    fx = tl.zeros([ROWS, LANES], tl.float64)
    fy = tl.zeros([ROWS, LANES], tl.float64)
    fz = tl.zeros([ROWS, LANES], tl.float64)
    for k in range(0, most, LANES):
        m = begin[:, None] + (k + tl.arange(0, LANES))[None, :]
        u, f = _of_kind(x, origin, t, m, m < end[:, None], KIND, OCCUR, WIDTH)
        e += u
        fx += f[0]
        fy += f[1]
        fz += f[2]
    return tl.sum(e, axis=1), tl.sum(fx, axis=1), tl.sum(fy, axis=1), tl.sum(fz, axis=1)


@triton.jit
def _pairs(
    x: tl.tensor, origin: tl.tensor, i: tl.tensor, beads: tl.tensor, t: tl.core.base_value, TERMS: tl.constexpr,
    OCCUR: tl.constexpr, N: tl.constexpr, ROWS: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor, tl.tensor]:  # fmt: skip
    """Energy shares and forces of the beads i [ROWS] from all near pairs."""
    j = tl.arange(0, N)
    bit = j.to(tl.int64)[None, :]
    xi, yi, zi = load_vector(x, origin + i, i < beads)
    xj, yj, zj = load_vector(x, origin + j, j < beads)
    dx = xj[None, :] - xi[:, None]
    dy = yj[None, :] - yi[:, None]
    dz = zj[None, :] - zi[:, None]
    square = dx * dx + dy * dy + dz * dz
    e = tl.zeros([ROWS, N], tl.float64)
    fx = tl.zeros([ROWS, N], tl.float64)
    fy = tl.zeros([ROWS, N], tl.float64)
    fz = tl.zeros([ROWS, N], tl.float64)
    for term in range(0, TERMS):
        cutoff = tl.load(t.cutoff + term)
        acts = tl.load(t.acts + term * N + i)[:, None]
        inside = (((acts >> bit) & 1) != 0) & (square < cutoff * cutoff)
        size = tl.load(t.size + term)
        kinds = tl.load(t.kind + term * N + i)[:, None] * size + tl.load(t.kind + term * N + j)[None, :]
        r = tl.where(inside, tl.sqrt(square), 1.0)
        numbers = t.numbers + tl.load(t.at + term)
        u, pull = of_pairs(r, numbers, size, kinds, inside, tl.load(t.code + term), cutoff, OCCUR)
        pull = tl.where(inside, pull, 0.0)
        e += tl.where(inside, 0.5 * u, 0.0)
        fx += pull * dx
        fy += pull * dy
        fz += pull * dz
    return tl.sum(e, axis=1), tl.sum(fx, axis=1), tl.sum(fy, axis=1), tl.sum(fz, axis=1)


@triton.jit
def priors_of_all(
    x: tl.tensor, origin: tl.tensor, beads: tl.tensor, listed: tl.core.base_value,
    pairs: tl.core.base_value, energy: tl.tensor, forces: tl.tensor, OCCUR: tl.constexpr, WIDTH: tl.constexpr,
    TERMS: tl.constexpr, PAIR_OCCUR: tl.constexpr, N: tl.constexpr, ROWS: tl.constexpr,
) -> None:  # fmt: skip
    """Energy share and force of every bead from all priors; nobody may read them before a barrier.

    Args:
        x: [B, 3] float64 Å; origin: the first bead of this replica, of `beads`.
        listed: `device.ListedTables` of this molecule; OCCUR, WIDTH: as of `triton.priors`.
        pairs: `WholePairs`; TERMS: how many; PAIR_OCCUR: which forms, as of `triton_pairs.near_pairs`.
        energy, forces: [beads] and [beads, 3] float64 of this replica, out.
        ROWS: beads that are taken at a time.
    """
    for start in range(0, N, ROWS):
        i = start + tl.arange(0, ROWS)
        mine = i < beads
        e = tl.zeros([ROWS], tl.float64)
        total = (e, e, e, e)
        if TERMS:
            total = add_shares(total, _pairs(x, origin, i, beads, pairs, TERMS, PAIR_OCCUR, N, ROWS))
        if OCCUR[0]:
            total = add_shares(total, _listed(x, origin, i, mine, listed.distance, 0, OCCUR[0], WIDTH[0], ROWS))
        if OCCUR[1]:
            total = add_shares(total, _listed(x, origin, i, mine, listed.angle_cosine, 1, OCCUR[1], WIDTH[1], ROWS))
        if OCCUR[2]:
            total = add_shares(total, _listed(x, origin, i, mine, listed.angle, 2, OCCUR[2], WIDTH[2], ROWS))
        if OCCUR[3]:
            total = add_shares(total, _listed(x, origin, i, mine, listed.dihedral, 3, OCCUR[3], WIDTH[3], ROWS))
        tl.store(energy + i, total[0], mask=mine)
        tl.store(forces + 3 * i, total[1], mask=mine)
        tl.store(forces + 3 * i + 1, total[2], mask=mine)
        tl.store(forces + 3 * i + 2, total[3], mask=mine)
