"""Compiled dense layers and activations over the beads of one replica.

Matrices [N, n] lie in panels of `width` channels: [n / width, rows, width], where `rows` is N rounded up to whole
tiles. A panel is two vectors (32 float32, 16 float64), so that one panel of the features of a whole protein stays in
the cache while pairs are summed, and threads can share a replica by panels without meeting. Weights of a layer lie as
[n_out / width, n_in, width]. Each element is a sum over k = 0, 1, ... in this order, whatever the number of rows.
"""

from __future__ import annotations

import math
from typing import Final

from mdflash.compiled.activations import ELU, GELU, RELU, SHIFTED, SIGMOID, SILU, TANH
from mdflash.compiled.jit import njit
from mdflash.compiled.simd import Vector, clamp, fma, lane, lanes, load, splat, store
from mdflash.core.types import Reals

PANEL_BYTES: Final = 128
TILE: Final = 4
"""Rows that are multiplied together, by two panels of weights; sixteen vectors of sums stay in registers."""

LOG2: Final = math.log(2.0)


@njit(cache=True)
def panel_width(a: Reals) -> int:
    """Channels of a panel in the dtype of `a`."""
    return 2 * lanes(a)


@njit(cache=True, error_model="numpy")
def multiply(
    a: Reals,
    a0: int,
    n_in: int,
    data: Reals,
    weight: int,
    bias: int,
    c: Reals,
    c0: int,
    n_out: int,
    rows: int,
    begin: int,
    end: int,
    add: bool,
) -> None:
    """C = A W + bias for the rows begin:end (whole tiles); C += A W + bias with `add`.

    Args:
        a, a0: A [N, n_in] in panels, from element a0 of the flat array a.
        data, weight, bias: where the weights [n_in, n_out] and the bias [n_out] begin; bias -1: none.
        c, c0: C [N, n_out] in panels.
        rows: of a panel.
    """
    width = panel_width(a)
    half = width // 2
    nothing = splat(load(data, weight), 0.0)
    panels = n_out // width
    if panels % 2:
        _multiply_last(a, a0, n_in, data, weight, bias, c, c0, panels - 1, rows, begin, end, add)
    for n in range(0, panels - 1, 2):
        m = n + 1
        b0, b1, b2, b3 = nothing, nothing, nothing, nothing
        if bias >= 0:
            b0, b1 = load(data, bias + n * width), load(data, bias + n * width + half)
            b2, b3 = load(data, bias + m * width), load(data, bias + m * width + half)
        for row in range(begin, end, TILE):
            out0, out1 = c0 + (n * rows + row) * width, c0 + (m * rows + row) * width
            c00, c01, c02, c03 = b0, b1, b2, b3
            c10, c11, c12, c13 = b0, b1, b2, b3
            c20, c21, c22, c23 = b0, b1, b2, b3
            c30, c31, c32, c33 = b0, b1, b2, b3
            if add:
                c00, c01 = c00 + load(c, out0), c01 + load(c, out0 + half)
                c02, c03 = c02 + load(c, out1), c03 + load(c, out1 + half)
                c10, c11 = c10 + load(c, out0 + width), c11 + load(c, out0 + width + half)
                c12, c13 = c12 + load(c, out1 + width), c13 + load(c, out1 + width + half)
                c20, c21 = c20 + load(c, out0 + 2 * width), c21 + load(c, out0 + 2 * width + half)
                c22, c23 = c22 + load(c, out1 + 2 * width), c23 + load(c, out1 + 2 * width + half)
                c30, c31 = c30 + load(c, out0 + 3 * width), c31 + load(c, out0 + 3 * width + half)
                c32, c33 = c32 + load(c, out1 + 3 * width), c33 + load(c, out1 + 3 * width + half)
            w, u = weight + n * n_in * width, weight + m * n_in * width
            for p in range(n_in // width):
                r0 = a0 + (p * rows + row) * width
                r1, r2, r3 = r0 + width, r0 + 2 * width, r0 + 3 * width
                for k in range(width):
                    w0, w1, w2, w3 = load(data, w), load(data, w + half), load(data, u), load(data, u + half)
                    v = lane(a, r0 + k)
                    c00, c01 = fma(v, w0, c00), fma(v, w1, c01)
                    c02, c03 = fma(v, w2, c02), fma(v, w3, c03)
                    v = lane(a, r1 + k)
                    c10, c11 = fma(v, w0, c10), fma(v, w1, c11)
                    c12, c13 = fma(v, w2, c12), fma(v, w3, c13)
                    v = lane(a, r2 + k)
                    c20, c21 = fma(v, w0, c20), fma(v, w1, c21)
                    c22, c23 = fma(v, w2, c22), fma(v, w3, c23)
                    v = lane(a, r3 + k)
                    c30, c31 = fma(v, w0, c30), fma(v, w1, c31)
                    c32, c33 = fma(v, w2, c32), fma(v, w3, c33)
                    w += width
                    u += width
            store(c, out0, c00)
            store(c, out0 + half, c01)
            store(c, out1, c02)
            store(c, out1 + half, c03)
            store(c, out0 + width, c10)
            store(c, out0 + width + half, c11)
            store(c, out1 + width, c12)
            store(c, out1 + width + half, c13)
            store(c, out0 + 2 * width, c20)
            store(c, out0 + 2 * width + half, c21)
            store(c, out1 + 2 * width, c22)
            store(c, out1 + 2 * width + half, c23)
            store(c, out0 + 3 * width, c30)
            store(c, out0 + 3 * width + half, c31)
            store(c, out1 + 3 * width, c32)
            store(c, out1 + 3 * width + half, c33)


@njit(cache=True, error_model="numpy")
def _multiply_last(
    a: Reals,
    a0: int,
    n_in: int,
    data: Reals,
    weight: int,
    bias: int,
    c: Reals,
    c0: int,
    n: int,
    rows: int,
    begin: int,
    end: int,
    add: bool,
) -> None:
    """Panel n alone of `multiply`: an odd last one."""
    width = panel_width(a)
    half = width // 2
    nothing = splat(load(data, weight), 0.0)
    b0, b1 = nothing, nothing
    if bias >= 0:
        b0, b1 = load(data, bias + n * width), load(data, bias + n * width + half)
    for row in range(begin, end, TILE):
        out = c0 + (n * rows + row) * width
        c00, c01, c10, c11, c20, c21, c30, c31 = b0, b1, b0, b1, b0, b1, b0, b1
        if add:
            c00, c01 = c00 + load(c, out), c01 + load(c, out + half)
            c10, c11 = c10 + load(c, out + width), c11 + load(c, out + width + half)
            c20, c21 = c20 + load(c, out + 2 * width), c21 + load(c, out + 2 * width + half)
            c30, c31 = c30 + load(c, out + 3 * width), c31 + load(c, out + 3 * width + half)
        w = weight + n * n_in * width
        for p in range(n_in // width):
            r0 = a0 + (p * rows + row) * width
            r1, r2, r3 = r0 + width, r0 + 2 * width, r0 + 3 * width
            for k in range(width):
                w0, w1 = load(data, w), load(data, w + half)
                v = lane(a, r0 + k)
                c00, c01 = fma(v, w0, c00), fma(v, w1, c01)
                v = lane(a, r1 + k)
                c10, c11 = fma(v, w0, c10), fma(v, w1, c11)
                v = lane(a, r2 + k)
                c20, c21 = fma(v, w0, c20), fma(v, w1, c21)
                v = lane(a, r3 + k)
                c30, c31 = fma(v, w0, c30), fma(v, w1, c31)
                w += width
        store(c, out, c00)
        store(c, out + half, c01)
        store(c, out + width, c10)
        store(c, out + width + half, c11)
        store(c, out + 2 * width, c20)
        store(c, out + 2 * width + half, c21)
        store(c, out + 3 * width, c30)
        store(c, out + 3 * width + half, c31)


@njit(cache=True, error_model="numpy")
def activate(code: int, a: Reals, a0: int, s: Reals, s0: int, n: int, rows: int, begin: int, end: int) -> None:
    """A <- act(A) and S = act'(A), for the rows begin:end of [N, n] in panels."""
    width = panel_width(a)
    for p in range(n // width):
        first, last = (p * rows + begin) * width, (p * rows + end) * width
        if lanes(a) == 16 and code in (TANH, SIGMOID, SILU):
            _activate_vectors(code, a, a0, s, s0, first, last)
        else:
            for e in range(first, last):
                a[a0 + e], s[s0 + e] = _value_slope(code, a[a0 + e])


@njit(cache=True, error_model="numpy")
def _activate_vectors(code: int, a: Reals, a0: int, s: Reals, s0: int, first: int, last: int) -> None:
    one = splat(load(a, a0 + first), 1.0)
    half = splat(one, 0.5)
    for e in range(first, last, panel_width(a) // 2):
        x = load(a, a0 + e)
        if code == TANH:
            y = _tanh(x)
            slope = one - y * y
        else:
            y = fma(half, _tanh(half * x), half)
            slope = y * (one - y)
            if code == SILU:
                slope = fma(x, slope, y)
                y = x * y
        store(a, a0 + e, y)
        store(s, s0 + e, slope)


@njit(cache=True, error_model="numpy")
def _tanh(x: Vector) -> Vector:
    """tanh by the rational function of Eigen's `ptanh`, to a few units in the last place of float32."""
    x = clamp(x, 7.90531110763549805)
    q = x * x
    p = splat(x, -2.76076847742355e-16)
    p = fma(p, q, splat(x, 2.00018790482477e-13))
    p = fma(p, q, splat(x, -8.60467152213735e-11))
    p = fma(p, q, splat(x, 5.12229709037114e-08))
    p = fma(p, q, splat(x, 1.48572235717979e-05))
    p = fma(p, q, splat(x, 6.37261928875436e-04))
    p = fma(p, q, splat(x, 4.89352455891786e-03))
    d = splat(x, 1.19825839466702e-06)
    d = fma(d, q, splat(x, 1.18534705686654e-04))
    d = fma(d, q, splat(x, 2.26843463243900e-03))
    d = fma(d, q, splat(x, 4.89352518554385e-03))
    y: Vector = x * p / d
    return y


@njit(cache=True, error_model="numpy")
def _value_slope(code: int, x: float) -> tuple[float, float]:
    """act(x) and act'(x) of one number; a NaN stays one."""
    x = float(x)
    if code == TANH:
        y = math.tanh(x)
        return y, 1.0 - y * y
    if code == RELU:
        return (0.0, 0.0) if x <= 0.0 else (x, 1.0)
    if code == ELU:
        return (x, 1.0) if x > 0.0 else (math.expm1(x), math.exp(x))
    if code == GELU:
        normal = 0.5 * (1.0 + math.erf(x / math.sqrt(2.0)))
        return x * normal, normal + x * math.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)
    e = math.exp(-abs(x))
    sigmoid = 1.0 / (1.0 + e) if x >= 0.0 else e / (1.0 + e)
    if code == SIGMOID:
        return sigmoid, sigmoid * (1.0 - sigmoid)
    if code == SILU:
        return x * sigmoid, sigmoid * (1.0 + x * (1.0 - sigmoid))
    softplus = max(x, 0.0) + math.log1p(e)
    return (softplus - LOG2 if code == SHIFTED else softplus), sigmoid
