"""The compiled twin of `mixing`, for a vector of beads: doubly stochastic matrices from logits, and the way back.

What a bead has once lies as [number, PART] for the PART beads of a part: a lane is a bead, number k is PART elements
further on than number k - 1.
"""

from __future__ import annotations

import math
from itertools import permutations
from typing import Final

import numpy as np

from mdflash.compiled.exponential import LN2_HIGH, LN2_LOW
from mdflash.compiled.jit import njit
from mdflash.compiled.simd import (
    Vector,
    fma,
    lane,
    lanes,
    load,
    local,
    maximum,
    rint,
    splat,
    store,
    times_power,
)
from mdflash.core.types import Reals
from mdflash.potentials.backbones.mixing import MOST_PERMUTED

PART: Final = 16
"""Beads whose numbers lie together; threads take whole multiples of it."""

IDENTITY, PERMUTATION, SINKHORN, FORGET = 0, 1, 2, 3
"""What streams are mixed by; the last is MGT's 1 - alpha beta, for one stream."""

_ORDERS = [np.array(list(permutations(range(n)))) for n in range(1, MOST_PERMUTED + 1)]
ORDER = np.concatenate([np.pad(o, ((0, 0), (0, MOST_PERMUTED - o.shape[1]))) for o in _ORDERS]).astype(np.int64)
ORDER_START = np.concatenate(([0], np.cumsum([len(o) for o in _ORDERS]))).astype(np.int64)
"""Permutation p of n streams is ORDER[ORDER_START[n - 1] + p], in the order of `mixing.permutation_matrices`."""


@njit(cache=True)
def exp(x: Vector) -> Vector:
    """e^x of a vector, to two units in the last place; it ends at the largest power of two instead of infinity."""
    k = rint(x * splat(x, 1.0 / math.log(2.0)))
    r = fma(k, splat(x, -LN2_LOW), fma(k, splat(x, -LN2_HIGH), x))
    y = splat(x, 1.0 / 6227020800.0)
    y = fma(y, r, splat(x, 1.0 / 479001600.0))
    y = fma(y, r, splat(x, 1.0 / 39916800.0))
    y = fma(y, r, splat(x, 1.0 / 3628800.0))
    y = fma(y, r, splat(x, 1.0 / 362880.0))
    y = fma(y, r, splat(x, 1.0 / 40320.0))
    y = fma(y, r, splat(x, 1.0 / 5040.0))
    y = fma(y, r, splat(x, 1.0 / 720.0))
    y = fma(y, r, splat(x, 1.0 / 120.0))
    y = fma(y, r, splat(x, 1.0 / 24.0))
    y = fma(y, r, splat(x, 1.0 / 6.0))
    y = fma(y, r, splat(x, 0.5))
    one = splat(x, 1.0)
    return times_power(fma(fma(y, r, one), r, one), k)


@njit(cache=True)
def sigmoid(x: Vector) -> Vector:
    """1 / (1 + e^-x) of a vector."""
    one = splat(x, 1.0)
    y: Vector = one / (one + exp(splat(x, 0.0) - x))
    return y


@njit(cache=True)
def _exponentials(count: int, data: Reals, bias: int, numbers: Reals, z: int, out: Reals) -> Vector:
    """out [count] vectors: exp(z + bias), up to a factor that keeps them from overflowing; returns their sum."""
    width = lanes(numbers)
    most = load(numbers, z) + lane(data, bias)
    for k in range(1, count):
        most = maximum(most, load(numbers, z + k * PART) + lane(data, bias + k))
    norm = splat(most, 0.0)
    for k in range(count):
        e = exp(load(numbers, z + k * PART) + lane(data, bias + k) - most)
        store(out, k * width, e)
        norm = norm + e
    return norm


@njit(cache=True)
def _sinkhorn(n: int, iterations: int, data: Reals, bias: int, numbers: Reals, z: int) -> Reals:
    """Exponentials of the logits and every matrix on the way [2 iterations + 1][n n], then what each step was
    multiplied by [2 iterations][n]; vectors."""
    width = lanes(numbers)
    size = n * n * width
    inverses = (2 * iterations + 1) * size
    steps = np.empty(inverses + 2 * iterations * n * width, numbers.dtype)
    one = splat(_exponentials(n * n, data, bias, numbers, z, steps), 1.0)
    for t in range(2 * iterations):
        stride, other = (n, 1) if t % 2 == 0 else (1, n)  # columns, then rows
        for b in range(n):
            norm = splat(one, 0.0)
            for a in range(n):
                norm = norm + load(steps, t * size + (a * stride + b * other) * width)
            inverse = one / norm
            store(steps, inverses + (t * n + b) * width, inverse)
            for a in range(n):
                at = t * size + (a * stride + b * other) * width
                store(steps, at + size, load(steps, at) * inverse)
    return steps


@njit(cache=True)
def mixing(
    kind: int, n: int, iterations: int, count: int, data: Reals, bias: int, numbers: Reals, z: int, mix: int
) -> None:
    """Numbers mix [n n] from the logits z [count], which lack their bias."""
    width = lanes(numbers)
    if kind == PERMUTATION:
        weights = local(numbers, 24)
        norm = _exponentials(count, data, bias, numbers, z, weights)
        inverse = splat(norm, 1.0) / norm
        for k in range(n * n):
            store(numbers, mix + k * PART, splat(norm, 0.0))
        for p in range(count):
            weight = load(weights, p * width) * inverse
            for a in range(n):
                at = mix + (a * n + ORDER[ORDER_START[n - 1] + p, a]) * PART
                store(numbers, at, load(numbers, at) + weight)
    elif kind == SINKHORN:
        steps = _sinkhorn(n, iterations, data, bias, numbers, z)
        for k in range(n * n):
            store(numbers, mix + k * PART, load(steps, (2 * iterations * n * n + k) * width))


@njit(cache=True)
def mix_gradient(
    kind: int, n: int, iterations: int, count: int, data: Reals, bias: int, numbers: Reals, z: int, g_mix: int
) -> Vector:
    """The logits turn into their gradient, which spoils numbers g_mix; returns the dot product of the two."""
    width = lanes(numbers)
    along = splat(load(numbers, z), 0.0)
    if kind == PERMUTATION:
        weights, slopes = local(numbers, 24), local(numbers, 24)
        norm = _exponentials(count, data, bias, numbers, z, weights)
        inverse = splat(norm, 1.0) / norm
        mean = splat(norm, 0.0)
        for p in range(count):
            g = splat(norm, 0.0)
            for a in range(n):
                g = g + load(numbers, g_mix + (a * n + ORDER[ORDER_START[n - 1] + p, a]) * PART)
            store(slopes, p * width, g)
            mean = fma(load(weights, p * width), g, mean)
        mean = mean * inverse
        for p in range(count):
            g = load(weights, p * width) * inverse * (load(slopes, p * width) - mean)
            along = fma(g, load(numbers, z + p * PART), along)
            store(numbers, z + p * PART, g)
    elif kind == SINKHORN:
        steps = _sinkhorn(n, iterations, data, bias, numbers, z)
        size = n * n * width
        inverses = (2 * iterations + 1) * size
        for t in range(2 * iterations - 1, -1, -1):
            stride, other = (n, 1) if t % 2 == 0 else (1, n)
            for b in range(n):
                shared = splat(along, 0.0)
                for a in range(n):
                    k = a * stride + b * other
                    shared = fma(load(numbers, g_mix + k * PART), load(steps, (t + 1) * size + k * width), shared)
                inverse = load(steps, inverses + (t * n + b) * width)
                for a in range(n):
                    at = g_mix + (a * stride + b * other) * PART
                    store(numbers, at, (load(numbers, at) - shared) * inverse)
        for k in range(n * n):
            g = load(numbers, g_mix + k * PART) * load(steps, k * width)
            along = fma(g, load(numbers, z + k * PART), along)
            store(numbers, z + k * PART, g)
    return along
