"""What residual rules do over channels, on the device: three passes over the state of a bead, and their gradients.

    maps     z = phi vec(X) / rms(X)
    read     u = sum_s r_s X_s        c = u / rms(u)          t_j = T_j . c
    write    X'_s = (M X)_s + a_s o   a_s = w_s - beta q_s / D^2 + beta v_s / D
             q = M (X o)              D^2 = |o|^2 + epsilon^2

`cpu` has the same equations and their gradients; gamma is part of w and v here. X is [B, n, H] without padding. A
program takes BM beads; its tiles do not depend on the batch, nor does the order of a sum. Sums over beads there are
none: weights are constants here. g_x is dE/dx and has the shape of x.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["rows"])
def maps_forward(
    state: tl.tensor, phi: tl.tensor, z: tl.tensor, inverse: tl.tensor, rows: tl.tensor, WIDTH: tl.constexpr,
    COUNT: tl.constexpr, EPS: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:  # fmt: skip
    """z [rows, COUNT] = phi X / rms(X) and inverse [rows] = 1 / rms(X); X [rows, WIDTH], phi [COUNT, WIDTH]."""
    DTYPE: tl.constexpr = state.dtype.element_ty
    m = tl.program_id(0) * BM + tl.arange(0, BM)
    n = tl.arange(0, BN)
    row = m.to(tl.int64)[:, None]
    acc = tl.zeros([BM, BN], DTYPE)
    squares = tl.zeros([BM, BK], DTYPE)
    for start in range(0, WIDTH, BK):
        k = start + tl.arange(0, BK)
        x = tl.load(state + row * WIDTH + k[None, :], mask=(m < rows)[:, None] & (k < WIDTH)[None, :], other=0.0)
        weight = tl.load(phi + n[None, :] * WIDTH + k[:, None], mask=(n < COUNT)[None, :] & (k < WIDTH)[:, None],
                         other=0.0)  # fmt: skip
        acc = tl.dot(x, weight, acc, input_precision=PRECISION, out_dtype=DTYPE)
        squares += x * x
    one = 1.0 / tl.sqrt(tl.sum(squares, axis=1) / WIDTH + EPS)
    tl.store(inverse + m, one, mask=m < rows)
    tl.store(z + row * COUNT + n[None, :], acc * one[:, None], mask=(m < rows)[:, None] & (n < COUNT)[None, :])


@triton.jit(do_not_specialize=["rows"])
def maps_backward(
    state: tl.tensor, phi: tl.tensor, z: tl.tensor, inverse: tl.tensor, g_z: tl.tensor, g_state: tl.tensor,
    rows: tl.tensor, WIDTH: tl.constexpr, COUNT: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:  # fmt: skip
    """g_state [rows, WIDTH] from g_z [rows, COUNT]."""
    DTYPE: tl.constexpr = state.dtype.element_ty
    m = tl.program_id(0) * BM + tl.arange(0, BM)
    n = tl.arange(0, BN)
    row = m.to(tl.int64)[:, None]
    small = (m < rows)[:, None] & (n < COUNT)[None, :]
    g = tl.load(g_z + row * COUNT + n[None, :], mask=small, other=0.0)
    one = tl.load(inverse + m, mask=m < rows, other=0.0)
    along = tl.sum(g * tl.load(z + row * COUNT + n[None, :], mask=small, other=0.0), axis=1)
    back = along * one * one / WIDTH
    g *= one[:, None]
    for start in range(0, WIDTH, BK):
        k = start + tl.arange(0, BK)
        inside = (m < rows)[:, None] & (k < WIDTH)[None, :]
        weight = tl.load(phi + n[:, None] * WIDTH + k[None, :], mask=(n < COUNT)[:, None] & (k < WIDTH)[None, :],
                         other=0.0)  # fmt: skip
        acc = tl.dot(g, weight, input_precision=PRECISION, out_dtype=DTYPE)
        acc -= back[:, None] * tl.load(state + row * WIDTH + k[None, :], mask=inside, other=0.0)
        tl.store(g_state + row * WIDTH + k[None, :], acc, mask=inside)


@triton.jit
def _mean_stream(
    state: tl.tensor, read: tl.tensor, row: tl.tensor, h: tl.tensor, inside: tl.tensor, N: tl.constexpr, H: tl.constexpr
) -> tl.tensor:
    """u = sum_s r_s X_s of a tile [BM, HP]."""
    u = tl.zeros([row.shape[0], h.shape[0]], state.dtype.element_ty)
    for s in tl.static_range(N):
        x = tl.load(state + (row[:, None] * N + s) * H + h[None, :], mask=inside[:, None] & (h < H)[None, :], other=0.0)
        u += tl.load(read + row * N + s, mask=inside, other=0.0)[:, None] * x
    return u


@triton.jit(do_not_specialize=["rows"])
def read_forward(
    state: tl.tensor, read: tl.tensor, taps: tl.tensor, c: tl.tensor, t: tl.tensor, rows: tl.tensor, N: tl.constexpr,
    H: tl.constexpr, TAPS: tl.constexpr, EPS: tl.constexpr, BM: tl.constexpr, HP: tl.constexpr,
) -> None:  # fmt: skip
    """c [rows, H] and t [rows, TAPS] from X [rows, N, H], r [rows, N] and T [TAPS, H]."""
    m = tl.program_id(0) * BM + tl.arange(0, BM)
    h = tl.arange(0, HP)
    inside, row = m < rows, m.to(tl.int64)
    u = _mean_stream(state, read, row, h, inside, N, H)
    u *= (1.0 / tl.sqrt(tl.sum(u * u, axis=1) / H + EPS))[:, None]
    tl.store(c + row[:, None] * H + h[None, :], u, mask=inside[:, None] & (h < H)[None, :])
    for j in tl.static_range(TAPS):
        tap = tl.load(taps + j * H + h, mask=h < H, other=0.0)
        tl.store(t + row * TAPS + j, tl.sum(u * tap[None, :], axis=1), mask=inside)


@triton.jit(do_not_specialize=["rows"])
def read_backward(
    state: tl.tensor, read: tl.tensor, taps: tl.tensor, g_c: tl.tensor, g_t: tl.tensor, g_state: tl.tensor,
    g_read: tl.tensor, rows: tl.tensor, N: tl.constexpr, H: tl.constexpr, TAPS: tl.constexpr, EPS: tl.constexpr,
    BM: tl.constexpr, HP: tl.constexpr,
) -> None:  # fmt: skip
    """g_state and g_read from g_c and g_t."""
    m = tl.program_id(0) * BM + tl.arange(0, BM)
    h = tl.arange(0, HP)
    inside, row = m < rows, m.to(tl.int64)
    both = inside[:, None] & (h < H)[None, :]
    u = _mean_stream(state, read, row, h, inside, N, H)
    one = (1.0 / tl.sqrt(tl.sum(u * u, axis=1) / H + EPS))[:, None]
    g = tl.load(g_c + row[:, None] * H + h[None, :], mask=both, other=0.0)
    for j in tl.static_range(TAPS):
        tap = tl.load(taps + j * H + h, mask=h < H, other=0.0)
        g += tl.load(g_t + row * TAPS + j, mask=inside, other=0.0)[:, None] * tap[None, :]
    g = one * g - u * (one * one * one * (tl.sum(g * u, axis=1) / H)[:, None])
    for s in tl.static_range(N):
        at = (row[:, None] * N + s) * H + h[None, :]
        x = tl.load(state + at, mask=both, other=0.0)
        tl.store(g_read + row * N + s, tl.sum(g * x, axis=1), mask=inside)
        tl.store(g_state + at, tl.load(read + row * N + s, mask=inside, other=0.0)[:, None] * g, mask=both)


@triton.jit
def _tile(
    rows: tl.tensor, N: tl.constexpr, NP: tl.constexpr, H: tl.constexpr, BM: tl.constexpr, HP: tl.constexpr
) -> tuple[tl.tensor, ...]:
    """Rows [BM], streams [NP], channels [HP]; which rows, streams, channels, and which of all, exist; where it lies."""
    m = tl.program_id(0) * BM + tl.arange(0, BM)
    s, h = tl.arange(0, NP), tl.arange(0, HP)
    inside, row = m < rows, m.to(tl.int64)
    narrow = inside[:, None] & (s < N)[None, :]
    flat = inside[:, None] & (h < H)[None, :]
    both = narrow[:, :, None] & (h < H)[None, None, :]
    at = (row[:, None, None] * N + s[None, :, None]) * H + h[None, None, :]
    return row, s, h, inside, narrow, flat, both, at


@triton.jit
def _erased(
    x: tl.tensor, o: tl.tensor, mix: tl.tensor, write: tl.tensor, value: tl.tensor, beta: tl.tensor, epsilon: tl.tensor,
    row: tl.tensor, s: tl.tensor, narrow: tl.tensor, inside: tl.tensor, N: tl.constexpr, MIX: tl.constexpr,
    ERASE: tl.constexpr, VALUE: tl.constexpr,
) -> tuple[tl.tensor, ...]:  # fmt: skip
    """X o, q, a, v [BM, NP], and 1 / D, beta [BM, 1]; nothing is erased without ERASE."""
    a = tl.load(write + row[:, None] * N + s[None, :], mask=narrow, other=0.0)
    along = tl.sum(x * o[:, None, :], axis=2)
    q, v = along, tl.zeros_like(along)
    inverse = tl.zeros([row.shape[0], 1], along.dtype)
    strength = inverse
    if ERASE:
        softness = tl.load(epsilon)
        inverse = (1.0 / tl.sqrt(tl.sum(o * o, axis=1) + softness * softness))[:, None]
        strength = tl.load(beta + row, mask=inside, other=0.0)[:, None]
        if MIX:
            q = tl.zeros_like(along)
            for k in tl.static_range(N):
                column = tl.load(mix + (row[:, None] * N + s[None, :]) * N + k, mask=narrow, other=0.0)
                q += column * tl.sum(tl.where(s[None, :] == k, along, 0.0), axis=1)[:, None]
        a -= strength * inverse * inverse * q
        if VALUE:
            v = tl.load(value + row[:, None] * N + s[None, :], mask=narrow, other=0.0)
            a += strength * inverse * v
    return along, q, a, v, inverse, strength


@triton.jit(do_not_specialize=["rows"])
def write_forward(
    state: tl.tensor, message: tl.tensor, mix: tl.tensor, write: tl.tensor, value: tl.tensor, beta: tl.tensor,
    epsilon: tl.tensor, out: tl.tensor, rows: tl.tensor, N: tl.constexpr, NP: tl.constexpr, H: tl.constexpr,
    MIX: tl.constexpr, ERASE: tl.constexpr, VALUE: tl.constexpr, BM: tl.constexpr, HP: tl.constexpr,
) -> None:  # fmt: skip
    """out = X' [rows, N, H] from X, o [rows, H], M [rows, N, N], w and v [rows, N], beta [rows], epsilon [1]."""
    row, s, h, inside, narrow, flat, both, at = _tile(rows, N, NP, H, BM, HP)
    x = tl.load(state + at, mask=both, other=0.0)
    o = tl.load(message + row[:, None] * H + h[None, :], mask=flat, other=0.0)
    _, _, a, _, _, _ = _erased(x, o, mix, write, value, beta, epsilon, row, s, narrow, inside, N, MIX, ERASE, VALUE)
    if MIX:
        x = tl.zeros_like(x)
        for k in tl.static_range(N):
            column = tl.load(mix + (row[:, None] * N + s[None, :]) * N + k, mask=narrow, other=0.0)
            stream = tl.load(state + (row[:, None] * N + k) * H + h[None, :], mask=flat, other=0.0)
            x += column[:, :, None] * stream[:, None, :]
    tl.store(out + at, x + a[:, :, None] * o[:, None, :], mask=both)


@triton.jit(do_not_specialize=["rows"])
def write_backward(
    state: tl.tensor, message: tl.tensor, mix: tl.tensor, write: tl.tensor, value: tl.tensor, beta: tl.tensor,
    epsilon: tl.tensor, g_out: tl.tensor, g_state: tl.tensor, g_message: tl.tensor, g_mix: tl.tensor,
    g_write: tl.tensor, g_value: tl.tensor, g_beta: tl.tensor, rows: tl.tensor, N: tl.constexpr, NP: tl.constexpr,
    H: tl.constexpr, MIX: tl.constexpr, ERASE: tl.constexpr, VALUE: tl.constexpr, BM: tl.constexpr, HP: tl.constexpr,
) -> None:  # fmt: skip
    """The gradients by everything but epsilon, from g_out."""
    row, s, h, inside, narrow, flat, both, at = _tile(rows, N, NP, H, BM, HP)
    x = tl.load(state + at, mask=both, other=0.0)
    g = tl.load(g_out + at, mask=both, other=0.0)
    o = tl.load(message + row[:, None] * H + h[None, :], mask=flat, other=0.0)
    along, q, a, v, inverse, strength = _erased(
        x, o, mix, write, value, beta, epsilon, row, s, narrow, inside, N, MIX, ERASE, VALUE
    )
    own = row[:, None] * N + s[None, :]
    push = tl.sum(g * o[:, None, :], axis=2)  # h_s
    tl.store(g_write + own, push, mask=narrow)
    g_o = tl.sum(a[:, :, None] * g, axis=1)
    e = -strength * inverse * inverse * push  # dE/dq
    y = e
    if MIX:
        g_x = tl.zeros_like(x)
        y = tl.zeros_like(e)
        for k in tl.static_range(N):
            stream = tl.load(state + (row[:, None] * N + k) * H + h[None, :], mask=flat, other=0.0)
            along_k = tl.sum(tl.where(s[None, :] == k, along, 0.0), axis=1)[:, None]
            tl.store(g_mix + own * N + k, tl.sum(g * stream[:, None, :], axis=2) + e * along_k, mask=narrow)
            line = tl.load(mix + (row[:, None] * N + k) * N + s[None, :], mask=narrow, other=0.0)  # M_k.
            pull = tl.load(g_out + (row[:, None] * N + k) * H + h[None, :], mask=flat, other=0.0)
            g_x += line[:, :, None] * pull[:, None, :]
            y += line * tl.sum(tl.where(s[None, :] == k, e, 0.0), axis=1)[:, None]
    else:
        g_x = g
    if ERASE:
        square = inverse * inverse
        g_x += y[:, :, None] * o[:, None, :]
        g_o += tl.sum(y[:, :, None] * x, axis=1)
        turn = strength * (2.0 * square * square * q - square * inverse * v)
        g_o += tl.sum(push * turn, axis=1)[:, None] * o
        tl.store(g_beta + row, tl.sum(push * (inverse * v - square * q), axis=1), mask=inside)
        if VALUE:
            tl.store(g_value + own, strength * inverse * push, mask=narrow)
    tl.store(g_state + at, g_x, mask=both)
    tl.store(g_message + row[:, None] * H + h[None, :], g_o, mask=flat)
