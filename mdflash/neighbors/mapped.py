"""Neighbors between two distances on a GPU, and the places of their distances: rows of a few cosines are made of them.

Rows are those of the Verlet list, ascending; what they hold depends on positions alone. Computed in float64 and rounded
once, as in `triton.select_near`, of which this is the continuation.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from mdflash.compiled.triton.cubics import cubic_at
from mdflash.compiled.triton.vectors import load_row
from mdflash.neighbors.tiles import Beads, Mapped
from mdflash.neighbors.triton import candidates


@triton.jit(do_not_specialize=["first", "capacity"])
def select_mapped(
    x: tl.tensor, neighbor: tl.tensor, count: tl.tensor, box: tl.tensor, table: tl.tensor, near: tl.tensor,
    place: tl.tensor, toward: tl.tensor, near_count: tl.tensor, capacity: tl.tensor, first: tl.tensor,
    START: tl.constexpr, STOP: tl.constexpr, INTERVALS: tl.constexpr, PERIODIC: tl.constexpr, BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    """Neighbors of bead `first + program` with START <= d < STOP that exchange messages.

    Args:
        x: [B, 3] float64 Å.
        neighbor, count: the Verlet list.
        table: [INTERVALS, 4] float64 cubics of the mapped distance.
        near: [B, capacity] int32, out: flat indices, ascending.
        place: [B, capacity] float32, out: mapped distances.
        toward: [B, 3, capacity] float32, out: unit vectors from the bead to its neighbors, times the slope of the map.
        near_count: [B] int32, out.
    """
    i = first + tl.program_id(0)
    n = tl.load(count + i)
    row = i.to(tl.int64) * capacity
    bx, by, bz = load_row(box, 0)
    xi, yi, zi = load_row(x, i)
    lane = tl.arange(0, BLOCK)
    found = n * 0
    for k in range(0, n, BLOCK):
        j, dx, dy, dz, square, messages = candidates(
            x, neighbor + row, k + lane, n, xi, yi, zi, bx, by, bz, PERIODIC
        )  # fmt: skip
        keep = messages & (square >= START * START) & (square < STOP * STOP)
        slot = found + tl.cumsum(keep.to(tl.int32), axis=0) - 1
        d = tl.sqrt(tl.where(keep, square, STOP * STOP))
        value, slope = cubic_at(d, table, START, STOP, INTERVALS)
        tl.store(near + row + slot, j, mask=keep)
        tl.store(place + row + slot, value.to(tl.float32), mask=keep)
        to_j = toward + 3 * row + slot
        tl.store(to_j, (dx * (slope / d)).to(tl.float32), mask=keep)
        tl.store(to_j + capacity, (dy * (slope / d)).to(tl.float32), mask=keep)
        tl.store(to_j + 2 * capacity, (dz * (slope / d)).to(tl.float32), mask=keep)
        found += tl.sum(keep.to(tl.int32), axis=0)
    tl.store(near_count + i, found)


class MappedLists:
    """The neighbors of some beads between two distances; nothing returns to the host.

    Args:
        beads: of the batch.
        first, n: which of them have rows.
        mapped: the distances.

    Attributes:
        near, place, toward, count: as `select_mapped` leaves them.
        capacity: room of a row, that of the Verlet list.
    """

    def __init__(self, beads: Beads, first: int, n: int, mapped: Mapped) -> None:
        self.beads, self.mapped = beads, mapped
        self._first, self._n = first, n
        self._table = torch.from_numpy(mapped.cubics).to(beads.x)
        self._make_room(1)

    def _make_room(self, capacity: int) -> None:
        beads, device = len(self.beads.x), self.beads.x.device
        self.capacity = capacity
        self.near = torch.zeros(beads, capacity, dtype=torch.int32, device=device)
        self.place = torch.zeros(beads, capacity, dtype=torch.float32, device=device)
        self.toward = torch.zeros(beads, 3, capacity, dtype=torch.float32, device=device)
        self.count = torch.zeros(beads, dtype=torch.int32, device=device)

    def select(self, neighbor: Tensor, count: Tensor) -> None:
        """Rows at the positions, from the Verlet list [B, capacity] and its counts [B], which are up to date."""
        if neighbor.shape[1] != self.capacity:
            self._make_room(neighbor.shape[1])
        beads = self.beads
        select_mapped[(self._n,)](
            beads.x, neighbor, count, beads.box, self._table, self.near, self.place, self.toward, self.count,
            self.capacity, self._first, START=self.mapped.start, STOP=self.mapped.stop,
            INTERVALS=len(self.mapped.cubics), PERIODIC=beads.periodic, BLOCK=64, num_warps=1,
        )  # fmt: skip
