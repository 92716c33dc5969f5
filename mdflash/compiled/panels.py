"""Compiled dense layers and activations over the beads of one replica.

Matrices [N, n] lie in panels of `width` channels: [n / width, rows, width], where `rows` is N rounded up to a multiple
of `ROW_STEP`. A panel is two vectors (32 float32, 16 float64), so that one panel of the features of a whole protein
stays in the cache while pairs are summed, and threads can share a replica by panels without meeting. Weights of a layer
lie as [n_out / width, n_in, width]. Each element is a sum over k = 0, 1, ... in this order, whatever the number of rows
and the tile that it is summed in: a tile has the size that the processor's registers hold, and changes no bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Final

from mdflash.compiled.activations import ELU, GELU, RELU, SHIFTED, SIGMOID, SILU, TANH
from mdflash.compiled.exponential import exp_and_expm1
from mdflash.compiled.jit import njit
from mdflash.compiled.processor import tile_shape
from mdflash.compiled.simd import clamp, fma, lane, lanes, load, local, splat, store
from mdflash.core.types import Reals

PANEL_BYTES: Final = 128
TILE_ROWS, TILE_VECTORS = tile_shape()
"""Rows and vectors of channels whose sums are kept in registers."""
ROW_STEP: Final = 2
"""Rows of a matrix come in multiples of it."""

LOG2: Final = math.log(2.0)
SATURATED: Final = 32.0
"""Exponents end at it, slopes at 1e-14: nothing to float32, and their products are far from its smallest numbers, with
which some processors are slow."""


@njit(cache=True)
def panel_width(a: Reals) -> int:
    """Channels of a panel in the dtype of `a`."""
    return 2 * lanes(a)


Product = Callable[[Reals, int, int, int, Reals, int, int, Reals, int, bool], None]


@cache
def tile_product(rows: int, vectors: int) -> Product:
    """Compile C = A W + bias of one tile, `rows` by `vectors` vectors: as many sums, all of them in registers."""
    sums = rows * vectors

    @njit(cache=True, error_model="numpy")
    def product(
        a: Reals,  # flat
        a0: int,  # first row of the tile in the first panel of A
        panel: int,  # elements of a panel of A
        n_in: int,
        data: Reals,  # flat
        weight: int,  # first vector of the tile in the first row of W
        bias: int,  # first vector of the tile, or -1
        c: Reals,  # flat
        c0: int,  # first vector of the tile in its first row
        add: bool,
    ) -> None:
        half = lanes(a)
        width = 2 * half
        c_tile, w = local(a, sums), local(a, vectors)
        for v in range(vectors):
            first = splat(load(data, weight), 0.0)
            if bias >= 0:
                first = load(data, bias + v * half)
            for r in range(rows):
                start = first
                if add:
                    start = first + load(c, c0 + r * width + v * half)
                store(c_tile, (r * vectors + v) * half, start)
        for p in range(n_in // width):
            at = a0 + p * panel
            for k in range(width):
                for v in range(vectors):
                    store(w, v * half, load(data, weight + v * half))
                for r in range(rows):
                    x = lane(a, at + r * width + k)
                    for v in range(vectors):
                        e = (r * vectors + v) * half
                        store(c_tile, e, fma(x, load(w, v * half), load(c_tile, e)))
                weight += width
        for r in range(rows):
            for v in range(vectors):
                store(c, c0 + r * width + v * half, load(c_tile, (r * vectors + v) * half))

    return product


_whole = tile_product(TILE_ROWS, TILE_VECTORS)
_four = tile_product(4, TILE_VECTORS)
_two = tile_product(2, TILE_VECTORS)


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
    """C = A W + bias for the rows begin:end (multiples of `ROW_STEP`); C += A W + bias with `add`.

    Args:
        a, a0: A [N, n_in] in panels, from element a0 of the flat array a.
        data, weight, bias: where the weights [n_in, n_out] and the bias [n_out] begin; bias -1: none.
        c, c0: C [N, n_out] in panels.
        rows: of a panel.
    """
    width = panel_width(a)
    whole = begin + (end - begin) // TILE_ROWS * TILE_ROWS
    fours = whole + (end - whole) // 4 * 4
    for first in range(0, n_out, TILE_VECTORS * lanes(a)):
        panel, channel = first // width, first % width
        w, b = weight + panel * n_in * width + channel, bias + first if bias >= 0 else -1
        at, to = a0, c0 + panel * rows * width + channel
        for row in range(begin, whole, TILE_ROWS):
            _whole(a, at + row * width, rows * width, n_in, data, w, b, c, to + row * width, add)
        for row in range(whole, fours, 4):
            _four(a, at + row * width, rows * width, n_in, data, w, b, c, to + row * width, add)
        for row in range(fours, end, 2):
            _two(a, at + row * width, rows * width, n_in, data, w, b, c, to + row * width, add)


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
    """Value and slope by e^x: tanh(x) = (e^2x - 1) / (e^2x + 1), tanh'(x) = 4 e^2x / (e^2x + 1)^2, and 1 - y^2 by no
    means: where y is near 1 it is off by 1e-7 or more, alike in every saturated unit, and sums of them put the forces
    of trained networks off by 4e-4."""
    one = splat(load(a, a0 + first), 1.0)
    for e in range(first, last, panel_width(a) // 2):
        x = load(a, a0 + e)
        if code == TANH:
            grown, more = exp_and_expm1(clamp(x + x, SATURATED))
            part = one / (more + splat(one, 2.0))
            y = more * part
            part = part + part
            slope = grown * part * part
        else:
            grown, more = exp_and_expm1(clamp(x, SATURATED))
            part = one / (more + splat(one, 2.0))
            y = grown * part
            slope = y * part
            if code == SILU:
                slope = fma(x, slope, y)
                y = x * y
        store(a, a0 + e, y)
        store(s, s0 + e, slope)


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
