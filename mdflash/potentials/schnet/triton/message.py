"""Flash message passing with tabulated filters: gather, filter, product and reduction in one pass.

A program owns bead i and a slice of C channels, and walks the row of i in the list of near neighbours:

    forward    a_i   = sum_j h_j * w(d_ij)
    backward   dL/dh_i = sum_j g_j * w(d_ij)                               g = dL/da
               F_i  += sum_j (x_j - x_i) / d_ij  sum_c w'_c(d_ij) (g_i h_j + g_j h_i)_c

The graph is symmetric, so the same row is the CSR by destination (forward) and by source (backward): no atomics, sums
in the order of the row, nothing of size [edges, features] in memory, and w' holds the derivative of the envelope.

w is a cubic in each interval of the table (`tables.py`): w = v + t (s + t (c + t (s' - s - 2 c) / 3)), with s' the
slope at the next knot. 16-bit tables are read linearly, v and s each on its own: the difference of two rounded values
would spoil a cubic's derivative (0.05 % of v over an interval of 0.01 Å), and a linear read moves half the bytes.

What a full evaluation reads, 1ENH folded, 64 replicas: 17,216 beads x 164 neighbours = 2.8 M directed edges, 128
channels, 4 blocks:

|                         | cubic fp32 | linear 16-bit |
|-------------------------|------------|---------------|
| table, forward          | 16 B       | 4 B           |   per edge and channel
| features, forward       | 4 B        | 2 B           |
| table, backward         | 16 B       | 8 B           |
| features, backward      | 8 B        | 6 B           |
| one evaluation          | 63 GB      | 29 GB         |
| multiply-adds           | 24 G       | 14 G          |

63 GB would take 12 ms from an L2 cache of 5 TB/s. So the channels are cut into slices, and the slice is the slow index
of the grid: programs that run at the same time read one slice of the table, [K + 1, 3, C] (96 kB for K = 1,024 and
C = 8 in fp32), which stays in the L1 caches (28 TB/s together on an H100: 2.3 ms). Narrow slices pay for it with index
arithmetic, repeated for each slice; the list itself (8 B an edge) is read once for each slice from L2.
"""

# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators

from __future__ import annotations

import triton
import triton.language as tl

from mdflash.neighbors.triton import load_vector, nearest_image


@triton.jit
def _interval(d, inside, slice_, INTERVALS: tl.constexpr, STEP: tl.constexpr, ROWS: tl.constexpr, C: tl.constexpr):
    """Where the knot's rows of a slice begin [E, 1], and the place t in the interval [E, 1]."""
    u = tl.where(inside, d, 0.0) * (1.0 / STEP)
    k = tl.minimum(u.to(tl.int32), INTERVALS - 1)
    t = u - k.to(u.dtype)
    return ((slice_ * (INTERVALS + 1) + k) * (ROWS * C))[:, None], t[:, None]


@triton.jit
def _value(table, at, t, inside, C: tl.constexpr, CUBIC: tl.constexpr, DTYPE: tl.constexpr):
    """w [E, C] (for 16-bit tables in units of the channel's scale)."""
    v = tl.load(table + at, mask=inside, other=0.0).to(DTYPE)
    if CUBIC:
        s = tl.load(table + at + C, mask=inside, other=0.0)
        c = tl.load(table + at + 2 * C, mask=inside, other=0.0)
        q = tl.load(table + at + 4 * C, mask=inside, other=0.0) - s - 2.0 * c
        return v + t * (s + t * (c + t * (q * (1.0 / 3.0))))
    else:
        return v + t * (tl.load(table + at + 2 * C, mask=inside, other=0.0).to(DTYPE) - v)


@triton.jit
def _slope(table, at, t, inside, C: tl.constexpr, CUBIC: tl.constexpr, DTYPE: tl.constexpr):
    """h w' [E, C]."""
    s = tl.load(table + at + C, mask=inside, other=0.0).to(DTYPE)
    if CUBIC:
        c = 2.0 * tl.load(table + at + 2 * C, mask=inside, other=0.0)
        q = tl.load(table + at + 4 * C, mask=inside, other=0.0) - s - c
        return s + t * (c + t * q)
    else:
        return s + t * (tl.load(table + at + 3 * C, mask=inside, other=0.0).to(DTYPE) - s)


@triton.jit(do_not_specialize=["first"])
def gather_messages(
    h, table, scale, near, distance, near_count, out, capacity, first,
    F: tl.constexpr, INTERVALS: tl.constexpr, STEP: tl.constexpr, CUBIC: tl.constexpr,
    C: tl.constexpr, E: tl.constexpr,
):  # fmt: skip
    """out[i] = sum_j h_j w(d_ij): the forward sweep; grid (beads, F / C).

    Args:
        h: [n, F] features of the n beads from `first` on.
        table: [F / C, INTERVALS + 1, 3 or 2, C]; rows v, s, c (CUBIC) or v, s.
        scale: [2, F] of v and s, for 16-bit tables.
        near, distance, near_count: see `neighbors.triton.select_near`.
        out: [n, F], the dtype of the sums.
        STEP: distance between knots, Å.
    """
    DTYPE: tl.constexpr = out.dtype.element_ty
    ROWS: tl.constexpr = 3 if CUBIC else 2
    i = tl.program_id(0)
    slice_ = tl.program_id(1)
    n = tl.load(near_count + first + i)
    row = (first + i).to(tl.int64) * capacity
    channel = tl.arange(0, C)[None, :]
    edge = tl.arange(0, E)
    acc = tl.zeros([E, C], DTYPE)
    for k in range(0, n, E):
        inside = k + edge < n
        j = tl.load(near + row + k + edge, mask=inside, other=0) - first
        d = tl.load(distance + row + k + edge, mask=inside, other=0.0)
        at, t = _interval(d, inside, slice_, INTERVALS, STEP, ROWS, C)
        w = _value(table, at + channel, t, inside[:, None], C, CUBIC, DTYPE)
        acc += w * tl.load(h + j[:, None] * F + slice_ * C + channel, mask=inside[:, None], other=0.0).to(DTYPE)
    total = tl.sum(acc, axis=0)
    own = slice_ * C + tl.arange(0, C)
    if not CUBIC:
        total *= tl.load(scale + own)
    tl.store(out + i.to(tl.int64) * F + own, total)


@triton.jit(do_not_specialize=["first", "beads"])
def scatter_gradients(
    h, g, table, scale, near, distance, near_count, centred, box, out, forces, capacity, first, beads,
    F: tl.constexpr, INTERVALS: tl.constexpr, STEP: tl.constexpr, CUBIC: tl.constexpr, FEATURES: tl.constexpr,
    ADD: tl.constexpr, PERIODIC: tl.constexpr, C: tl.constexpr, E: tl.constexpr,
):  # fmt: skip
    """The backward sweep; grid (beads, F / C); see the module's equations.

    Args:
        g: [n, F] dL/da; its dtype is that of the sums.
        centred: [B, 3] Å.
        out: [n, F] dL/dh, where FEATURES.
        forces: [F / C, B, 3] this slice's share, added to what stands there where ADD.
        beads: B.
    """
    DTYPE: tl.constexpr = g.dtype.element_ty
    ROWS: tl.constexpr = 3 if CUBIC else 2
    i = tl.program_id(0)
    slice_ = tl.program_id(1)
    flat = first + i
    n = tl.load(near_count + flat)
    row = flat.to(tl.int64) * capacity
    channel = tl.arange(0, C)[None, :]
    own = slice_ * C + tl.arange(0, C)
    edge = tl.arange(0, E)
    at_i = i.to(tl.int64) * F + own
    scale_s = tl.full([C], 1.0, DTYPE)
    if not CUBIC:
        scale_s = tl.load(scale + F + own)
    gi = (tl.load(g + at_i) * scale_s * (1.0 / STEP))[None, :]
    hi = (tl.load(h + at_i).to(DTYPE) * scale_s * (1.0 / STEP))[None, :]
    bx = tl.load(box).to(DTYPE)
    by = tl.load(box + 1).to(DTYPE)
    bz = tl.load(box + 2).to(DTYPE)
    xi = tl.load(centred + 3 * flat)
    yi = tl.load(centred + 3 * flat + 1)
    zi = tl.load(centred + 3 * flat + 2)
    acc = tl.zeros([E, C], DTYPE)
    fx = tl.zeros([E], DTYPE)
    fy = tl.zeros([E], DTYPE)
    fz = tl.zeros([E], DTYPE)
    for k in range(0, n, E):
        inside = k + edge < n
        j = tl.load(near + row + k + edge, mask=inside, other=0)
        d = tl.load(distance + row + k + edge, mask=inside, other=0.0)
        xj, yj, zj = load_vector(centred, j, inside)
        at, t = _interval(d, inside, slice_, INTERVALS, STEP, ROWS, C)
        at_j = (j - first)[:, None] * F + slice_ * C + channel
        gj = tl.load(g + at_j, mask=inside[:, None], other=0.0)
        hj = tl.load(h + at_j, mask=inside[:, None], other=0.0).to(DTYPE)
        dw = _slope(table, at + channel, t, inside[:, None], C, CUBIC, DTYPE)
        if FEATURES:
            acc += gj * _value(table, at + channel, t, inside[:, None], C, CUBIC, DTYPE)
        apart = inside & (d > 0)  # beads on top of each other: no direction, so no force
        pull = tl.where(apart, tl.sum(dw * (gi * hj + gj * hi), axis=1) / tl.where(apart, d, 1.0), 0.0)
        fx += pull * nearest_image(xj - xi, bx, PERIODIC)
        fy += pull * nearest_image(yj - yi, by, PERIODIC)
        fz += pull * nearest_image(zj - zi, bz, PERIODIC)
    if FEATURES:
        total = tl.sum(acc, axis=0)
        if not CUBIC:
            total *= tl.load(scale + own)
        tl.store(out + at_i, total)
    to = forces + (slice_.to(tl.int64) * beads + flat) * 3
    sx = tl.sum(fx, axis=0)
    sy = tl.sum(fy, axis=0)
    sz = tl.sum(fz, axis=0)
    if ADD:
        sx += tl.load(to)
        sy += tl.load(to + 1)
        sz += tl.load(to + 2)
    tl.store(to, sx)
    tl.store(to + 1, sy)
    tl.store(to + 2, sz)
