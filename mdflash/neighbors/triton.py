"""Neighbor lists on a GPU: a full list (both directions) of every bead, rows of fixed room, sorted.

Row i of a list holds the neighbors j of bead i of the flat batch, so one list serves as CSR by destination and by
source. Nothing here returns to the host:

* `prepare` (one program a replica) asks whether a bead has moved more than half the skin;
* `build` (one program a bead) fills the Verlet list of the replicas that need it, and returns at once for the others;
* `bound` and `build_by_boxes` do the same for large replicas, without looking at every bead: consecutive beads of a
  chain are near each other, so `BOX_BEADS` of them at a time get a bounding box, and only boxes within reach are
  looked into. A list of cells would ask a little less where the order of beads says nothing about their places, but
  it needs sorting, twice: beads into cells, and rows back into the order in which every sum runs;
* `select_near` (one program a bead) picks the neighbors nearer than the network's cutoff, with their distances and
  directions: so the eight sweeps of a SchNet with four blocks never meet the skin (a third of the list) nor a position.
  Sums over a list run in parallel lanes, by place in the list, so their last bits would depend on the age of a Verlet
  list.

Terms of classical force fields have lists of their own (`neighbors.clusters`).

A row that is too short is noted in `need`, which the host reads at the end of a block.
"""

from __future__ import annotations

import triton
import triton.language as tl

from mdflash.compiled.triton.vectors import load_row, load_vector

BOX_BEADS = 32
_BOX_BEADS = tl.constexpr(BOX_BEADS)
_INDEX = tl.constexpr((1 << 29) - 1)
_NO_MESSAGE = tl.constexpr(1 << 29)
"""An entry of the Verlet list is the bead's flat index, plus a bit where the pair exchanges no message."""


@triton.jit
def nearest_image(d: tl.tensor, edge: tl.tensor, PERIODIC: tl.constexpr) -> tl.tensor:
    """A displacement component by the minimum-image rule."""
    if PERIODIC:
        d -= edge * tl.floor(d / edge + 0.5)
    return d


@triton.jit
def prepare(
    x: tl.tensor,
    built_at: tl.tensor,
    bead_offset: tl.tensor,
    rebuild: tl.tensor,
    LIMIT: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Decide whether the lists of replica r are out of date.

    Args:
        x: [B, 3] float64 Å.
        built_at: [B, 3] float64, where lists were built (NaN: never); x, where they are out of date.
        bead_offset: [R + 1] int32.
        rebuild: [R] int32, out.
        LIMIT: (skin / 2)^2, Å².
    """
    r = tl.program_id(0)
    end = tl.load(bead_offset + r + 1)
    lane = tl.arange(0, BLOCK)
    moved = tl.zeros([BLOCK], tl.int32)
    for k in range(tl.load(bead_offset + r), end, BLOCK):
        i = k + lane
        inside = i < end
        px, py, pz = load_vector(x, i, inside)
        ox, oy, oz = load_vector(built_at, i, inside)
        square = (px - ox) * (px - ox) + (py - oy) * (py - oy) + (pz - oz) * (pz - oz)
        moved = moved | (inside & (~(square <= LIMIT))).to(tl.int32)  # NaN is out of date too
    anew = tl.max(moved, axis=0)
    tl.store(rebuild + r, anew)
    if anew != 0:
        for k in range(tl.load(bead_offset + r), end, BLOCK):
            i = k + lane
            inside = i < end
            at = load_vector(x, i, inside)
            for c in tl.static_range(3):
                tl.store(built_at + 3 * i + c, at[c], mask=inside)


@triton.jit
def _listed(start: tl.tensor, other: tl.tensor, bead: tl.tensor, origin: tl.tensor, j: tl.tensor) -> tl.tensor:
    """Which of j [BLOCK] stand in row `bead` of a CSR of local indices."""
    hit = j < 0
    for e in range(tl.load(start + bead), tl.load(start + bead + 1)):
        hit = hit | (j == tl.load(other + e) + origin)
    return hit


@triton.jit
def _append(
    x: tl.tensor, i: tl.tensor, xi: tl.tensor, yi: tl.tensor, zi: tl.tensor, j: tl.tensor, begin: tl.tensor,
    end: tl.tensor, bead: tl.tensor, message_start: tl.tensor, message_other: tl.tensor, bx: tl.tensor, by: tl.tensor,
    bz: tl.tensor, limit: tl.tensor, row: tl.tensor, found: tl.tensor, capacity: tl.tensor, PERIODIC: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """Write those of the beads j (ascending) within reach of i behind the `found` ones of its row; how many are there.

    A row keeps counting when it is full.
    """
    xj, yj, zj = load_vector(x, j, j < end)
    dx = nearest_image(xj - xi, bx, PERIODIC)
    dy = nearest_image(yj - yi, by, PERIODIC)
    dz = nearest_image(zj - zi, bz, PERIODIC)
    near = (j < end) & (j != i) & (dx * dx + dy * dy + dz * dz < limit * limit)
    entry = j | tl.where(_listed(message_start, message_other, bead, begin, j), _NO_MESSAGE, 0)
    slot = found + tl.cumsum(near.to(tl.int32), axis=0) - 1
    tl.store(row + slot, entry, mask=near & (slot < capacity))
    return found + tl.sum(near.to(tl.int32), axis=0)


@triton.jit
def build(
    x: tl.tensor, rebuild: tl.tensor, replica: tl.tensor, bead_offset: tl.tensor, template: tl.tensor,
    message_start: tl.tensor, message_other: tl.tensor, box: tl.tensor, reach: tl.tensor, neighbor: tl.tensor,
    count: tl.tensor, need: tl.tensor, capacity: tl.tensor, PERIODIC: tl.constexpr, BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    """Fill row i of the Verlet list, if its replica's list is out of date.

    Args:
        x: [B, 3] float64 Å.
        rebuild: [R] int32.
        replica: [B] int32, replica of each bead.
        template: [B] int32, number of the bead among the beads of all systems.
        message_start, message_other: CSR over these of the local beads it exchanges no messages with.
        box: [3] float64 edges, read where PERIODIC.
        reach: [R] float64, cutoff + skin, Å.
        neighbor: [B, capacity] int32, out: flat index and exclusion bits, ascending.
        count: [B] int32, out: how many stand there.
        need: [B] int32: the largest count ever met.
    """
    i = tl.program_id(0)
    r = tl.load(replica + i)
    if tl.load(rebuild + r) != 0:
        begin = tl.load(bead_offset + r)
        end = tl.load(bead_offset + r + 1)
        limit = tl.load(reach + r)
        bead = tl.load(template + i)
        bx, by, bz = load_row(box, 0)
        xi, yi, zi = load_row(x, i)
        row = neighbor + i.to(tl.int64) * capacity
        lane = tl.arange(0, BLOCK)
        found = begin * 0
        for k in range(begin, end, BLOCK):
            found = _append(
                x, i, xi, yi, zi, k + lane, begin, end, bead, message_start, message_other, bx, by, bz, limit, row,
                found, capacity, PERIODIC,
            )  # fmt: skip
        tl.store(count + i, tl.minimum(found, capacity))
        tl.store(need + i, tl.maximum(tl.load(need + i), found))


@triton.jit
def bound(
    x: tl.tensor,
    rebuild: tl.tensor,
    replica_of_box: tl.tensor,
    box_offset: tl.tensor,
    bead_offset: tl.tensor,
    center: tl.tensor,
    half: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:
    """The bounding box of BLOCK consecutive beads, if the list of their replica is out of date.

    Args:
        x: [B, 3] float64 Å.
        rebuild: [R] int32.
        replica_of_box: [boxes] int32; box_offset: [R + 1] int32, boxes of each replica.
        bead_offset: [R + 1] int32.
        center, half: [boxes, 3] float64 Å, out: the box's middle and half its edges.
    """
    b = tl.program_id(0)
    r = tl.load(replica_of_box + b)
    if tl.load(rebuild + r) != 0:
        i = tl.load(bead_offset + r) + (b - tl.load(box_offset + r)) * BLOCK + tl.arange(0, BLOCK)
        inside = i < tl.load(bead_offset + r + 1)
        for k in tl.static_range(3):
            at = tl.load(x + 3 * i + k, mask=inside, other=0.0)
            low = tl.min(tl.where(inside, at, float("inf")), axis=0)
            high = tl.max(tl.where(inside, at, float("-inf")), axis=0)
            tl.store(center + 3 * b + k, 0.5 * (low + high))
            tl.store(half + 3 * b + k, 0.5 * (high - low))


@triton.jit
def build_by_boxes(
    x: tl.tensor, rebuild: tl.tensor, replica: tl.tensor, bead_offset: tl.tensor, template: tl.tensor,
    message_start: tl.tensor, message_other: tl.tensor, box: tl.tensor, reach: tl.tensor, neighbor: tl.tensor,
    count: tl.tensor, need: tl.tensor, capacity: tl.tensor, box_offset: tl.tensor, center: tl.tensor, half: tl.tensor,
    PERIODIC: tl.constexpr, CHUNK: tl.constexpr,
) -> None:  # fmt: skip
    """As `build`, and the same list; looks only into boxes (`bound`) within reach."""
    i = tl.program_id(0)
    r = tl.load(replica + i)
    if tl.load(rebuild + r) != 0:
        begin = tl.load(bead_offset + r)
        end = tl.load(bead_offset + r + 1)
        limit = tl.load(reach + r)
        bead = tl.load(template + i)
        bx, by, bz = load_row(box, 0)
        xi, yi, zi = load_row(x, i)
        row = neighbor + i.to(tl.int64) * capacity
        found = begin * 0
        first = tl.load(box_offset + r)
        last = tl.load(box_offset + r + 1)
        lane = tl.arange(0, CHUNK)
        within = limit + 1e-6  # middle and edges of a box are rounded
        for c in range(first, last, CHUNK):
            b = c + lane
            cx, cy, cz = load_vector(center, b, b < last)
            hx, hy, hz = load_vector(half, b, b < last)
            dx = tl.maximum(tl.abs(nearest_image(cx - xi, bx, PERIODIC)) - hx, 0.0)
            dy = tl.maximum(tl.abs(nearest_image(cy - yi, by, PERIODIC)) - hy, 0.0)
            dz = tl.maximum(tl.abs(nearest_image(cz - zi, bz, PERIODIC)) - hz, 0.0)
            hit = (b < last) & (dx * dx + dy * dy + dz * dz < within * within)
            following = tl.min(tl.where(hit, b, last), axis=0)
            while following < last:
                j = begin + (following - first) * _BOX_BEADS + tl.arange(0, _BOX_BEADS)
                found = _append(
                    x, i, xi, yi, zi, j, begin, end, bead, message_start, message_other, bx, by, bz, limit, row,
                    found, capacity, PERIODIC,
                )  # fmt: skip
                following = tl.min(tl.where(hit & (b > following), b, last), axis=0)
        tl.store(count + i, tl.minimum(found, capacity))
        tl.store(need + i, tl.maximum(tl.load(need + i), found))


@triton.jit
def candidates(
    x: tl.tensor, entries: tl.tensor, at: tl.tensor, n: tl.tensor, xi: tl.tensor, yi: tl.tensor, zi: tl.tensor,
    bx: tl.tensor, by: tl.tensor, bz: tl.tensor, PERIODIC: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor, tl.tensor, tl.tensor, tl.tensor]:  # fmt: skip
    """Of the entries `at` of a row of n: j, x_j - x_i, its square, and whether the pair is there and has messages."""
    inside = at < n
    entry = tl.load(entries + at, mask=inside, other=0)
    j = entry & _INDEX
    xj, yj, zj = load_vector(x, j, inside)
    dx = nearest_image(xj - xi, bx, PERIODIC)
    dy = nearest_image(yj - yi, by, PERIODIC)
    dz = nearest_image(zj - zi, bz, PERIODIC)
    return j, dx, dy, dz, dx * dx + dy * dy + dz * dz, inside & ((entry & _NO_MESSAGE) == 0)


@triton.jit(do_not_specialize=["first"])
def select_near(
    x: tl.tensor, neighbor: tl.tensor, count: tl.tensor, box: tl.tensor, near: tl.tensor, near_place: tl.tensor,
    toward: tl.tensor, near_count: tl.tensor, capacity: tl.tensor, first: tl.tensor, CUTOFF: tl.constexpr,
    PERIODIC: tl.constexpr, BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    """Neighbors of bead `first + program` nearer than CUTOFF that exchange messages: how far, and which way.

    Everything is computed in float64 and rounded once. A float32 distance is off by up to 5e-7 Å at 15 Å, one of
    float32 positions by more: that put forces off by 6e-6 (chignolin) and 1.6e-5 (1ENH, extended). 31 bits of the
    cutoff are 7e-9 Å, and bits are what the table is looked up with.

    Args:
        x: [B, 3] float64 Å.
        neighbor, count: the Verlet list.
        near: [B, capacity] int32, out: flat indices, ascending.
        near_place: [B, capacity], out: distances, in Å (float) or in units of CUTOFF / 2^31 (int32).
        toward: [B, 3, capacity], out: unit vectors from the bead to its neighbors; 0 where they coincide.
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
        keep = messages & (square < CUTOFF * CUTOFF)
        slot = found + tl.cumsum(keep.to(tl.int32), axis=0) - 1
        tl.store(near + row + slot, j, mask=keep)
        d = tl.sqrt(square)
        if near_place.dtype.element_ty == tl.int32:
            place = tl.minimum(d * (2147483648.0 / CUTOFF), 2147483647.0).to(tl.int32)
        else:
            place = d
        tl.store(near_place + row + slot, place, mask=keep)
        scale = tl.where(square > 0, 1.0 / tl.where(square > 0, d, 1.0), 0.0)
        to_j = toward + 3 * row + slot
        tl.store(to_j, dx * scale, mask=keep)
        tl.store(to_j + capacity, dy * scale, mask=keep)
        tl.store(to_j + 2 * capacity, dz * scale, mask=keep)
        found += tl.sum(keep.to(tl.int32), axis=0)
    tl.store(near_count + i, found)
