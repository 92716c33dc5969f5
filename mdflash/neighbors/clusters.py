"""Lists of pairs on a GPU as small tiles: four beads by eight, for terms that are cheap to evaluate.

A *search* is a cutoff and the beads of a molecule that act on each other up to it (all of them, or those with a
charge). Its members, in the order of the chain, stand in slots: four slots make a row of tiles and eight a column, one
lane for each pair of a tile in a warp. A row lists the columns within the cutoff and the skin, ascending, and 32 bits
for which of the pairs act (Pall & Hess, Comput. Phys. Commun. 184, 2641, 2013, have such lists in GROMACS).

* `place` (one program a few columns) copies positions to their slots, and boxes in the beads of a column;
* `list_columns` (one program a row) looks into the columns whose box is within reach. It returns at once for replicas
  whose list still holds (`triton.prepare`).

Whatever the list, a pair has its lane, and a
lane meets its pairs in the order of the columns; pairs beyond the cutoff add nothing. So the age of a list changes no
bit of a sum, and nothing has to be sorted or packed at every step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import triton
import triton.language as tl
from torch import Tensor

from mdflash.compiled.triton.vectors import load_row, load_vector
from mdflash.core.state import Layout
from mdflash.core.types import IntArray
from mdflash.neighbors.triton import nearest_image

ROW = 4
COLUMN = 8
AT_ONCE = 4
"""Columns that a program of `place` takes."""
FIRST_COLUMNS = 32
"""Columns that a row has room for, before the first list is built."""
_ROW, _COLUMN, _HIGH = tl.constexpr(ROW), tl.constexpr(COLUMN), tl.constexpr(COLUMN // ROW)
_AT_ONCE = tl.constexpr(AT_ONCE)
_GRID = tl.constexpr(1024.0)
_HOLE = -1


@dataclass(frozen=True, eq=False)
class Search:
    """One search of one molecule.

    Attributes:
        cutoff: Å.
        bead: [slots] local bead in each slot, -1 for a hole; whole columns (`in_columns`).
        excluded: [E, 2] local beads i < j that do not act on each other, both among the members.
    """

    cutoff: float
    bead: IntArray
    excluded: IntArray


class Members(NamedTuple):
    """The slots of all searches, on the device.

    Attributes:
        bead: [slots] int32 local bead, -1 for a hole.
        first: [S] int32 where the slots of a search begin; a whole number of columns.
        columns: [S] int32 how many columns it has.
        reach: [S] float64 Å, cutoff + skin.
        start: [rows + 1] int32 CSR over `silent_column` by row of any search.
        silent_column, silent: int32 a column of the search, and the bits of pairs that do not act there.
    """

    bead: Tensor
    first: Tensor
    columns: Tensor
    reach: Tensor
    start: Tensor
    silent_column: Tensor
    silent: Tensor


class Groups(NamedTuple):
    """The searches of every replica, on the device: a group is one search of one replica.

    Attributes:
        of_row, of_column: [rows], [columns] int32 the group; -1 behind the last column, to fill a program of `place`.
        column: [G] int32 its first column; there are two rows for each.
        search, replica, origin: [G] int32 its search, its replica, and the replica's first bead.
    """

    of_row: Tensor
    of_column: Tensor
    column: Tensor
    search: Tensor
    replica: Tensor
    origin: Tensor


class Boxes(NamedTuple):
    """[columns, 3] float64 Å: the middle of each column's box, and half its edges."""

    middle: Tensor
    half: Tensor


class Places(NamedTuple):
    """[3, stride] Å: x, y and z of each slot of each group, in float64, or as two float32 (`place`)."""

    high: Tensor
    low: Tensor
    stride: int


class Columns(NamedTuple):
    """The list.

    Attributes:
        column: [rows, capacity] int32 columns, counted within the group, ascending.
        acts: [rows, capacity] int32: bit 8 a + b is the pair of slot a of the row and slot b of the column.
        length: [rows] int32 how many there are.
        need: [rows] int32: the largest count ever met.
        capacity: columns that a row has room for.
    """

    column: Tensor
    acts: Tensor
    length: Tensor
    need: Tensor
    capacity: int


@triton.jit
def _spans(x: tl.tensor, inside: tl.tensor) -> tuple[tl.tensor, tl.tensor]:
    """Middle and half of what these numbers span."""
    low = tl.min(tl.where(inside, x, float("inf")), axis=0)
    high = tl.max(tl.where(inside, x, float("-inf")), axis=0)
    return 0.5 * (low + high), 0.5 * (high - low)


@triton.jit
def halves(p: tl.tensor) -> tuple[tl.tensor, tl.tensor]:
    """A float64 as a float32 on a grid, and what is left."""
    high = (tl.floor(p * _GRID + 0.5) * (1.0 / _GRID)).to(tl.float32)
    return high, (p - high.to(tl.float64)).to(tl.float32)


@triton.jit
def place(
    x: tl.tensor, rebuild: tl.tensor, box: tl.tensor, members: tl.core.base_value, groups: tl.core.base_value,
    boxes: tl.core.base_value, out: tl.core.base_value, PERIODIC: tl.constexpr, SPLIT: tl.constexpr,
) -> None:  # fmt: skip
    """Copy positions of some columns to their slots; and box them in, if the lists of their replica are out of date.

    In float32 a position is two numbers, its multiple of 2^-10 Å and the rest. Differences of the first are exact, so
    a displacement has the relative error of float32, and takes no float64, of which many GPUs do little. Beads are
    moved into the box first: molecules drift as far as they like.

    Args:
        x: [B, 3] float64 Å.
        rebuild: [R] int32, of `triton.prepare`.
        box: [3] float64 edges, read where PERIODIC.
        members, groups: `Members`, `Groups`.
        boxes, out: `Boxes`, `Places`.
        SPLIT: whether places are float32.
    """
    c = tl.program_id(0) * _AT_ONCE + tl.arange(0, _AT_ONCE)
    lane = tl.arange(0, _COLUMN)[None, :]
    g = tl.load(groups.of_column + c)
    there = g >= 0
    g = tl.maximum(g, 0)
    slot = tl.load(members.first + tl.load(groups.search + g)) + (c - tl.load(groups.column + g)) * _COLUMN
    bead = tl.load(members.bead + slot[:, None] + lane, mask=there[:, None], other=-1)
    at = load_vector(x, tl.load(groups.origin + g)[:, None] + bead, bead >= 0)
    anew = there & (tl.load(rebuild + tl.load(groups.replica + g)) != 0)
    into = _COLUMN * c[:, None] + lane
    for k in tl.static_range(3):
        p = at[k]
        low = tl.min(tl.where(bead >= 0, p, float("inf")), axis=1)
        high = tl.max(tl.where(bead >= 0, p, float("-inf")), axis=1)
        tl.store(boxes.middle + 3 * c + k, 0.5 * (low + high), mask=anew)
        tl.store(boxes.half + 3 * c + k, 0.5 * (high - low), mask=anew)
        if SPLIT:
            if PERIODIC:
                edge = tl.load(box + k)
                p -= edge * tl.floor(p / edge)
            near, rest = halves(p)
            tl.store(out.high + k * out.stride + into, near, mask=bead >= 0)
            tl.store(out.low + k * out.stride + into, rest, mask=bead >= 0)
        else:
            tl.store(out.high + k * out.stride + into, p, mask=bead >= 0)


@triton.jit
def _outside(
    table: tl.core.base_value, c: tl.tensor, k: tl.constexpr, there: tl.tensor, middle: tl.tensor, half: tl.tensor,
    edge: tl.tensor, PERIODIC: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """How far the boxes c are from a box, along one axis."""
    apart = nearest_image(tl.load(table.middle + 3 * c + k, mask=there, other=0.0) - middle, edge, PERIODIC)
    return tl.maximum(tl.abs(apart) - tl.load(table.half + 3 * c + k, mask=there, other=0.0) - half, 0.0)


@triton.jit
def list_columns(
    x: tl.tensor, rebuild: tl.tensor, box: tl.tensor, members: tl.core.base_value, groups: tl.core.base_value,
    boxes: tl.core.base_value, out: tl.core.base_value, PERIODIC: tl.constexpr, CHUNK: tl.constexpr,
) -> None:  # fmt: skip
    """List the columns of one row, if the list of its replica is out of date.

    Args:
        x: [B, 3] float64 Å.
        rebuild: [R] int32, of `triton.prepare`.
        box: [3] float64 edges, read where PERIODIC.
        members, groups, boxes: `Members`, `Groups`, `Boxes`.
        out: `Columns`.
    """
    w = tl.program_id(0)
    g = tl.load(groups.of_row + w)
    if tl.load(rebuild + tl.load(groups.replica + g)) != 0:
        search = tl.load(groups.search + g)
        origin = tl.load(groups.origin + g)
        first = tl.load(members.first + search)
        begin = tl.load(groups.column + g)
        end = begin + tl.load(members.columns + search)
        reach = tl.load(members.reach + search)
        bx, by, bz = load_row(box, 0)
        slot = first + (w - begin * _HIGH) * _ROW
        bead = tl.load(members.bead + slot + tl.arange(0, _ROW))
        xi, yi, zi = load_vector(x, origin + bead, bead >= 0)
        mx, hx = _spans(xi, bead >= 0)
        my, hy = _spans(yi, bead >= 0)
        mz, hz = _spans(zi, bead >= 0)
        silent_begin = tl.load(members.start + slot // _ROW)
        silent_end = tl.load(members.start + slot // _ROW + 1)
        bit = _COLUMN * tl.arange(0, _ROW)[:, None] + tl.arange(0, _COLUMN)[None, :]
        lane = tl.arange(0, CHUNK)
        row = w.to(tl.int64) * out.capacity
        within = reach + 1e-6  # middles and edges of boxes are rounded
        found = begin * 0
        for chunk in range(begin, end, CHUNK):
            c = chunk + lane
            dx = _outside(boxes, c, 0, c < end, mx, hx, bx, PERIODIC)
            dy = _outside(boxes, c, 1, c < end, my, hy, by, PERIODIC)
            dz = _outside(boxes, c, 2, c < end, mz, hz, bz, PERIODIC)
            hit = (c < end) & (dx * dx + dy * dy + dz * dz < within * within)
            following = tl.min(tl.where(hit, c, end), axis=0)
            while following < end:
                column = following - begin
                other = tl.load(members.bead + first + column * _COLUMN + tl.arange(0, _COLUMN))
                xj, yj, zj = load_vector(x, origin + other, other >= 0)
                ex = nearest_image(xj[None, :] - xi[:, None], bx, PERIODIC)
                ey = nearest_image(yj[None, :] - yi[:, None], by, PERIODIC)
                ez = nearest_image(zj[None, :] - zi[:, None], bz, PERIODIC)
                near = (bead >= 0)[:, None] & (other >= 0)[None, :] & (ex * ex + ey * ey + ez * ez < reach * reach)
                acts = tl.sum(tl.sum(tl.where(near, 1 << bit, 0), axis=1), axis=0)
                for e in range(silent_begin, silent_end, CHUNK):
                    mine = e + lane < silent_end
                    at = tl.load(members.silent_column + e + lane, mask=mine, other=-1)
                    bits = tl.load(members.silent + e + lane, mask=at == column, other=0)
                    acts = acts & ~tl.sum(bits, axis=0)  # a column has one entry at most
                keep = acts != 0
                place = row + found
                tl.store(out.column + place, column, mask=keep & (found < out.capacity))
                tl.store(out.acts + place, acts, mask=keep & (found < out.capacity))
                found += keep.to(tl.int32)
                following = tl.min(tl.where(hit & (c > following), c, end), axis=0)
        tl.store(out.length + w, tl.minimum(found, out.capacity))
        tl.store(out.need + w, tl.maximum(tl.load(out.need + w), found))


def in_columns(members: IntArray, chain: IntArray) -> IntArray:
    """[slots] members in the order given, -1 in holes; whole columns.

    The box of a column with beads of two molecules is large, and much is looked into in vain. So a chain begins a new
    column wherever that leaves not more than half of the one before it empty.

    Args:
        members: [M] beads, ascending.
        chain: [N] number of each bead's chain.
    """
    slots: list[int] = []
    for k, bead in enumerate(members.tolist()):
        left = -len(slots) % COLUMN
        if k and left <= COLUMN // 2 and chain[bead] != chain[members[k - 1]]:
            slots += [_HOLE] * left
        slots.append(bead)
    return np.array(slots + [_HOLE] * (-len(slots) % COLUMN), np.int64)


def _silent(search: Search) -> tuple[IntArray, IntArray, IntArray]:
    """By row: how many columns hold pairs that do not act; and all of them, with their bits."""
    beads = search.bead
    place = np.full(int(beads.max()) + 1, _HOLE)
    slots = np.flatnonzero(beads >= 0)
    place[beads[slots]] = slots
    a, b = place[search.excluded].T
    a, b = np.concatenate([a, b, slots]), np.concatenate([b, a, slots])  # nobody acts on itself
    row, column = a // ROW, b // COLUMN
    bit = np.int64(1) << (COLUMN * (a % ROW) + b % COLUMN)
    both, entry = np.unique(np.stack([row, column], axis=1), axis=0, return_inverse=True)
    bits = np.zeros(len(both), np.int64)
    np.bitwise_or.at(bits, entry.ravel(), bit)
    return np.bincount(both[:, 0], minlength=len(beads) // ROW), both[:, 1], bits


class ClusterLists:
    """The lists of a batch's searches; nothing returns to the host but in `more_room`.

    Args:
        searches: by system.
        layout: the batch.
        skin: Å.
        dtype: of places, float64 or float32.
        device: where the kernels run.

    Attributes:
        members, groups, places, columns: what a kernel over the pairs reads.
        rows: how many rows there are in all, a program each.
    """

    def __init__(
        self, searches: Sequence[Sequence[Search]], layout: Layout, skin: float, dtype: torch.dtype,
        device: torch.device,
    ) -> None:  # fmt: skip
        every = [search for mine in searches for search in mine]
        silent = [_silent(search) for search in every]
        self._device = device
        columns = np.array([len(search.bead) // COLUMN for search in every])
        self.members = Members(
            self._put(np.concatenate([search.bead for search in every])),
            self._put(COLUMN * (np.cumsum(columns) - columns)),
            self._put(columns),
            torch.tensor([search.cutoff + skin for search in every], dtype=torch.float64, device=device),
            self._put(np.concatenate([[0], np.cumsum(np.concatenate([count for count, _, _ in silent]))])),
            self._put(np.concatenate([column for _, column, _ in silent])),
            self._put(np.concatenate([bits for _, _, bits in silent]).astype(np.uint32).view(np.int32)),
        )
        self.groups = self._grouped(searches, columns, layout)
        self.rows = len(self.groups.of_row)
        self._most = int(columns.max())
        n = len(self.groups.of_column)
        self._split = dtype == torch.float32
        self._boxes = Boxes(*(torch.zeros(n, 3, dtype=torch.float64, device=device) for _ in range(2)))
        high, low = (torch.zeros(3, COLUMN * n, dtype=dtype, device=device) for _ in range(2))
        self.places = Places(high, low if self._split else high, COLUMN * n)
        self._make_room(min(self._most, FIRST_COLUMNS))

    def _put(self, array: npt.NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array, dtype=np.int32)).to(self._device)

    def _grouped(self, searches: Sequence[Sequence[Search]], columns: IntArray, layout: Layout) -> Groups:
        first = np.cumsum([0, *map(len, searches)])
        system = layout.system_of_replica
        replica = np.repeat(np.arange(layout.n_replicas), np.diff(first)[system])
        search = np.concatenate([np.arange(first[s], first[s + 1]) for s in system])
        wide = columns[search]
        group = np.arange(len(search))
        return Groups(
            self._put(np.repeat(group, wide * (COLUMN // ROW))),
            self._put(np.append(np.repeat(group, wide), np.full(-wide.sum() % AT_ONCE, -1))),
            self._put(np.cumsum(wide) - wide), self._put(search), self._put(replica),
            self._put(layout.bead_offset[replica]),
        )  # fmt: skip

    def _make_room(self, capacity: int) -> None:
        # always whole multiples of 16, so that the same machine code serves any capacity
        capacity = -(-capacity // 16) * 16

        def new(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.int32, device=self._device)

        self.columns = Columns(
            new(self.rows, capacity), new(self.rows, capacity), new(self.rows), new(self.rows), capacity
        )

    def launch(self, x: Tensor, rebuild: Tensor, box: Tensor, periodic: bool) -> None:
        """Lists at x [B, 3], behind a `triton.prepare` of the same step."""
        place[(len(self.groups.of_column) // AT_ONCE,)](
            x, rebuild, box, self.members, self.groups, self._boxes, self.places, PERIODIC=periodic, SPLIT=self._split,
            num_warps=1,
        )  # fmt: skip
        list_columns[(self.rows,)](
            x, rebuild, box, self.members, self.groups, self._boxes, self.columns, PERIODIC=periodic, CHUNK=64,
            num_warps=1,
        )  # fmt: skip

    def more_room(self) -> bool:
        """Whether a row overflowed since the last call; there is more room now, and lists must be built anew."""
        needed = int(self.columns.need.max())
        if needed <= self.columns.capacity:
            return False
        self._make_room(min(self._most, needed + needed // 8))
        return True
