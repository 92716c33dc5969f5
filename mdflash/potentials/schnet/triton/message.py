"""Flash message passing with tabulated filters: gather, filter, product and reduction in one pass.

A program owns bead i and a slice of C channels, and walks the row of i in the list of near neighbors:

    forward    a_i   = sum_j h_j * w(d_ij)
    backward   dL/dh_i = sum_j g_j * w(d_ij)                               g = dL/da
               F_i  += sum_j u_ij  sum_c w'_c(d_ij) (g_i h_j + g_j h_i)_c  u_ij = (x_j - x_i) / d_ij

The graph is symmetric, so the same row is the CSR by destination (forward) and by source (backward): no atomics, sums
in the order of the row, nothing of size [edges, features] in memory, and w' holds the derivative of the envelope.

w is a cubic in each interval of the table (`tables.py`), v + t (s + t (c + t e)), and w' is that cubic's derivative in
every precision; in 16 bits v has steps of up to a 2,000th at the knots, which w' does not know of.

The four numbers of a channel stand side by side, [slice, interval, channel, 4], and neighboring threads take
neighboring channels of one edge: a warp's load of 16 (in 16 bits, 8) bytes a thread then takes whole lines of the
cache. Nothing matters more: what bounds these kernels is how many lines the L1 caches touch (89 % of the H100's limit
with 8 lanes and a depth of 2, arithmetic 45 %). The same numbers read by two threads an edge, each from a line of its
own, took three times as long.

A tile is [lanes, edges, depth], with channel = lane + LANES * depth: depth is for the registers of a thread, so that
what an edge costs once (indices, addresses, its place in the table) is shared by `depth` channels.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def interval(
    place: tl.tensor,
    INTERVALS: tl.constexpr,
    STEP: tl.constexpr,
    SHIFT: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:
    """The interval k and the place t in it, 0 to 1, of entries of `near_place` (see `select_near`)."""
    if place.dtype == tl.int32:
        k = place >> SHIFT
        t = (place & ((1 << SHIFT) - 1)).to(tl.float32) * (1.0 / (1 << SHIFT))
    else:
        u = place * (1.0 / STEP)
        k = tl.minimum(u.to(tl.int32), INTERVALS - 1)
        t = u - k.to(u.dtype)
    return k, t


@triton.jit
def _cubic(
    table: tl.tensor, interval: tl.tensor, slice_: tl.tensor, INTERVALS: tl.constexpr, LANES: tl.constexpr,
    DEPTH: tl.constexpr, E: tl.constexpr, DTYPE: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor, tl.tensor]:  # fmt: skip
    """v, s, c and e, each [LANES, E, DEPTH]."""
    lane = tl.arange(0, LANES)[:, None, None, None]
    depth = tl.arange(0, DEPTH)[None, None, :, None]
    part = tl.arange(0, 4)[None, None, None, :]
    at = ((slice_ * INTERVALS + interval) * (4 * LANES * DEPTH))[None, :, None, None]
    # pointers first, depth last: it becomes a constant in the instruction, not an address in a register
    tile = tl.load(table + (at + 4 * lane) + (4 * LANES * depth + part))
    even, odd = tl.split(tl.reshape(tile, [LANES, E, DEPTH, 2, 2]))
    v, c = tl.split(even)
    s, e = tl.split(odd)
    return v.to(DTYPE), s.to(DTYPE), c.to(DTYPE), e.to(DTYPE)


@triton.jit
def _of_neighbors(
    features: tl.tensor,
    j: tl.tensor,
    inside: tl.tensor,
    start: tl.tensor,
    F: tl.constexpr,
    LANES: tl.constexpr,
    DEPTH: tl.constexpr,
) -> tl.tensor:
    """Channels `start` and on of rows j [E] of `features`: [LANES, E, DEPTH]."""
    lane = tl.arange(0, LANES)[:, None, None]
    depth = tl.arange(0, DEPTH)[None, None, :]
    # told that addresses are not contiguous, the compiler gives each thread one channel, as the table's loads need
    at = tl.max_contiguous(j[None, :, None] * F + start + lane, [1, 1, 1])
    return tl.load(features + at + LANES * depth, mask=inside[None, :, None], other=0.0)


@triton.jit(do_not_specialize=["first"])
def gather_messages(
    h: tl.tensor, table: tl.tensor, scale: tl.tensor, near: tl.tensor, near_place: tl.tensor, near_count: tl.tensor,
    out: tl.tensor, capacity: tl.tensor, first: tl.tensor, F: tl.constexpr, INTERVALS: tl.constexpr, STEP: tl.constexpr,
    SHIFT: tl.constexpr, LANES: tl.constexpr, DEPTH: tl.constexpr, E: tl.constexpr,
) -> None:  # fmt: skip
    """out[i] = sum_j h_j w(d_ij): the forward sweep; grid (beads, F / C), C = LANES * DEPTH.

    Args:
        h: [n, F] features of the n beads from `first` on.
        table: [F / C, INTERVALS, C, 4], in units of `scale` [F].
        near, near_place, near_count: see `neighbors.triton.select_near`.
        out: [n, F], the dtype of the sums.
        STEP: distance between knots, Å; SHIFT: 31 - log2(INTERVALS).
    """
    DTYPE: tl.constexpr = out.dtype.element_ty
    i = tl.program_id(0)
    slice_ = tl.program_id(1)
    start = slice_ * (LANES * DEPTH)
    n = tl.load(near_count + first + i)
    row = (first + i).to(tl.int64) * capacity
    edge = tl.arange(0, E)
    acc = tl.zeros([LANES, E, DEPTH], DTYPE)
    for m in range(0, n, E):
        inside = m + edge < n
        j = tl.load(near + row + m + edge, mask=inside, other=0) - first
        place = tl.load(near_place + row + m + edge, mask=inside, other=0)
        k, t = interval(place, INTERVALS, STEP, SHIFT)
        v, s, c, e = _cubic(table, k, slice_, INTERVALS, LANES, DEPTH, E, DTYPE)
        t = t[None, :, None]
        acc += (v + t * (s + t * (c + t * e))) * _of_neighbors(h, j, inside, start, F, LANES, DEPTH).to(DTYPE)
    own = start + tl.arange(0, LANES)[:, None] + LANES * tl.arange(0, DEPTH)[None, :]
    tl.store(out + i.to(tl.int64) * F + own, tl.sum(acc, axis=1) * tl.load(scale + own))


@triton.jit(do_not_specialize=["first", "beads"])
def scatter_gradients(
    h: tl.tensor, g: tl.tensor, table: tl.tensor, scale: tl.tensor, near: tl.tensor, near_place: tl.tensor,
    toward: tl.tensor, near_count: tl.tensor, out: tl.tensor, forces: tl.tensor, capacity: tl.tensor, first: tl.tensor,
    beads: tl.tensor, F: tl.constexpr, INTERVALS: tl.constexpr, STEP: tl.constexpr, SHIFT: tl.constexpr,
    FEATURES: tl.constexpr, ADD: tl.constexpr, LANES: tl.constexpr, DEPTH: tl.constexpr, E: tl.constexpr,
) -> None:  # fmt: skip
    """The backward sweep; grid (beads, F / C); see the module's equations, and above.

    Args:
        g: [n, F] dL/da; its dtype is that of the sums.
        toward: [B, 3, capacity] u_ij.
        out: [n, F] dL/dh, where FEATURES.
        forces: [F / C, B, 3] this slice's share, added to what stands there where ADD.
        beads: B.
    """
    DTYPE: tl.constexpr = g.dtype.element_ty
    i = tl.program_id(0)
    slice_ = tl.program_id(1)
    start = slice_ * (LANES * DEPTH)
    flat = first + i
    n = tl.load(near_count + flat)
    row = flat.to(tl.int64) * capacity
    own = start + tl.arange(0, LANES)[:, None] + LANES * tl.arange(0, DEPTH)[None, :]
    edge = tl.arange(0, E)
    at_i = i.to(tl.int64) * F + own
    unit = tl.load(scale + own)
    gi = (tl.load(g + at_i) * unit * (1.0 / STEP))[:, None, :]
    hi = (tl.load(h + at_i).to(DTYPE) * unit * (1.0 / STEP))[:, None, :]
    acc = tl.zeros([LANES, E, DEPTH], DTYPE)
    fx = tl.zeros([LANES, E], DTYPE)
    fy = tl.zeros([LANES, E], DTYPE)
    fz = tl.zeros([LANES, E], DTYPE)
    for m in range(0, n, E):
        inside = m + edge < n
        j = tl.load(near + row + m + edge, mask=inside, other=0) - first
        place = tl.load(near_place + row + m + edge, mask=inside, other=0)
        to_j = toward + 3 * row + m + edge
        ux = tl.load(to_j, mask=inside, other=0.0)
        uy = tl.load(to_j + capacity, mask=inside, other=0.0)
        uz = tl.load(to_j + 2 * capacity, mask=inside, other=0.0)
        k, t = interval(place, INTERVALS, STEP, SHIFT)
        v, s, c, e = _cubic(table, k, slice_, INTERVALS, LANES, DEPTH, E, DTYPE)
        gj = _of_neighbors(g, j, inside, start, F, LANES, DEPTH)
        hj = _of_neighbors(h, j, inside, start, F, LANES, DEPTH).to(DTYPE)
        t = t[None, :, None]
        curve = c + t * e
        slope = s + t * curve
        if FEATURES:
            acc += gj * (v + t * slope)
        slope += t * (curve + t * e)
        pull = tl.sum(slope * (gi * hj + gj * hi), axis=2)
        fx += pull * ux[None, :]
        fy += pull * uy[None, :]
        fz += pull * uz[None, :]
    if FEATURES:
        tl.store(out + at_i, tl.sum(acc, axis=1) * unit)
    to = forces + (slice_.to(tl.int64) * beads + flat) * 3
    sx = tl.sum(tl.sum(fx, axis=1), axis=0)
    sy = tl.sum(tl.sum(fy, axis=1), axis=0)
    sz = tl.sum(tl.sum(fz, axis=1), axis=0)
    if ADD:
        sx += tl.load(to)
        sy += tl.load(to + 1)
        sz += tl.load(to + 2)
    tl.store(to, sx)
    tl.store(to + 1, sy)
    tl.store(to + 2, sz)
