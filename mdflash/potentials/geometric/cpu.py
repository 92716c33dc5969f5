"""Residual rules for rows of one replica, compiled: forward, and backward written out.

    read     u = sum_s r_s X_s        c = u / rms(u)           r, w, M from the maps of X, see `maps`
    write    Z = M X                  X'_s = Z_s + a_s o       a_s = gamma w_s - beta q_s / D^2 + t_s / D
             q_s = Z_s . o            D^2 = |o|^2 + epsilon^2  t_s = gamma beta (V c)_s for deep delta learning, else 0

since the erased direction is k = o / D. With G = dE/dX' and h_s = G_s . o:

    dE/dw_s = gamma h_s    dE/dt_s = h_s / D    dE/dbeta = -sum_s h_s q_s / D^2    dE/dq_s = -beta h_s / D^2 =: e_s
    dE/dZ_s = G_s + e_s o
    dE/do   = sum_s (a_s G_s + e_s Z_s) + sum_s h_s (2 beta q_s / D^4 - t_s / D^3) o

The messages of a block stand between the two sweeps: `write_gradient` gives dE/do, `read_gradient` takes dE/dc, which
is what came back through the messages.

Matrices lie in panels as in `schnet.dense`; a state [n, rows, H] is one matrix of n H channels. What a bead has once
is float64.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mdflash.kernels import njit
from mdflash.potentials.geometric.maps import IDENTITY, mix_gradient, mixing
from mdflash.potentials.geometric.residual import RMS_EPSILON
from mdflash.potentials.schnet.dense import multiply, panel_width
from mdflash.potentials.schnet.simd import fma, load, splat, store, total

Floats = npt.NDArray[Any]

PART: int = 16
"""Rows that share one piece of scratch; threads take whole multiples of it."""


class Rule(NamedTuple):
    """One connection: choices, and where its parts begin in `data` (-1: it has none)."""

    streams: int
    features: int  # H without padding
    padded: int  # H in whole panels
    norm: int  # 1 where a block reads c = u / rms(u), 0 where it reads u
    mixing: int
    iterations: int
    logits: int  # of the mixing
    wide: int  # outputs of phi in whole panels; 0 without maps
    phi: int
    phi_back: int
    bias: int  # of the maps
    gate: int  # w of beta, then its bias
    value: int  # V, n rows
    numbers: int  # gamma, epsilon


class Streams(NamedTuple):
    """Arrays of one replica; matrices are flat, in panels.

    Attributes:
        state: [blocks + 1][n H] X in front of each block, and behind the last.
        message: [blocks][H] o.
        logits: [wide] of the block at work, and their gradient.
        gradient: [n H] dE/dX.
        spare: [n H].
        scalar: [blocks, rows, fields] what a bead has once; see `_fields`.
        sums: [parts][n n + n] vectors that dots are summed up in.
        steps: [parts, 2 iterations + 1, n n] of Sinkhorn's iteration.
    """

    state: Floats
    message: Floats
    logits: Floats
    gradient: Floats
    spare: Floats
    scalar: npt.NDArray[np.float64]
    sums: Floats
    steps: npt.NDArray[np.float64]


@njit(cache=True)
def fields(rule):
    """Numbers that a bead keeps in each block."""
    n = rule.streams
    return 2 * n * n + 8 * n + 2 * rule.logits + 5


@njit(cache=True)
def _views(rule, row):
    """r, w, t, a, q [n], M [n n], weights of the mixing; then gradients of r, w, t [n], M, weights; then 5 numbers."""
    n, k = rule.streams, rule.logits
    a = 5 * n
    b = a + n * n + k
    c = b + 3 * n
    d = c + n * n + k
    return (
        (row[:n], row[n : 2 * n], row[2 * n : 3 * n], row[3 * n : 4 * n], row[4 * n : 5 * n]),
        (row[a : a + n * n], row[a + n * n : b]),
        (row[b : b + n], row[b + n : b + 2 * n], row[b + 2 * n : c]),
        (row[c : c + n * n], row[c + n * n : d]),
        row[d:],
    )


STATE_RMS, READ_RMS, BETA, INVERSE, BETA_GRADIENT = 0, 1, 2, 3, 4
"""The five numbers: rms of X and of u, beta, 1 / D, dE/dbeta."""


@njit(cache=True, error_model="numpy")
def _sigmoid(x):
    e = math.exp(-abs(x))
    return 1.0 / (1.0 + e) if x >= 0.0 else e / (1.0 + e)


@njit(cache=True, error_model="numpy")
def read(rule, data, streams, x0, block, rows, begin, end, c, c0):
    """What block `block` reads: c [H] from the state at x0, for rows begin:end."""
    width = panel_width(data)
    n, panels = rule.streams, rule.padded // width
    x, lanes = streams.state, width // 2
    nothing = splat(load(data, 0), 0.0)
    if rule.wide > 0:
        size = n * rule.padded
        multiply(x, x0, size, data, rule.phi, -1, streams.logits, 0, rule.wide, rows, begin, end, False)
    for i in range(begin, end):
        (r, w, t, _, _), (mix, weights), _, _, numbers = _views(rule, streams.scalar[block, i])
        if rule.wide > 0:
            squares = nothing
            for p in range(n * panels):
                at = x0 + (p * rows + i) * width
                v0, v1 = load(x, at), load(x, at + lanes)
                squares = fma(v1, v1, fma(v0, v0, squares))
            rms = math.sqrt(total(squares) / (n * rule.features) + RMS_EPSILON)
            numbers[STATE_RMS] = rms
            for k in range(2 * n + rule.logits):
                z = streams.logits[(k // width * rows + i) * width + k % width] / rms + data[rule.bias + k]
                if k < n:
                    r[k] = _sigmoid(z)
                elif k < 2 * n:
                    w[k - n] = 2.0 * _sigmoid(z)
                else:
                    weights[k - 2 * n] = z
            mixing(rule.mixing, n, rule.iterations, weights, mix, streams.steps[i // PART])
        else:
            r[:] = 1.0 / n
            w[:] = 0.0 if rule.value >= 0 else 1.0
        squares, along = nothing, nothing
        for p in range(panels):
            to = (p * rows + i) * width
            for h in range(0, width, lanes):
                u = nothing
                for s in range(n):
                    u = fma(load(x, x0 + ((s * panels + p) * rows + i) * width + h), splat(nothing, r[s]), u)
                store(c, c0 + to + h, u)
                squares = fma(u, u, squares)
                if rule.gate >= 0:
                    along = fma(u, load(data, rule.gate + p * width + h), along)
        rms = math.sqrt(total(squares) / rule.features + RMS_EPSILON) if rule.norm else 1.0
        numbers[READ_RMS] = rms
        if rule.norm:
            inverse = splat(nothing, 1.0 / rms)
            for p in range(panels):
                to = c0 + (p * rows + i) * width
                store(c, to, load(c, to) * inverse)
                store(c, to + lanes, load(c, to + lanes) * inverse)
        numbers[BETA] = 0.0
        if rule.gate >= 0:
            numbers[BETA] = 2.0 * _sigmoid(total(along) / rms + data[rule.gate + rule.padded])
        t[:] = 0.0
        if rule.value >= 0:
            for s in range(n):
                along = nothing
                for p in range(panels):
                    to, v = c0 + (p * rows + i) * width, rule.value + s * rule.padded + p * width
                    along = fma(load(c, to), load(data, v), along)
                    along = fma(load(c, to + lanes), load(data, v + lanes), along)
                t[s] = data[rule.numbers] * numbers[BETA] * total(along)


@njit(cache=True, error_model="numpy")
def write(rule, data, streams, x0, block, rows, begin, end):
    """The state behind block `block`, one state further on than x0, from its messages."""
    width = panel_width(data)
    n, panels = rule.streams, rule.padded // width
    x, o, sums = streams.state, streams.message, streams.sums
    lanes = width // 2
    after, o0 = x0 + n * rule.padded * rows, block * rule.padded * rows
    nothing = splat(load(data, 0), 0.0)
    gamma, epsilon = data[rule.numbers], data[rule.numbers + 1]
    for i in range(begin, end):
        (_, w, t, a, q), (mix, _), _, _, numbers = _views(rule, streams.scalar[block, i])
        scratch = (i // PART) * (n * n + n) * lanes
        squares = nothing
        for s in range(n):
            store(sums, scratch + s * lanes, nothing)
        for p in range(panels):
            row = (p * rows + i) * width
            for h in range(0, width, lanes):
                message = load(o, o0 + row + h)
                squares = fma(message, message, squares)
                for s in range(n):
                    at = s * rule.padded * rows + row + h
                    z = load(x, x0 + at)
                    if rule.mixing != IDENTITY:
                        z = nothing
                        for k in range(n):
                            z = fma(load(x, x0 + k * rule.padded * rows + row + h), splat(nothing, mix[s * n + k]), z)
                    store(x, after + at, z)
                    store(sums, scratch + s * lanes, fma(z, message, load(sums, scratch + s * lanes)))
        inverse = 1.0 / math.sqrt(total(squares) + epsilon * epsilon)
        numbers[INVERSE] = inverse
        for s in range(n):
            q[s] = total(load(sums, scratch + s * lanes))
            a[s] = gamma * w[s] - numbers[BETA] * q[s] * inverse * inverse + t[s] * inverse
            factor = splat(nothing, a[s])
            for p in range(panels):
                row = (p * rows + i) * width
                at = after + s * rule.padded * rows + row
                store(x, at, fma(factor, load(o, o0 + row), load(x, at)))
                store(x, at + lanes, fma(factor, load(o, o0 + row + lanes), load(x, at + lanes)))


@njit(cache=True, error_model="numpy")
def write_gradient(rule, data, streams, x0, block, rows, begin, end, g_o, g_o0):
    """dE/do of block `block`; streams.gradient turns from dE/dX' into what of dE/dX comes past the block."""
    width = panel_width(data)
    n, panels = rule.streams, rule.padded // width
    x, o, g, sums = streams.state, streams.message, streams.gradient, streams.sums
    lanes = width // 2
    stream = rule.padded * rows
    after, o0 = x0 + n * stream, block * stream
    nothing = splat(load(data, 0), 0.0)
    gamma = data[rule.numbers]
    for i in range(begin, end):
        (_, _, t, a, q), (mix, _), (_, g_w, g_t), (g_mix, _), numbers = _views(rule, streams.scalar[block, i])
        scratch = (i // PART) * (n * n + n) * lanes
        beta, inverse = numbers[BETA], numbers[INVERSE]
        along, g_beta = 0.0, 0.0
        for s in range(n):
            dot = nothing
            for p in range(panels):
                row = (p * rows + i) * width
                at = s * stream + row
                dot = fma(load(g, at), load(o, o0 + row), dot)
                dot = fma(load(g, at + lanes), load(o, o0 + row + lanes), dot)
            h = total(dot)
            g_w[s] = gamma * h
            g_t[s] = h * inverse
            g_beta -= h * q[s] * inverse * inverse
            along += h * inverse**3 * (2.0 * beta * q[s] * inverse - t[s])
            q[s] = -beta * h * inverse * inverse  # from here on e_s
        numbers[BETA_GRADIENT] = g_beta
        for k in range(n * n if rule.mixing != IDENTITY else 0):
            store(sums, scratch + k * lanes, nothing)
        for p in range(panels):
            row = (p * rows + i) * width
            for h in range(0, width, lanes):
                message = load(o, o0 + row + h)
                own = splat(nothing, along) * message
                for s in range(n):
                    at = s * stream + row + h
                    gs, e = load(g, at), splat(nothing, q[s])
                    factor = splat(nothing, a[s])
                    if rule.gate >= 0:
                        z = load(x, after + at) - factor * message
                        own = fma(e, z, own)
                    own = fma(factor, gs, own)
                    store(g, at, fma(e, message, gs))
                store(g_o, g_o0 + row + h, own)
                if rule.mixing == IDENTITY:
                    continue
                for s in range(n):
                    gz = load(g, s * stream + row + h)
                    for k in range(n):
                        sum_at = scratch + (s * n + k) * lanes
                        store(sums, sum_at, fma(gz, load(x, x0 + k * stream + row + h), load(sums, sum_at)))
                for k in range(n):
                    mixed = nothing
                    for s in range(n):
                        mixed = fma(splat(nothing, mix[s * n + k]), load(g, s * stream + row + h), mixed)
                    store(streams.spare, k * stream + row + h, mixed)
                for k in range(n):
                    at = k * stream + row + h
                    store(g, at, load(streams.spare, at))
        if rule.mixing != IDENTITY:
            for k in range(n * n):
                g_mix[k] = total(load(sums, scratch + k * lanes))


@njit(cache=True, error_model="numpy")
def read_gradient(rule, data, streams, x0, block, rows, begin, end, g_c, g_c0):
    """streams.gradient += what of dE/dX comes through the reading of block `block`, from dE/dc, which it spoils."""
    width = panel_width(data)
    n, panels = rule.streams, rule.padded // width
    x, g, sums = streams.state, streams.gradient, streams.sums
    lanes, stream = width // 2, rule.padded * rows
    nothing = splat(load(data, 0), 0.0)
    gamma = data[rule.numbers]
    for i in range(begin, end):
        (r, w, t, _, _), (_, weights), (g_r, g_w, g_t), (g_mix, g_weights), numbers = _views(
            rule, streams.scalar[block, i]
        )
        scratch = (i // PART) * (n * n + n) * lanes
        beta, rms = numbers[BETA], numbers[READ_RMS]
        g_beta = numbers[BETA_GRADIENT]
        if rule.value >= 0 and beta > 0.0:
            for s in range(n):
                g_beta += g_t[s] * t[s] / beta
        gate = splat(nothing, g_beta * beta * (1.0 - 0.5 * beta))
        dot = nothing
        for p in range(panels):
            row = (p * rows + i) * width
            for h in range(0, width, lanes):
                gc = load(g_c, g_c0 + row + h)
                if rule.gate >= 0:
                    gc = fma(gate, load(data, rule.gate + p * width + h), gc)
                if rule.value >= 0:
                    for s in range(n):
                        v = load(data, rule.value + s * rule.padded + p * width + h)
                        gc = fma(splat(nothing, gamma * beta * g_t[s]), v, gc)
                store(g_c, g_c0 + row + h, gc)
                u = nothing
                for s in range(n):
                    u = fma(load(x, x0 + s * stream + row + h), splat(nothing, r[s]), u)
                dot = fma(u, gc, dot)
        for s in range(n):
            store(sums, scratch + s * lanes, nothing)
        inverse = splat(nothing, 1.0 / rms)
        back = splat(nothing, -total(dot) / (rule.features * rms**3) if rule.norm else 0.0)
        for p in range(panels):
            row = (p * rows + i) * width
            for h in range(0, width, lanes):
                u = nothing
                for s in range(n):
                    u = fma(load(x, x0 + s * stream + row + h), splat(nothing, r[s]), u)
                gu = fma(back, u, inverse * load(g_c, g_c0 + row + h))
                for s in range(n):
                    at, sum_at = s * stream + row + h, scratch + s * lanes
                    store(sums, sum_at, fma(gu, load(x, x0 + at), load(sums, sum_at)))
                    store(g, at, fma(splat(nothing, r[s]), gu, load(g, at)))
        if rule.wide == 0:
            continue
        for s in range(n):
            g_r[s] = total(load(sums, scratch + s * lanes)) * r[s] * (1.0 - r[s])
            g_w[s] *= w[s] * (1.0 - 0.5 * w[s])
        mix_gradient(rule.mixing, n, rule.iterations, weights, g_mix, g_weights, streams.steps[i // PART])
        for k in range(rule.wide):
            value = 0.0
            if k < n:
                value = g_r[k]
            elif k < 2 * n:
                value = g_w[k - n]
            elif k < 2 * n + rule.logits:
                value = g_weights[k - 2 * n]
            streams.logits[(k // width * rows + i) * width + k % width] = value
    if rule.wide == 0:
        return
    spare, size = streams.spare, n * rule.padded
    multiply(streams.logits, 0, rule.wide, data, rule.phi_back, -1, spare, 0, size, rows, begin, end, False)
    for i in range(begin, end):
        rms = _views(rule, streams.scalar[block, i])[4][STATE_RMS]
        dot = nothing
        for p in range(n * panels):
            at = (p * rows + i) * width
            dot = fma(load(spare, at), load(x, x0 + at), dot)
            dot = fma(load(spare, at + lanes), load(x, x0 + at + lanes), dot)
        inverse = splat(nothing, 1.0 / rms)
        back = splat(nothing, -total(dot) / (n * rule.features * rms**3))
        for p in range(n * panels):
            at = (p * rows + i) * width
            for e in range(at, at + width, lanes):
                store(g, e, fma(back, load(x, x0 + e), fma(inverse, load(spare, e), load(g, e))))


@njit(cache=True, error_model="numpy")
def merge(n, blocks, features, padded, shares, norm, data, state, merged, x, rows, begin, end):
    """What the output network reads: merged = sum over blocks and streams, x = merged / rms(merged)."""
    width = panel_width(data)
    lanes, stream = width // 2, padded * rows
    nothing = splat(load(data, 0), 0.0)
    for i in range(begin, end):
        squares = nothing
        for p in range(padded // width):
            row = (p * rows + i) * width
            for at in range(row, row + width, lanes):
                u = nothing
                for b in range(blocks):
                    share = data[shares + n + b]
                    if share == 0.0:
                        continue
                    for s in range(n):
                        own = splat(nothing, share * data[shares + s])
                        u = fma(own, load(state, ((b + 1) * n + s) * stream + at), u)
                store(merged, at, u)
                squares = fma(u, u, squares)
        inverse = splat(nothing, 1.0 / math.sqrt(total(squares) / features + RMS_EPSILON) if norm else 1.0)
        for p in range(padded // width):
            row = (p * rows + i) * width
            for at in range(row, row + width, lanes):
                store(x, at, inverse * load(merged, at))


@njit(cache=True, error_model="numpy")
def merge_gradient(n, blocks, features, padded, shares, norm, data, g_x, merged, gradient, rows, begin, end):
    """merged <- dE/dmerged from dE/dx, and dE/dX behind the last block."""
    width = panel_width(data)
    lanes = width // 2
    nothing = splat(load(data, 0), 0.0)
    for i in range(begin, end):
        squares, dot = nothing, nothing
        for p in range(padded // width):
            row = (p * rows + i) * width
            for at in range(row, row + width, lanes):
                u = load(merged, at)
                squares, dot = fma(u, u, squares), fma(u, load(g_x, at), dot)
        rms = math.sqrt(total(squares) / features + RMS_EPSILON) if norm else 1.0
        inverse = splat(nothing, 1.0 / rms)
        back = splat(nothing, -total(dot) / (features * rms**3) if norm else 0.0)
        for p in range(padded // width):
            row = (p * rows + i) * width
            for at in range(row, row + width, lanes):
                store(merged, at, fma(back, load(merged, at), inverse * load(g_x, at)))
    for p in range(n * padded // width):
        row = p * rows * width
        gradient[row + begin * width : row + end * width] = 0.0
    share_gradient(n, blocks - 1, padded, shares, data, merged, gradient, rows, begin, end)


@njit(cache=True, error_model="numpy")
def share_gradient(n, block, padded, shares, data, merged, gradient, rows, begin, end):
    """gradient += what the output network reads of the state behind a block."""
    share = data[shares + n + block]
    if share == 0.0:
        return
    width = panel_width(data)
    lanes, stream = width // 2, padded * rows
    nothing = splat(load(data, 0), 0.0)
    for s in range(n):
        own = splat(nothing, share * data[shares + s])
        for p in range(padded // width):
            row = p * rows * width
            for at in range(row + begin * width, row + end * width, lanes):
                store(gradient, s * stream + at, fma(own, load(merged, at), load(gradient, s * stream + at)))
