"""Flash message passing with the exact filter network inside the kernel.

The same sweeps as `message.py`, with the filter evaluated where it is used (one hidden layer):

    e_n = C_b(d) exp(-gamma_n (s(d) - mu_n)^2)       flash radial basis: a tile [E, R] that never leaves the chip
    w   = C_f(d) (A_2 act(A_1 e + a_1) + a_2)        two products of tiles
    w'  by the chain rule, forward: e' -> A_1 e' -> act' -> A_2

A program owns bead i and all channels: 25,000 multiply-adds an edge and block forward, 50,000 backward (R = 64,
F = 128), against 17 x 128 with tables. It is the yardstick for the tables, and what serves where none can be made.
"""

from __future__ import annotations

import triton
import triton.language as tl

from mdflash.potentials.schnet.triton.activation import activate


@triton.jit
def _envelope(
    d: tl.tensor,
    COSINE: tl.constexpr,
    LOWER: tl.constexpr,
    UPPER: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:
    """C(d) and C'(d), see `network.cosine_envelope`."""
    if COSINE:
        if LOWER > 0:
            rise: tl.constexpr = 6.283185307179586 / (UPPER - LOWER)
            phase = rise * (d - LOWER) + 3.141592653589793
            inside = (d < UPPER) & (d > LOWER)
            value = tl.where(inside, 0.5 * (tl.cos(phase) + 1.0), 0.0)
            return value, tl.where(inside, -0.5 * rise * tl.sin(phase), 0.0)
        else:
            rate: tl.constexpr = 3.141592653589793 / UPPER
            value = tl.where(d < UPPER, 0.5 * (tl.cos(rate * d) + 1.0), 0.0)
            return value, tl.where(d < UPPER, -0.5 * rate * tl.sin(rate * d), 0.0)
    else:
        return d * 0.0 + 1.0, d * 0.0


@triton.jit
def _basis(
    d: tl.tensor, centers: tl.tensor, gamma: tl.tensor, R: tl.constexpr, EXPNORMAL: tl.constexpr, ALPHA: tl.constexpr,
    ORIGIN: tl.constexpr, COSINE: tl.constexpr, LOWER: tl.constexpr, UPPER: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor]:  # fmt: skip
    """e(d) and e'(d), [E, R]."""
    n = tl.arange(0, R)
    mu = tl.load(centers + n)[None, :]
    width = tl.load(gamma + n)[None, :]
    s = d
    ds = d * 0.0 + 1.0
    if EXPNORMAL:
        s = tl.exp(-ALPHA * (d - ORIGIN))
        ds = -ALPHA * s
    away = s[:, None] - mu
    e = tl.exp(-width * away * away)
    c, dc = _envelope(d, COSINE, LOWER, UPPER)
    return c[:, None] * e, e * (dc[:, None] - c[:, None] * 2.0 * width * away * ds[:, None])


@triton.jit
def _weights(
    w1: tl.tensor,
    b1: tl.tensor,
    w2: tl.tensor,
    chunk: tl.core.base_value,
    F: tl.constexpr,
    R: tl.constexpr,
    HIDDEN: tl.constexpr,
    CHUNK: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """What CHUNK hidden units need, from the cache: [R, CHUNK], [CHUNK, F] and [CHUNK]; all at once would spill."""
    unit = chunk + tl.arange(0, CHUNK)
    first = tl.load(w1 + tl.arange(0, R)[:, None] * HIDDEN + unit[None, :])
    second = tl.load(w2 + unit[:, None] * F + tl.arange(0, F)[None, :])
    return first, second, tl.load(b1 + unit)


@triton.jit(do_not_specialize=["first"])
def gather_messages_exact(
    h: tl.tensor, centers: tl.tensor, gamma: tl.tensor, w1: tl.tensor, b1: tl.tensor, w2: tl.tensor, b2: tl.tensor,
    near: tl.tensor, near_place: tl.tensor, near_count: tl.tensor, out: tl.tensor, capacity: tl.tensor,
    first: tl.tensor, F: tl.constexpr, R: tl.constexpr, HIDDEN: tl.constexpr, ACT: tl.constexpr,
    EXPNORMAL: tl.constexpr, ALPHA: tl.constexpr, ORIGIN: tl.constexpr, BASIS_COSINE: tl.constexpr,
    COSINE: tl.constexpr, LOWER: tl.constexpr, UPPER: tl.constexpr, FILTER_UPPER: tl.constexpr, PRECISION: tl.constexpr,
    CHUNK: tl.constexpr, E: tl.constexpr,
) -> None:  # fmt: skip
    """out[i] = sum_j h_j w(d_ij); grid (beads,). w1 [R, HIDDEN], w2 [HIDDEN, F]; the rest as in `message.py`."""
    DTYPE: tl.constexpr = out.dtype.element_ty
    i = tl.program_id(0)
    n = tl.load(near_count + first + i)
    row = (first + i).to(tl.int64) * capacity
    f = tl.arange(0, F)
    edge = tl.arange(0, E)
    total = tl.zeros([F], DTYPE)
    for k in range(0, n, E):
        inside = k + edge < n
        j = tl.load(near + row + k + edge, mask=inside, other=0) - first
        d = tl.load(near_place + row + k + edge, mask=inside, other=UPPER)
        e = _basis(d, centers, gamma, R, EXPNORMAL, ALPHA, ORIGIN, BASIS_COSINE, LOWER, UPPER)[0]
        w = tl.zeros([E, F], DTYPE) + tl.load(b2 + f)[None, :]
        for chunk in range(0, HIDDEN, CHUNK):
            first_weight, second_weight, bias = _weights(w1, b1, w2, chunk, F, R, HIDDEN, CHUNK)
            z = tl.dot(e, first_weight, input_precision=PRECISION, out_dtype=DTYPE) + bias[None, :]
            y = activate(z, ACT)[0]
            w = tl.dot(y, second_weight, w, input_precision=PRECISION, out_dtype=DTYPE)
        c = _envelope(d, COSINE, LOWER, FILTER_UPPER)[0]
        hj = tl.load(h + j[:, None] * F + f[None, :], mask=inside[:, None], other=0.0).to(DTYPE)
        total += tl.sum(w * c[:, None] * hj, axis=0)
    tl.store(out + i.to(tl.int64) * F + f, total)


@triton.jit(do_not_specialize=["first"])
def scatter_gradients_exact(
    h: tl.tensor, g: tl.tensor, centers: tl.tensor, gamma: tl.tensor, w1: tl.tensor, b1: tl.tensor, w2: tl.tensor,
    b2: tl.tensor, near: tl.tensor, near_place: tl.tensor, toward: tl.tensor, near_count: tl.tensor, out: tl.tensor,
    forces: tl.tensor, capacity: tl.tensor, first: tl.tensor, F: tl.constexpr, R: tl.constexpr, HIDDEN: tl.constexpr,
    ACT: tl.constexpr, EXPNORMAL: tl.constexpr, ALPHA: tl.constexpr, ORIGIN: tl.constexpr, BASIS_COSINE: tl.constexpr,
    COSINE: tl.constexpr, LOWER: tl.constexpr, UPPER: tl.constexpr, FILTER_UPPER: tl.constexpr, PRECISION: tl.constexpr,
    CHUNK: tl.constexpr, FEATURES: tl.constexpr, ADD: tl.constexpr, E: tl.constexpr,
) -> None:  # fmt: skip
    """The backward sweep; grid (beads,); arguments as above and in `message.scatter_gradients`."""
    DTYPE: tl.constexpr = g.dtype.element_ty
    i = tl.program_id(0)
    flat = first + i
    n = tl.load(near_count + flat)
    row = flat.to(tl.int64) * capacity
    f = tl.arange(0, F)
    edge = tl.arange(0, E)
    at_i = i.to(tl.int64) * F + f
    gi = tl.load(g + at_i)[None, :]
    hi = tl.load(h + at_i).to(DTYPE)[None, :]
    total = tl.zeros([F], DTYPE)
    fx = tl.zeros([E], DTYPE)
    fy = tl.zeros([E], DTYPE)
    fz = tl.zeros([E], DTYPE)
    for k in range(0, n, E):
        inside = k + edge < n
        j = tl.load(near + row + k + edge, mask=inside, other=0)
        d = tl.load(near_place + row + k + edge, mask=inside, other=UPPER)
        to_j = toward + 3 * row + k + edge
        at_j = (j - first)[:, None] * F + f[None, :]
        gj = tl.load(g + at_j, mask=inside[:, None], other=0.0)
        hj = tl.load(h + at_j, mask=inside[:, None], other=0.0).to(DTYPE)
        e, de = _basis(d, centers, gamma, R, EXPNORMAL, ALPHA, ORIGIN, BASIS_COSINE, LOWER, UPPER)
        w = tl.zeros([E, F], DTYPE) + tl.load(b2 + f)[None, :]
        dw = tl.zeros([E, F], DTYPE)
        for chunk in range(0, HIDDEN, CHUNK):
            first_weight, second_weight, bias = _weights(w1, b1, w2, chunk, F, R, HIDDEN, CHUNK)
            z = tl.dot(e, first_weight, input_precision=PRECISION, out_dtype=DTYPE) + bias[None, :]
            y, slope = activate(z, ACT)
            dy = slope * tl.dot(de, first_weight, input_precision=PRECISION, out_dtype=DTYPE)
            w = tl.dot(y, second_weight, w, input_precision=PRECISION, out_dtype=DTYPE)
            dw = tl.dot(dy, second_weight, dw, input_precision=PRECISION, out_dtype=DTYPE)
        c, dc = _envelope(d, COSINE, LOWER, FILTER_UPPER)
        dw = dw * c[:, None] + w * dc[:, None]
        if FEATURES:
            total += tl.sum(gj * w * c[:, None], axis=0)
        pull = tl.sum(dw * (gi * hj + gj * hi), axis=1)
        fx += pull * tl.load(to_j, mask=inside, other=0.0)
        fy += pull * tl.load(to_j + capacity, mask=inside, other=0.0)
        fz += pull * tl.load(to_j + 2 * capacity, mask=inside, other=0.0)
    if FEATURES:
        tl.store(out + at_i, total)
    to = forces + flat.to(tl.int64) * 3
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
