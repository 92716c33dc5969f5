"""Continuous-filter convolution of a batch of frames, compiled, with the derivatives that force matching needs.

    m_i = sum_j y_j * W(d_ij)                                     messages
    m'_i = sum_j y'_j * W(d_ij) + y_j * W'(d_ij) d'_ij             their change along a displacement

W is a cubic Hermite table over the distance, so the filter network is evaluated at its knots and not for every pair:

    W(d) = a v_k + b s_k + c v_k+1 + e s_k+1      with the Hermite weights of t = (d - d_k) / h

A frame's features stay in the cache; nothing of size [pairs, features] exists. The gradient by the table is summed
over a fixed number of parts of the batch, one after the other, so it does not depend on how threads are scheduled.

| symbol        | variable     | shape                              |
|---------------|--------------|------------------------------------|
| y, y'         | y, dy        | [M, N, F], M frames of one molecule |
| d, d'         | d, dd        | [M, P] Å                           |
| v, h W'       | table        | [K, 2, F]                          |
| m, m'         | m, dm        | [M, N, F]                          |
| dL/dq         | bar_q        | as q                               |
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mdflash.compiled.jit import njit, prange
from mdflash.core.types import IntArray, Reals

PARTS = 8
"""Parts of a batch; more threads than that do not help here."""

_FAST = {"nsz", "arcp", "contract", "reassoc"}


class Grid(NamedTuple):
    """Where the knots of a filter table lie: lower + k h, k = 0..K - 1; filters vanish from `cutoff` on."""

    lower: float
    spacing: float
    knots: int
    cutoff: float

    def points(self, dtype: torch.dtype) -> Tensor:
        """[K] Å."""
        return (self.lower + self.spacing * torch.arange(self.knots, dtype=torch.float64)).to(dtype)


@dataclass(frozen=True, eq=False)
class Pairs:
    """The pairs of a molecule of N `beads` that exchange messages: beads i < j, [P] each."""

    first: Tensor
    second: Tensor
    beads: int

    @cached_property
    def rows(self) -> tuple[Tensor, Tensor, Tensor]:
        """The pairs of each bead, int32 [N, D]: which (or -1), with whom, and 1 where it is the first, or else -1."""
        bead = torch.cat([self.first, self.second])
        other = torch.cat([self.second, self.first])
        pair = torch.arange(len(self.first), device=bead.device).repeat(2)
        sign = torch.ones_like(bead)
        sign[len(self.first) :] = -1
        order = torch.argsort(bead * self.beads + other)
        count = torch.bincount(bead, minlength=self.beads)
        place = torch.arange(len(bead), device=bead.device) - (count.cumsum(0) - count)[bead[order]]
        rows = []
        for value, empty in ((pair, -1), (other, 0), (sign, 0)):
            row = torch.full((self.beads, max(int(count.max()), 1)), empty, dtype=torch.int32, device=bead.device)
            row[bead[order], place] = value[order].int()
            rows.append(row)
        return rows[0], rows[1], rows[2]

    def on_beads(self, pull: Tensor) -> Tensor:
        """[M, N, 3] of pulls [M, P, 3] that draw the first bead of a pair along, and the second against them."""
        pair, _, sign = self.rows
        return (pull[:, pair.clamp(min=0)] * sign[..., None]).sum(dim=2)


@njit(cache=True, inline="always")
def _interval(d: float, lower: float, spacing: float, knots: int) -> tuple[int, float]:
    """Which interval of the table, and where in it."""
    u = (d - lower) / spacing
    k = min(max(int(u), 0), knots - 2)
    return k, u - k


@njit(cache=True, fastmath=_FAST)
def _filter(
    table: Reals,  # [K, 2, F]
    k: int,
    t: float,
    w: Reals,  # [F]
) -> None:
    a = (1.0 + 2.0 * t) * (1.0 - t) * (1.0 - t)
    b = t * (1.0 - t) * (1.0 - t)
    c = t * t * (3.0 - 2.0 * t)
    e = t * t * (t - 1.0)
    a, b, c, e = table.dtype.type(a), table.dtype.type(b), table.dtype.type(c), table.dtype.type(e)
    for f in range(w.shape[0]):
        w[f] = a * table[k, 0, f] + b * table[k, 1, f] + c * table[k + 1, 0, f] + e * table[k + 1, 1, f]


@njit(cache=True, fastmath=_FAST)
def _slope(
    table: Reals,  # [K, 2, F]
    k: int,
    t: float,
    scale: float,
    w: Reals,  # [F]
) -> None:
    """W'(d) times `scale`, which holds 1 / h."""
    a = scale * 6.0 * t * (t - 1.0)
    b = scale * (1.0 - t) * (1.0 - 3.0 * t)
    e = scale * t * (3.0 * t - 2.0)
    a, b, e = table.dtype.type(a), table.dtype.type(b), table.dtype.type(e)
    for f in range(w.shape[0]):
        w[f] = a * (table[k, 0, f] - table[k + 1, 0, f]) + b * table[k, 1, f] + e * table[k + 1, 1, f]


@njit(cache=True, fastmath=_FAST)
def _add(
    out: Reals,  # [F]
    x: Reals,  # [F]
    w: Reals,  # [F]
) -> None:
    for f in range(w.shape[0]):
        out[f] += x[f] * w[f]


@njit(cache=True, fastmath=_FAST)
def _add2(
    out: Reals,  # [F]
    x: Reals,  # [F]
    w: Reals,  # [F]
    z: Reals,  # [F]
    g: Reals,  # [F]
) -> None:
    for f in range(w.shape[0]):
        out[f] += x[f] * w[f] + z[f] * g[f]


@njit(cache=True, fastmath=_FAST)
def _dot(
    w: Reals,  # [F]
    a: Reals,  # [F]
    x: Reals,  # [F]
    b: Reals,  # [F]
    y: Reals,  # [F]
) -> float:
    total: float = w[0] * (a[0] * x[0] + b[0] * y[0])
    for f in range(1, w.shape[0]):
        total += w[f] * (a[f] * x[f] + b[f] * y[f])
    return total


@njit(cache=True, parallel={"prange": True, "numpy": False}, nogil=True)
def _messages(
    y: Reals,  # [M, N, F]
    d: Reals,  # [M, P] Å
    first: IntArray,  # [P]
    second: IntArray,  # [P]
    table: Reals,  # [K, 2, F]
    lower: float,
    spacing: float,
    cutoff: float,
    m: Reals,  # [M, N, F] out
) -> None:
    for part in prange(PARTS):
        w = np.empty(y.shape[2], y.dtype)
        for frame in range(part * len(y) // PARTS, (part + 1) * len(y) // PARTS):
            for p in range(d.shape[1]):
                if d[frame, p] < cutoff:
                    i, j = first[p], second[p]
                    k, t = _interval(d[frame, p], lower, spacing, table.shape[0])
                    _filter(table, k, t, w)
                    _add(m[frame, i], y[frame, j], w)
                    _add(m[frame, j], y[frame, i], w)


@njit(cache=True, parallel={"prange": True, "numpy": False}, nogil=True)
def _messages_backward(
    y: Reals,  # [M, N, F]
    d: Reals,  # [M, P] Å
    first: IntArray,  # [P]
    second: IntArray,  # [P]
    table: Reals,  # [K, 2, F]
    lower: float,
    spacing: float,
    cutoff: float,
    bar_m: Reals,  # [M, N, F]
    bar_y: Reals,  # [M, N, F] out
    bar_d: Reals,  # [M, P] out
) -> None:
    for part in prange(PARTS):
        w = np.empty(y.shape[2], y.dtype)
        for frame in range(part * len(y) // PARTS, (part + 1) * len(y) // PARTS):
            for p in range(d.shape[1]):
                if d[frame, p] < cutoff:
                    i, j = first[p], second[p]
                    k, t = _interval(d[frame, p], lower, spacing, table.shape[0])
                    _filter(table, k, t, w)
                    _add(bar_y[frame, i], bar_m[frame, j], w)
                    _add(bar_y[frame, j], bar_m[frame, i], w)
                    _slope(table, k, t, 1.0 / spacing, w)
                    bar_d[frame, p] = _dot(w, bar_m[frame, i], y[frame, j], bar_m[frame, j], y[frame, i])


@njit(cache=True, parallel={"prange": True, "numpy": False}, nogil=True)
def _tangent(
    y: Reals,  # [M, N, F]
    dy: Reals,  # [M, N, F]
    d: Reals,  # [M, P] Å
    dd: Reals,  # [M, P]
    first: IntArray,  # [P]
    second: IntArray,  # [P]
    table: Reals,  # [K, 2, F]
    lower: float,
    spacing: float,
    cutoff: float,
    m: Reals,  # [M, N, F] out
    dm: Reals,  # [M, N, F] out
) -> None:
    for part in prange(PARTS):
        w, g = np.empty(y.shape[2], y.dtype), np.empty(y.shape[2], y.dtype)
        for frame in range(part * len(y) // PARTS, (part + 1) * len(y) // PARTS):
            for p in range(d.shape[1]):
                if d[frame, p] < cutoff:
                    i, j = first[p], second[p]
                    k, t = _interval(d[frame, p], lower, spacing, table.shape[0])
                    _filter(table, k, t, w)
                    _slope(table, k, t, dd[frame, p] / spacing, g)
                    _add(m[frame, i], y[frame, j], w)
                    _add(m[frame, j], y[frame, i], w)
                    _add2(dm[frame, i], dy[frame, j], w, y[frame, j], g)
                    _add2(dm[frame, j], dy[frame, i], w, y[frame, i], g)


@njit(cache=True, fastmath=_FAST)
def _add_to_table(
    bar_table: Reals,  # [K, 2, F]
    k: int,
    t: float,
    scale: float,
    bar_w: Reals,  # [F]
    bar_g: Reals,  # [F]
) -> None:
    a = (1.0 + 2.0 * t) * (1.0 - t) * (1.0 - t)
    b = t * (1.0 - t) * (1.0 - t)
    c = t * t * (3.0 - 2.0 * t)
    e = t * t * (t - 1.0)
    ag = scale * 6.0 * t * (t - 1.0)
    bg = scale * (1.0 - t) * (1.0 - 3.0 * t)
    eg = scale * t * (3.0 * t - 2.0)
    real = bar_table.dtype.type
    a, b, c, e, ag, bg, eg = real(a), real(b), real(c), real(e), real(ag), real(bg), real(eg)
    for f in range(bar_w.shape[0]):
        bar_table[k, 0, f] += a * bar_w[f] + ag * bar_g[f]
        bar_table[k, 1, f] += b * bar_w[f] + bg * bar_g[f]
        bar_table[k + 1, 0, f] += c * bar_w[f] - ag * bar_g[f]
        bar_table[k + 1, 1, f] += e * bar_w[f] + eg * bar_g[f]


@njit(cache=True, fastmath=_FAST)
def _products(
    bar_w: Reals,  # [F]
    bar_g: Reals,  # [F]
    bar_m: Reals,  # [F]
    bar_dm: Reals,  # [F]
    y: Reals,  # [F]
    dy: Reals,  # [F]
) -> None:
    for f in range(bar_w.shape[0]):
        bar_w[f] += bar_m[f] * y[f] + bar_dm[f] * dy[f]
        bar_g[f] += bar_dm[f] * y[f]


@njit(cache=True, parallel={"prange": True, "numpy": False}, nogil=True)
def _tangent_backward(
    y: Reals,  # [M, N, F]
    dy: Reals,  # [M, N, F]
    d: Reals,  # [M, P] Å
    dd: Reals,  # [M, P]
    first: IntArray,  # [P]
    second: IntArray,  # [P]
    table: Reals,  # [K, 2, F]
    lower: float,
    spacing: float,
    cutoff: float,
    bar_m: Reals,  # [M, N, F]
    bar_dm: Reals,  # [M, N, F]
    bar_y: Reals,  # [M, N, F] out
    bar_dy: Reals,  # [M, N, F] out
    bar_table: Reals,  # [PARTS, K, 2, F] out
) -> None:
    for part in prange(PARTS):
        w, g = np.empty(y.shape[2], y.dtype), np.empty(y.shape[2], y.dtype)
        bar_w, bar_g = np.empty(y.shape[2], y.dtype), np.empty(y.shape[2], y.dtype)
        for frame in range(part * len(y) // PARTS, (part + 1) * len(y) // PARTS):
            for p in range(d.shape[1]):
                if d[frame, p] < cutoff:
                    i, j = first[p], second[p]
                    k, t = _interval(d[frame, p], lower, spacing, table.shape[0])
                    _filter(table, k, t, w)
                    _slope(table, k, t, dd[frame, p] / spacing, g)
                    _add2(bar_y[frame, i], bar_m[frame, j], w, bar_dm[frame, j], g)
                    _add2(bar_y[frame, j], bar_m[frame, i], w, bar_dm[frame, i], g)
                    _add(bar_dy[frame, i], bar_dm[frame, j], w)
                    _add(bar_dy[frame, j], bar_dm[frame, i], w)
                    bar_w[:] = 0.0
                    bar_g[:] = 0.0
                    _products(bar_w, bar_g, bar_m[frame, i], bar_dm[frame, i], y[frame, j], dy[frame, j])
                    _products(bar_w, bar_g, bar_m[frame, j], bar_dm[frame, j], y[frame, i], dy[frame, i])
                    _add_to_table(bar_table[part], k, t, dd[frame, p] / spacing, bar_w, bar_g)


def _array(t: Tensor) -> Reals:
    return t.detach().contiguous().numpy()


class Messages(torch.autograd.Function):
    """m of y [M, N, F] and d [M, P]; differentiable once, by y and d (the table is a constant here)."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, d: Tensor, table: Tensor, pairs: Pairs, grid: Grid) -> Tensor:
        ctx.save_for_backward(y, d, table)
        ctx.pairs, ctx.grid = pairs, grid
        m = torch.zeros_like(y, memory_format=torch.contiguous_format)
        _messages(
            _array(y), _array(d), _array(pairs.first), _array(pairs.second), _array(table),
            grid.lower, grid.spacing, grid.cutoff, m.numpy(),
        )  # fmt: skip
        return m

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, bar_m: Tensor) -> tuple[Tensor | None, ...]:
        y, d, table = ctx.saved_tensors
        pairs, grid = ctx.pairs, ctx.grid
        bar_y, bar_d = torch.zeros_like(y, memory_format=torch.contiguous_format), torch.zeros_like(d)
        _messages_backward(
            _array(y), _array(d), _array(pairs.first), _array(pairs.second), _array(table),
            grid.lower, grid.spacing, grid.cutoff, _array(bar_m), bar_y.numpy(), bar_d.numpy(),
        )  # fmt: skip
        return bar_y, bar_d, None, None, None


class TangentMessages(torch.autograd.Function):
    """(m, m') of y, y' [M, N, F] and d, d' [M, P]; differentiable once, by y, y' and the table [K, 2, F]."""

    @staticmethod
    def forward(
        ctx: Any, y: Tensor, dy: Tensor, table: Tensor, d: Tensor, dd: Tensor, pairs: Pairs, grid: Grid
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(y, dy, table, d, dd)
        ctx.pairs, ctx.grid = pairs, grid
        m = torch.zeros_like(y, memory_format=torch.contiguous_format)
        dm = torch.zeros_like(m)
        _tangent(
            _array(y), _array(dy), _array(d), _array(dd), _array(pairs.first), _array(pairs.second), _array(table),
            grid.lower, grid.spacing, grid.cutoff, m.numpy(), dm.numpy(),
        )  # fmt: skip
        return m, dm

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, bar_m: Tensor, bar_dm: Tensor) -> tuple[Tensor | None, ...]:
        y, dy, table, d, dd = ctx.saved_tensors
        pairs, grid = ctx.pairs, ctx.grid
        bar_y = torch.zeros_like(y, memory_format=torch.contiguous_format)
        bar_dy = torch.zeros_like(bar_y)
        parts = table.new_zeros((PARTS, *table.shape))
        _tangent_backward(
            _array(y), _array(dy), _array(d), _array(dd), _array(pairs.first), _array(pairs.second), _array(table),
            grid.lower, grid.spacing, grid.cutoff,
            _array(bar_m), _array(bar_dm), bar_y.numpy(), bar_dy.numpy(), parts.numpy(),
        )  # fmt: skip
        return bar_y, bar_dy, parts.sum(dim=0), None, None, None, None
