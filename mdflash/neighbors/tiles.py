"""Tiles of pairs on a GPU: rows of a few beads by columns of more, for what is a product of matrices.

Consecutive beads of a replica make up the rows (ROWS of them) and columns (COLUMNS) of tiles; tiles never reach into
another replica. A row of tiles knows which columns have a pair of it between two distances, ascending, and for each
such tile the mapped distances of its pairs:

* `list_tiles` (one program a row of tiles) lists columns within the cutoff and the skin, for the replicas whose Verlet
  list is built anew;
* `place_tiles` (the same) keeps those of them with a pair in range, and maps the distances, once a step.

Which tiles are visited depends on positions alone: so do the bits of every sum over them. The tile of i's row and j's
column and that of j's row and i's column are both listed, or neither is.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from mdflash.compiled.triton.cubics import cubic_at
from mdflash.compiled.triton.vectors import load_row, load_vector
from mdflash.core.types import FloatArray
from mdflash.neighbors.triton import nearest_image

COLUMNS = 32
"""Beads of a column of tiles; a row has a divisor of it."""
NO_PAIR = 2.0
"""The mapped distance of a pair that is out of range, excluded or not there; others are below 1/2."""
FIRST_TILES = 32
"""Tiles a row has room for, before the first list is built."""
_NO_PAIR = tl.constexpr(NO_PAIR)


@triton.jit
def squares(
    x: tl.tensor, i: tl.tensor, j: tl.tensor, row_end: tl.tensor, end: tl.tensor, box: tl.tensor,
    PERIODIC: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor, tl.tensor, tl.tensor]:  # fmt: skip
    """x_j - x_i, its square, and which pairs there are: beads i [I] below `row_end`, j [J] below `end` -> [I, J]."""
    bx, by, bz = load_row(box, 0)
    xi, yi, zi = load_vector(x, i, i < row_end)
    xj, yj, zj = load_vector(x, j, j < end)
    dx = nearest_image(xj[None, :] - xi[:, None], bx, PERIODIC)
    dy = nearest_image(yj[None, :] - yi[:, None], by, PERIODIC)
    dz = nearest_image(zj[None, :] - zi[:, None], bz, PERIODIC)
    there = (i < row_end)[:, None] & (j < end)[None, :] & (i[:, None] != j[None, :])
    return dx, dy, dz, dx * dx + dy * dy + dz * dz, there


@triton.jit(do_not_specialize=["capacity"])
def list_tiles(
    x: tl.tensor, rebuild: tl.tensor, replica: tl.tensor, rows: tl.tensor, reach: tl.tensor, box: tl.tensor,
    candidate: tl.tensor, count: tl.tensor, need: tl.tensor, capacity: tl.tensor, PERIODIC: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
) -> None:  # fmt: skip
    """The columns with a bead within reach of a row's, if the list of the row's replica is out of date.

    Args:
        x: [B, 3] float64 Å.
        rebuild, replica, reach: as in `triton.build`.
        rows: [rows, 4] int32: first bead of the row; first bead, end, and first row of its replica.
        candidate: [rows, capacity] int32, out: first bead of each column, ascending.
        count: [rows] int32, out; need: [rows] int32: the largest count ever met.
    """
    row = tl.program_id(0)
    begin = tl.load(rows + 4 * row)
    r = tl.load(replica + begin)
    if tl.load(rebuild + r) != 0:
        origin = tl.load(rows + 4 * row + 1)
        end = tl.load(rows + 4 * row + 2)
        limit = tl.load(reach + r)
        i = begin + tl.arange(0, ROWS)
        to = candidate + row.to(tl.int64) * capacity
        found = begin * 0
        for start in range(origin, end, COLUMNS):
            _, _, _, square, there = squares(x, i, start + tl.arange(0, COLUMNS), end, end, box, PERIODIC)
            hit = tl.max(tl.max((there & (square < limit * limit)).to(tl.int32), axis=1), axis=0)
            tl.store(to + found, start, mask=(hit > 0) & (found < capacity))
            found += hit
        tl.store(count + row, tl.minimum(found, capacity))
        tl.store(need + row, tl.maximum(tl.load(need + row), found))


@triton.jit(do_not_specialize=["capacity"])
def place_tiles(
    x: tl.tensor, rows: tl.tensor, candidate: tl.tensor, candidates: tl.tensor, table: tl.tensor, template: tl.tensor,
    message_start: tl.tensor, message_other: tl.tensor, box: tl.tensor, place: tl.tensor, tile: tl.tensor,
    count: tl.tensor, capacity: tl.tensor, START: tl.constexpr, STOP: tl.constexpr, INTERVALS: tl.constexpr,
    PERIODIC: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
) -> None:  # fmt: skip
    """The tiles of a row that hold a pair with START <= d < STOP that exchanges messages, and the places of its pairs.

    Everything is computed in float64 and rounded once, as in `triton.select_near`.

    Args:
        x: [B, 3] float64 Å.
        rows, candidate, candidates: as `list_tiles` leaves them.
        table: [INTERVALS, 4] float64 cubics of the mapped distance.
        template, message_start, message_other: as in `triton.build`.
        place: [rows, capacity, ROWS, COLUMNS] float32, out: the mapped distance, `NO_PAIR` where there is none.
        tile: [rows, capacity] int32, out: first bead of each tile's column, ascending; count: [rows] int32, out.
    """
    row = tl.program_id(0)
    begin = tl.load(rows + 4 * row)
    origin = tl.load(rows + 4 * row + 1)
    end = tl.load(rows + 4 * row + 2)
    first = row.to(tl.int64) * capacity
    line = tl.arange(0, ROWS)
    i = begin + line
    bead = tl.load(template + i, mask=i < end, other=0)
    entry = tl.load(message_start + bead)
    entries = tl.where(i < end, tl.load(message_start + bead + 1) - entry, 0)
    most = tl.max(entries, axis=0)
    column = tl.arange(0, COLUMNS)
    found = begin * 0
    for slot in range(0, tl.load(candidates + row)):
        start = tl.load(candidate + first + slot)
        j = start + column
        _, _, _, square, there = squares(x, i, j, end, end, box, PERIODIC)
        keep = there & (square >= START * START) & (square < STOP * STOP)
        for n in range(0, most):
            other = tl.load(message_other + entry + n, mask=n < entries, other=0) + origin
            keep = keep & ((other[:, None] != j[None, :]) | (n >= entries)[:, None])
        value, _ = cubic_at(tl.sqrt(square), table, START, STOP, INTERVALS)
        hit = tl.max(tl.max(keep.to(tl.int32), axis=1), axis=0)
        if hit > 0:
            to = place + (first + found) * (ROWS * COLUMNS) + line[:, None] * COLUMNS + column[None, :]
            tl.store(to, tl.where(keep, value, _NO_PAIR).to(tl.float32))
            tl.store(tile + first + found, start)
            found += 1
    tl.store(count + row, found)


class Beads(NamedTuple):
    """The beads of a batch, as `triton.build` takes them; see there."""

    x: Tensor
    rebuild: Tensor
    replica: Tensor
    template: Tensor
    message_start: Tensor
    message_other: Tensor
    box: Tensor
    reach: Tensor
    periodic: bool


class Mapped(NamedTuple):
    """Distances from `start` to `stop`, Å, and the cubics [K, 4] that map them to places below 1/2."""

    start: float
    stop: float
    cubics: FloatArray


@dataclass(frozen=True, eq=False)
class PairTiles:
    """What `place_tiles` leaves; see there for shapes."""

    rows: Tensor
    place: Tensor
    tile: Tensor
    count: Tensor
    capacity: int
    height: int


class TileLists:
    """The tiles of some replicas; nothing returns to the host but in `more_room`.

    Args:
        beads: of the batch.
        offset: [replicas + 1] flat first bead of each of the replicas, which follow each other.
        mapped: the distances that are asked for.
        height: beads of a row of tiles.

    Attributes:
        tiles: what there is room for now.
        table: [K, 4] the cubics, on the device.
    """

    def __init__(self, beads: Beads, offset: Tensor, mapped: Mapped, height: int) -> None:
        assert COLUMNS % height == 0
        self.beads, self.mapped, self._height = beads, mapped, height
        self.table = torch.from_numpy(mapped.cubics).to(beads.x)
        rows = _rows(offset.cpu().numpy(), height)
        self._rows = torch.from_numpy(rows).to(beads.x.device)
        most = int((rows[:, 2] - rows[:, 1]).max())
        self._columns = -(-most // COLUMNS)
        self._need = torch.zeros(len(rows), dtype=torch.int32, device=beads.x.device)
        self._make_room(min(self._columns, FIRST_TILES))

    def _make_room(self, capacity: int) -> None:
        n, device = len(self._rows), self.beads.x.device
        self._candidate = torch.zeros(n, capacity, dtype=torch.int32, device=device)
        self._candidates = torch.zeros(n, dtype=torch.int32, device=device)
        place = torch.full((n, capacity, self._height, COLUMNS), NO_PAIR, dtype=torch.float32, device=device)
        tile, count = torch.zeros_like(self._candidate), torch.zeros_like(self._candidates)
        self.tiles = PairTiles(self._rows, place, tile, count, capacity, self._height)
        self._need.zero_()

    def update(self) -> None:
        """List what is out of date; behind every `triton.prepare`, which says so once."""
        beads, tiles = self.beads, self.tiles
        list_tiles[(len(self._rows),)](
            beads.x, beads.rebuild, beads.replica, tiles.rows, beads.reach, beads.box, self._candidate,
            self._candidates, self._need, tiles.capacity, **self._shape(), num_warps=1,
        )  # fmt: skip

    def place(self) -> None:
        """Tiles at the positions, from lists that are up to date."""
        beads, tiles = self.beads, self.tiles
        place_tiles[(len(self._rows),)](
            beads.x, tiles.rows, self._candidate, self._candidates, self.table, beads.template, beads.message_start,
            beads.message_other, beads.box, tiles.place, tiles.tile, tiles.count, tiles.capacity,
            START=self.mapped.start, STOP=self.mapped.stop, INTERVALS=len(self.mapped.cubics), **self._shape(),
            num_warps=1,
        )  # fmt: skip

    def _shape(self) -> dict[str, Any]:
        return {"PERIODIC": self.beads.periodic, "ROWS": self._height, "COLUMNS": COLUMNS}

    def more_room(self) -> bool:
        """Whether a row overflowed since the last call; there is more room now, and lists must be built anew."""
        needed = int(self._need.max())
        if needed <= self.tiles.capacity:
            return False
        self._make_room(min(self._columns, needed + needed // 8))
        return True


def _rows(offset: np.ndarray, height: int) -> np.ndarray:
    """[rows, 4] int32, see `list_tiles`."""
    found, first = [], 0
    for begin, end in pairwise(offset.tolist()):
        starts = np.arange(begin, end, height)
        found.append(np.stack([starts, *(np.full(len(starts), v) for v in (begin, end, first))], axis=1))
        first += len(starts)
    return np.concatenate(found).astype(np.int32)
