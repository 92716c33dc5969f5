"""`convolution` on a GPU: the same messages, their changes and their derivatives, by Triton kernels.

A program owns bead i of a frame and a slice of channels, and walks the pairs of i (`Pairs.rows`). The graph is
symmetric, so sums over j are the same backward as forward: dL/dy of `messages` is `messages` of dL/dm, and (dL/dy',
dL/dy) of `tangent` is `tangent` of (dL/dm', dL/dm). The gradient by the table sorts the pairs by their interval of it,
and a program owns an interval. No atomics: the same bits every time, and nothing of size [pairs, features] in memory.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from mdflash.training.convolution import Grid, Pairs

CHANNELS, PAIRS = 32, 16
"""Of a tile."""


@triton.jit
def _interval(
    d: tl.tensor,
    LOWER: tl.constexpr,
    SPACING: tl.constexpr,
    KNOTS: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:
    """Which interval of the table, and where in it."""
    u = (d - LOWER) / SPACING
    k = tl.minimum(tl.maximum(u.to(tl.int32), 0), KNOTS - 2)
    return k, u - k.to(u.dtype)


@triton.jit
def _row(
    d: tl.tensor, row_pair: tl.tensor, row_other: tl.tensor, frame: tl.tensor, i: tl.tensor, at: tl.tensor,
    degree: tl.tensor, pairs: tl.tensor, LOWER: tl.constexpr, SPACING: tl.constexpr, KNOTS: tl.constexpr,
    CUTOFF: tl.constexpr,
) -> tuple[tl.tensor, ...]:  # fmt: skip
    """Of the pairs `at` in the row of bead i, [E]: number, other bead, whether it is near, place in the table."""
    p = tl.load(row_pair + i * degree + at, mask=at < degree, other=-1)
    j = tl.load(row_other + i * degree + at, mask=at < degree, other=0)
    r = tl.load(d + frame * pairs + p, mask=p >= 0, other=CUTOFF)
    k, t = _interval(r, LOWER, SPACING, KNOTS)
    return p, j, (p >= 0) & (r < CUTOFF), k, t


@triton.jit
def _weights(t: tl.tensor) -> tuple[tl.tensor, ...]:
    """Of v_k, s_k, v_k+1, s_k+1 in W, and in h W' (where v_k+1 has minus that of v_k)."""
    a = (1.0 + 2.0 * t) * (1.0 - t) * (1.0 - t)
    b = t * (1.0 - t) * (1.0 - t)
    c = t * t * (3.0 - 2.0 * t)
    e = t * t * (t - 1.0)
    return a, b, c, e, 6.0 * t * (t - 1.0), (1.0 - t) * (1.0 - 3.0 * t), t * (3.0 * t - 2.0)


@triton.jit
def _curve(
    table: tl.tensor,
    k: tl.tensor,
    t: tl.tensor,
    f: tl.tensor,
    near: tl.tensor,
    F: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:
    """W and h W' at the places of the pairs, [E, C]."""
    at = table + k[:, None] * (2 * F) + f[None, :]
    inside = near[:, None] & (f < F)[None, :]
    v0 = tl.load(at, mask=inside, other=0.0)
    s0 = tl.load(at + F, mask=inside, other=0.0)
    v1 = tl.load(at + 2 * F, mask=inside, other=0.0)
    s1 = tl.load(at + 3 * F, mask=inside, other=0.0)
    a, b, c, e, da, db, de = _weights(t[:, None])
    return a * v0 + b * s0 + c * v1 + e * s1, da * (v0 - v1) + db * s0 + de * s1


@triton.jit
def _of_beads(features: tl.tensor, bead: tl.tensor, f: tl.tensor, near: tl.tensor, F: tl.constexpr) -> tl.tensor:
    """Rows `bead` [E] of features [M N, F]: [E, C]."""
    return tl.load(features + bead[:, None] * F + f[None, :], mask=near[:, None] & (f < F)[None, :], other=0.0)


@triton.jit(do_not_specialize=["beads", "degree", "pairs"])
def messages(
    y: tl.tensor, d: tl.tensor, table: tl.tensor, row_pair: tl.tensor, row_other: tl.tensor, m: tl.tensor,
    beads: tl.tensor, degree: tl.tensor, pairs: tl.tensor, F: tl.constexpr, LOWER: tl.constexpr, SPACING: tl.constexpr,
    KNOTS: tl.constexpr, CUTOFF: tl.constexpr, C: tl.constexpr, E: tl.constexpr,
) -> None:  # fmt: skip
    """m [M, N, F]; grid (M N, slices)."""
    own = tl.program_id(0).to(tl.int64)
    frame, i = own // beads, own % beads
    f = tl.program_id(1) * C + tl.arange(0, C)
    total = tl.zeros([E, C], y.dtype.element_ty)
    for start in range(0, degree, E):
        at = start + tl.arange(0, E)
        _, j, near, k, t = _row(d, row_pair, row_other, frame, i, at, degree, pairs, LOWER, SPACING, KNOTS, CUTOFF)
        total += _curve(table, k, t, f, near, F)[0] * _of_beads(y, frame * beads + j, f, near, F)
    tl.store(m + own * F + f, tl.sum(total, axis=0), mask=f < F)


@triton.jit(do_not_specialize=["beads", "degree", "pairs"])
def tangent(
    y: tl.tensor, dy: tl.tensor, d: tl.tensor, dd: tl.tensor, table: tl.tensor, row_pair: tl.tensor,
    row_other: tl.tensor, m: tl.tensor, dm: tl.tensor, beads: tl.tensor, degree: tl.tensor, pairs: tl.tensor,
    F: tl.constexpr, LOWER: tl.constexpr, SPACING: tl.constexpr, KNOTS: tl.constexpr, CUTOFF: tl.constexpr,
    C: tl.constexpr, E: tl.constexpr,
) -> None:  # fmt: skip
    """m and m' [M, N, F]; grid (M N, slices)."""
    own = tl.program_id(0).to(tl.int64)
    frame, i = own // beads, own % beads
    f = tl.program_id(1) * C + tl.arange(0, C)
    total = tl.zeros([E, C], y.dtype.element_ty)
    change = tl.zeros([E, C], y.dtype.element_ty)
    for start in range(0, degree, E):
        at = start + tl.arange(0, E)
        p, j, near, k, t = _row(d, row_pair, row_other, frame, i, at, degree, pairs, LOWER, SPACING, KNOTS, CUTOFF)
        dr = tl.load(dd + frame * pairs + p, mask=near, other=0.0)
        w, slope = _curve(table, k, t, f, near, F)
        yj = _of_beads(y, frame * beads + j, f, near, F)
        total += w * yj
        change += w * _of_beads(dy, frame * beads + j, f, near, F) + slope * (dr / SPACING)[:, None] * yj
    tl.store(m + own * F + f, tl.sum(total, axis=0), mask=f < F)
    tl.store(dm + own * F + f, tl.sum(change, axis=0), mask=f < F)


@triton.jit(do_not_specialize=["beads", "pairs"])
def slopes(
    y: tl.tensor, bar_m: tl.tensor, d: tl.tensor, table: tl.tensor, first: tl.tensor, second: tl.tensor,
    bar_d: tl.tensor, beads: tl.tensor, pairs: tl.tensor, F: tl.constexpr, LOWER: tl.constexpr, SPACING: tl.constexpr,
    KNOTS: tl.constexpr, CUTOFF: tl.constexpr, C: tl.constexpr, E: tl.constexpr,
) -> None:  # fmt: skip
    """bar_d [M, P] of `messages`; grid (M, tiles of pairs)."""
    frame = tl.program_id(0).to(tl.int64)
    p = tl.program_id(1) * E + tl.arange(0, E)
    r = tl.load(d + frame * pairs + p, mask=p < pairs, other=CUTOFF)
    i = frame * beads + tl.load(first + p, mask=p < pairs, other=0)
    j = frame * beads + tl.load(second + p, mask=p < pairs, other=0)
    near = r < CUTOFF
    k, t = _interval(r, LOWER, SPACING, KNOTS)
    total = tl.zeros([E, C], y.dtype.element_ty)
    for start in range(0, F, C):
        f = start + tl.arange(0, C)
        both = _of_beads(bar_m, i, f, near, F) * _of_beads(y, j, f, near, F)
        both += _of_beads(bar_m, j, f, near, F) * _of_beads(y, i, f, near, F)
        total += _curve(table, k, t, f, near, F)[1] * both
    tl.store(bar_d + frame * pairs + p, tl.sum(total, axis=1) / SPACING, mask=p < pairs)


@triton.jit(do_not_specialize=["beads", "pairs"])
def to_table(
    y: tl.tensor, dy: tl.tensor, bar_m: tl.tensor, bar_dm: tl.tensor, d: tl.tensor, dd: tl.tensor, first: tl.tensor,
    second: tl.tensor, order: tl.tensor, starts: tl.tensor, parts: tl.tensor, beads: tl.tensor, pairs: tl.tensor,
    F: tl.constexpr, LOWER: tl.constexpr, SPACING: tl.constexpr, C: tl.constexpr, E: tl.constexpr,
) -> None:  # fmt: skip
    """parts [K - 1, 4, F]: what the pairs in an interval add to v_k, s_k, v_k+1, s_k+1; grid (K - 1, slices).

    `order` are the pairs of all frames sorted by interval, and `starts` [K] is where each begins.
    """
    interval = tl.program_id(0)
    f = tl.program_id(1) * C + tl.arange(0, C)
    begin, end = tl.load(starts + interval), tl.load(starts + interval + 1)
    v0 = tl.zeros([E, C], y.dtype.element_ty)
    s0 = tl.zeros([E, C], y.dtype.element_ty)
    v1 = tl.zeros([E, C], y.dtype.element_ty)
    s1 = tl.zeros([E, C], y.dtype.element_ty)
    for start in range(begin, end, E):
        at = start + tl.arange(0, E)
        near = at < end
        flat = tl.load(order + at, mask=near, other=0)
        frame, p = flat // pairs, flat % pairs
        i = frame * beads + tl.load(first + p)
        j = frame * beads + tl.load(second + p)
        t = (tl.load(d + flat) - LOWER) / SPACING - interval
        a, b, c, e, da, db, de = _weights(t[:, None])
        yi, yj = _of_beads(y, i, f, near, F), _of_beads(y, j, f, near, F)
        mi, mj = _of_beads(bar_dm, i, f, near, F), _of_beads(bar_dm, j, f, near, F)
        bar_w = mi * _of_beads(dy, j, f, near, F) + mj * _of_beads(dy, i, f, near, F)
        bar_w += _of_beads(bar_m, i, f, near, F) * yj + _of_beads(bar_m, j, f, near, F) * yi
        bar_g = (mi * yj + mj * yi) * (tl.load(dd + flat) / SPACING)[:, None]
        v0 += a * bar_w + da * bar_g
        s0 += b * bar_w + db * bar_g
        v1 += c * bar_w - da * bar_g
        s1 += e * bar_w + de * bar_g
    out = parts + interval.to(tl.int64) * (4 * F) + f
    tl.store(out, tl.sum(v0, axis=0), mask=f < F)
    tl.store(out + F, tl.sum(s0, axis=0), mask=f < F)
    tl.store(out + 2 * F, tl.sum(v1, axis=0), mask=f < F)
    tl.store(out + 3 * F, tl.sum(s1, axis=0), mask=f < F)


def _tile(features: int, grid: Grid) -> dict[str, Any]:
    return {
        "F": features, "LOWER": grid.lower, "SPACING": grid.spacing, "C": CHANNELS, "E": PAIRS, "num_warps": 1,
    }  # fmt: skip


def _shape(features: int, grid: Grid) -> dict[str, Any]:
    """Of the kernels that look the table up."""
    return {**_tile(features, grid), "KNOTS": grid.knots, "CUTOFF": grid.cutoff}


def _messages(y: Tensor, d: Tensor, table: Tensor, pairs: Pairs, grid: Grid) -> Tensor:
    y, m = y.contiguous(), torch.empty_like(y, memory_format=torch.contiguous_format)
    row_pair, row_other, _ = pairs.rows
    frames, beads, features = y.shape
    messages[(frames * beads, triton.cdiv(features, CHANNELS))](
        y, d, table, row_pair, row_other, m, beads, row_pair.shape[1], d.shape[1], **_shape(features, grid)
    )
    return m


def _tangent(
    y: Tensor, dy: Tensor, d: Tensor, dd: Tensor, table: Tensor, pairs: Pairs, grid: Grid
) -> tuple[Tensor, Tensor]:
    y, dy = y.contiguous(), dy.contiguous()
    m, dm = torch.empty_like(y), torch.empty_like(y)
    row_pair, row_other, _ = pairs.rows
    frames, beads, features = y.shape
    tangent[(frames * beads, triton.cdiv(features, CHANNELS))](
        y, dy, d, dd, table, row_pair, row_other, m, dm, beads, row_pair.shape[1], d.shape[1], **_shape(features, grid)
    )
    return m, dm


class Messages(torch.autograd.Function):
    """As `convolution.Messages`."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, d: Tensor, table: Tensor, pairs: Pairs, grid: Grid) -> Tensor:
        y, d, table = y.detach(), d.detach().contiguous(), table.detach().contiguous()
        ctx.save_for_backward(y, d, table)
        ctx.pairs, ctx.grid = pairs, grid
        return _messages(y, d, table, pairs, grid)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, bar_m: Tensor) -> tuple[Tensor | None, ...]:
        y, d, table = ctx.saved_tensors
        pairs, grid = ctx.pairs, ctx.grid
        bar_m, bar_d = bar_m.contiguous(), torch.empty_like(d)
        frames, beads, features = y.shape
        slopes[(frames, triton.cdiv(d.shape[1], PAIRS))](
            y.contiguous(), bar_m, d, table, pairs.first, pairs.second, bar_d, beads, d.shape[1],
            **_shape(features, grid),
        )  # fmt: skip
        return _messages(bar_m, d, table, pairs, grid), bar_d, None, None, None


class TangentMessages(torch.autograd.Function):
    """As `convolution.TangentMessages`."""

    @staticmethod
    def forward(
        ctx: Any, y: Tensor, dy: Tensor, table: Tensor, d: Tensor, dd: Tensor, pairs: Pairs, grid: Grid
    ) -> tuple[Tensor, Tensor]:
        y, dy, table = y.detach().contiguous(), dy.detach().contiguous(), table.detach().contiguous()
        d, dd = d.detach().contiguous(), dd.detach().contiguous()
        ctx.save_for_backward(y, dy, table, d, dd)
        ctx.pairs, ctx.grid = pairs, grid
        return _tangent(y, dy, d, dd, table, pairs, grid)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, bar_m: Tensor, bar_dm: Tensor) -> tuple[Tensor | None, ...]:
        y, dy, table, d, dd = ctx.saved_tensors
        pairs, grid = ctx.pairs, ctx.grid
        bar_m, bar_dm = bar_m.contiguous(), bar_dm.contiguous()
        bar_dy, bar_y = _tangent(bar_dm, bar_m, d, dd, table, pairs, grid)
        interval = ((d - grid.lower) / grid.spacing).to(torch.int32).clamp_(0, grid.knots - 2)
        interval.masked_fill_(d >= grid.cutoff, grid.knots - 1)
        interval, order = torch.sort(interval.flatten(), stable=True)
        edges = torch.arange(grid.knots, dtype=torch.int32, device=d.device)
        starts = torch.searchsorted(interval, edges, out_int32=True)
        features = y.shape[2]
        parts = table.new_empty((grid.knots - 1, 4, features))
        to_table[(grid.knots - 1, triton.cdiv(features, CHANNELS))](
            y, dy, bar_m, bar_dm, d, dd, pairs.first, pairs.second, order, starts, parts, y.shape[1], d.shape[1],
            **_tile(features, grid),
        )  # fmt: skip
        bar_table = torch.zeros_like(table)
        bar_table[:-1] += parts[:, :2]
        bar_table[1:] += parts[:, 2:]
        return bar_y, bar_dy, bar_table, None, None, None, None
