"""Dense layers with the activation fused into the load of the operand.

A layer is y = f(x) W + b (+ residual), with f(x) = x, f(x) = act(x) (forward), or f(g) = g * act'(z) (backward). The
pre-activation z is all that the backward sweep keeps.

Every tile has the same shape whatever the batch, and a row's sums run in one order, so a replica's bits do not depend
on what else is in the batch (a BLAS chooses by the number of rows).
"""

from __future__ import annotations

import triton
import triton.language as tl

from mdflash.potentials.schnet.triton.activation import activate

PLAIN, ACTIVATED, SLOPED = 0, 1, 2
"""What `dense` does to its operand while loading it."""


@triton.jit
def layer_tile(
    a: tl.tensor, z: tl.tensor, weight: tl.tensor, bias: tl.tensor, residual: tl.tensor, out: tl.tensor, m: tl.tensor,
    n: tl.tensor, rows: tl.tensor, STRIDE: tl.constexpr, K: tl.constexpr, N: tl.constexpr, PRELUDE: tl.constexpr,
    ACT: tl.constexpr, BIASED: tl.constexpr, ADD: tl.constexpr, PRECISION: tl.constexpr, BM: tl.constexpr,
    BN: tl.constexpr, BK: tl.constexpr,
) -> None:  # fmt: skip
    """The rows m [BM] and columns n [BN] of a layer; see `dense`."""
    DTYPE: tl.constexpr = a.dtype.element_ty
    inside = (m < rows)[:, None]
    row = m.to(tl.int64)[:, None]
    acc = tl.zeros([BM, BN], DTYPE)
    for start in range(0, K, BK):
        k = start + tl.arange(0, BK)
        x = tl.load(a + row * STRIDE + k[None, :], mask=inside, other=0.0)
        if PRELUDE == 1:
            x = activate(x, ACT)[0]
        if PRELUDE == 2:
            x *= activate(tl.load(z + row * K + k[None, :], mask=inside, other=0.0), ACT)[1]
        w = tl.load(weight + k[:, None] * N + n[None, :])
        acc = tl.dot(x, w, acc, input_precision=PRECISION, out_dtype=DTYPE)
    if BIASED:
        acc += tl.load(bias + n)[None, :]
    at = row * N + n[None, :]
    if ADD:
        acc += tl.load(residual + at, mask=inside, other=0.0)
    tl.store(out + at, acc, mask=inside)


@triton.jit(do_not_specialize=["rows"])
def dense(
    a: tl.tensor, z: tl.tensor, weight: tl.tensor, bias: tl.tensor, residual: tl.tensor, out: tl.tensor,
    rows: tl.tensor, STRIDE: tl.constexpr, K: tl.constexpr, N: tl.constexpr, PRELUDE: tl.constexpr, ACT: tl.constexpr,
    BIASED: tl.constexpr, ADD: tl.constexpr, PRECISION: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
    BK: tl.constexpr,
) -> None:  # fmt: skip
    """out [rows, N] = f(a) [rows, K] weight [K, N] (+ bias [N]) (+ residual [rows, N]).

    `STRIDE` is a's row stride: K, or 0 where all rows are one. `z` [rows, K] is read for `SLOPED` only. Weights have
    the precision of the sums: in 16 bits they save nothing here (64 kB a layer, in the cache), took 1.3 times as long
    on an H100, and were a third of the error of mixed16.
    """
    m = tl.program_id(0) * BM + tl.arange(0, BM)
    n = tl.program_id(1) * BN + tl.arange(0, BN)
    layer_tile(
        a, z, weight, bias, residual, out, m, n, rows, STRIDE, K, N, PRELUDE, ACT, BIASED, ADD, PRECISION, BM, BN, BK
    )


@triton.jit(do_not_specialize=["rows", "first"])
def readout(
    z: tl.tensor, weight: tl.tensor, bias: tl.tensor, energy: tl.tensor, rows: tl.tensor, first: tl.tensor,
    K: tl.constexpr, ACTIVATED: tl.constexpr, ACT: tl.constexpr, BM: tl.constexpr,
) -> None:  # fmt: skip
    """energy[first + i] (float64) += act(z[i]) . weight + bias: the last layer, one output."""
    m = tl.program_id(0) * BM + tl.arange(0, BM)
    k = tl.arange(0, K)
    inside = m < rows
    x = tl.load(z + m.to(tl.int64)[:, None] * K + k[None, :], mask=inside[:, None], other=0.0)
    if ACTIVATED:
        x = activate(x, ACT)[0]
    e = tl.sum(x * tl.load(weight + k)[None, :], axis=1) + tl.load(bias)
    at = energy + first + m
    tl.store(at, tl.load(at, mask=inside, other=0.0) + e.to(tl.float64), mask=inside)
