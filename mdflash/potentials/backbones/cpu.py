"""Residual rules for rows of one replica, compiled: forward, and backward written out.

    read     u = sum_s r_s X_s        c = u / rms(u)           r, w, M from the maps of X, see `maps`
    write    X'_s = (M X)_s + a_s o   a_s = gamma w_s - beta q_s / D^2 + beta v_s / D
             q = M (X o)              D^2 = |o|^2 + epsilon^2  v = gamma V c for deep delta learning, else 0

since the erased direction is k = o / D. MGT erases none: o has passed its gate (see `tangent`), M = 1 - alpha beta and
a = gamma beta. With G = dE/dX' and h_s = G_s . o:

    dE/dw_s = gamma h_s    dE/dv_s = beta h_s / D    dE/dbeta = sum_s h_s (v_s / D - q_s / D^2)
    dE/dq_s = -beta h_s / D^2 =: e_s                 y = M' e
    dE/do   = sum_s (a_s G_s + y_s X_s) + sum_s h_s beta (2 q_s / D^4 - v_s / D^3) o
    dE/dX   = M' G + y o + what comes through the maps and through c
    dE/dM   = G X' + e (X o)'                             MGT: dE/dbeta = gamma h - alpha G X'

The messages of a block stand between the two sweeps: `write_gradient` gives dE/do, `read_gradient` takes dE/dc, which
is what came back through the messages, and turns dE/dX' into dE/dX.

Matrices lie in panels as in `schnet.dense`; a state [n, rows, H] is one matrix of n H channels. What a bead has once
is computed for PART beads in vectors, see `maps` and `Places`; what goes over channels is in `passes`.
"""

from __future__ import annotations

from mdflash.compiled.jit import njit
from mdflash.compiled.panels import multiply, panel_width
from mdflash.compiled.simd import Vector, fma, lane, lanes, load, splat, sqrt, store, total
from mdflash.core.types import Int32Array, Reals
from mdflash.potentials.backbones import passes, tangent
from mdflash.potentials.backbones.arrays import Places, Rule, Streams
from mdflash.potentials.backbones.maps import FORGET, IDENTITY, PART, mix_gradient, mixing, sigmoid
from mdflash.potentials.backbones.parts import RMS_EPSILON


@njit(cache=True)
def fields(rule: Rule) -> int:
    """Numbers that a bead keeps in each block."""
    n = rule.streams
    return n * n + 7 * n + rule.logits + 4


@njit(cache=True)
def _places(rule: Rule, rows: int, share: int, first: int) -> Places:
    n = rule.streams
    start = (share * ((rows + PART - 1) // PART) + first // PART) * fields(rule)
    mix = start + 2 * n
    beta = mix + n * n
    z = beta + 1 + 3 * n
    inverse = z + 2 * n + rule.logits
    return Places(
        start * PART, (start + n) * PART, mix * PART, beta * PART, (beta + 1) * PART, (beta + 1 + n) * PART,
        (beta + 1 + 2 * n) * PART, z * PART, inverse * PART, (inverse + 1) * PART, (inverse + 2) * PART,
    )  # fmt: skip


@njit(cache=True)
def start(
    rule: Rule,
    data: Reals,
    table: int,
    types: int,
    type_: Int32Array,
    streams: Streams,
    rows: int,
    begin: int,
    end: int,
) -> None:
    """w, v, M and beta of the first block: constants of a bead's type_ [N], at `table` in data, [fields, types]."""
    numbers, n = streams.numbers, rule.streams
    for first in range(begin, end, PART):
        to = _places(rule, rows, 1, first).w
        for b in range(PART):
            i = first + b
            for k in range(n * n + 2 * n + 1):
                numbers[to + k * PART + b] = data[table + k * types + type_[i]] if i < type_.shape[0] else 0.0
    if rule.project >= 0:
        tangent.start_gate(rule, data, type_, streams, rows, begin, end)


@njit(cache=True, error_model="numpy")
def _maps(rule: Rule, data: Reals, streams: Streams, at: Places, rows: int, first: int, last: int) -> None:
    """r, w and M from phi X in `streams.logits` and |X|^2 in the place of state_rms."""
    numbers, n = streams.numbers, rule.streams
    width, count = panel_width(data), 2 * n + rule.logits
    for h in range(0, PART, lanes(data)):
        squares = load(numbers, at.state_rms + h)
        mean = fma(squares, splat(squares, 1.0 / (n * rule.features)), splat(squares, RMS_EPSILON))
        store(numbers, at.state_rms + h, splat(squares, 1.0) / sqrt(mean))
    for i in range(first, last):
        b = i - first
        inverse = numbers[at.state_rms + b]
        for k in range(count):
            numbers[at.z + k * PART + b] = inverse * streams.logits[(k // width * rows + i) * width + k % width]
    for h in range(0, PART, lanes(data)):
        for s in range(n):
            r = sigmoid(load(numbers, at.z + s * PART + h) + lane(data, rule.bias + s))
            w = sigmoid(load(numbers, at.z + (n + s) * PART + h) + lane(data, rule.bias + n + s))
            store(numbers, at.r + s * PART + h, r)
            store(numbers, at.w + s * PART + h, w + w)
        z, bias = at.z + 2 * n * PART + h, rule.bias + 2 * n
        mixing(rule.mixing, n, rule.iterations, rule.logits, data, bias, numbers, z, at.mix + h)


@njit(cache=True, error_model="numpy")
def read(
    rule: Rule, data: Reals, streams: Streams, x0: int, block: int, rows: int, begin: int, end: int, c: Reals, c0: int
) -> None:
    """What block `block` reads: c [H] from the state at x0, for rows begin:end; begin is a multiple of PART."""
    n, padded, x, numbers = rule.streams, rule.padded, streams.state, streams.numbers
    nothing = splat(load(data, 0), 0.0)
    one = splat(nothing, 1.0)
    if rule.wide > 0:
        multiply(x, x0, n * padded, data, rule.phi, -1, streams.logits, 0, rule.wide, rows, begin, end, False)
    for first in range(begin, end, PART):
        last, at = min(first + PART, end), _places(rule, rows, block + 1, first)
        part = passes.Part(rows, first, last)
        if rule.wide > 0:
            passes.squares(x, x0, n * padded, part, numbers, at.state_rms)
            _maps(rule, data, streams, at, rows, first, last)
        else:
            for h in range(0, n * PART, lanes(data)):
                store(numbers, at.r + h, splat(nothing, 1.0 / n))
                store(numbers, at.w + h, nothing if rule.value >= 0 else one)
        passes.combine(n, rule, data, streams, x0, c, c0, part, at)
        for h in range(0, PART, lanes(data)):
            squares = load(numbers, at.read_rms + h)
            inverse = one
            if rule.norm:
                inverse = one / sqrt(fma(squares, splat(one, 1.0 / rule.features), splat(one, RMS_EPSILON)))
            store(numbers, at.read_rms + h, inverse)
            if rule.gate >= 0:
                along = load(numbers, at.beta + h)
                beta = sigmoid(fma(along, inverse, lane(data, rule.gate + padded)))
                store(numbers, at.beta + h, beta + beta)
        if rule.norm:
            passes.normalize(c, c0, padded, part, numbers, at.read_rms)
        if rule.value >= 0:
            _values(rule, data, c, c0, rows, first, last, numbers, at.v)
    if rule.project >= 0:
        tangent.open_gate(rule, data, streams, block, c, c0, rows, begin, end)


@njit(cache=True, error_model="numpy")
def _values(
    rule: Rule, data: Reals, c: Reals, c0: int, rows: int, first: int, last: int, numbers: Reals, v0: int
) -> None:
    """Numbers v [n] = gamma V c."""
    width, half = panel_width(c), lanes(c)
    for i in range(first, last):
        for s in range(rule.streams):
            even = splat(load(c, c0), 0.0)
            odd = even
            for p in range(rule.padded // width):
                at, row = c0 + (p * rows + i) * width, rule.value + s * rule.padded + p * width
                even = fma(load(c, at), load(data, row), even)
                odd = fma(load(c, at + half), load(data, row + half), odd)
            numbers[v0 + s * PART + i - first] = data[rule.numbers] * total(even + odd)


@njit(cache=True)
def _erased(rule: Rule, numbers: Reals, at: Places, s: int, h: int) -> Vector:
    """q_s = (M X o)_s of a vector of beads."""
    if rule.mixing == IDENTITY:
        return load(numbers, at.along + s * PART + h)
    q = splat(load(numbers, at.along), 0.0)
    for k in range(rule.streams):
        mix = load(numbers, at.mix + (s * rule.streams + k) * PART + h)
        q = fma(mix, load(numbers, at.along + k * PART + h), q)
    return q


@njit(cache=True, error_model="numpy")
def write(rule: Rule, data: Reals, streams: Streams, x0: int, block: int, rows: int, begin: int, end: int) -> None:
    """The state behind block `block`, one state further on than x0, from its messages."""
    n, padded, numbers = rule.streams, rule.padded, streams.numbers
    x, o, o0 = streams.state, streams.message, block * padded * rows
    one = splat(load(data, 0), 1.0)
    gamma, epsilon = splat(one, data[rule.numbers]), splat(one, data[rule.numbers + 1])
    alpha = splat(one, data[rule.numbers + 2])
    if rule.project >= 0:
        tangent.pass_message(rule, streams, block, rows, begin, end)
    for first in range(begin, end, PART):
        last, at = min(first + PART, end), _places(rule, rows, block + 1, first)
        part = passes.Part(rows, first, last)
        if rule.erase:
            passes.squares(o, o0, padded, part, numbers, at.inverse)
            passes.dots(n, x, x0, o, o0, padded, part, numbers, at.along)
        for h in range(0, PART, lanes(data)):
            inverse = one
            if rule.erase:
                inverse = one / sqrt(fma(epsilon, epsilon, load(numbers, at.inverse + h)))
                store(numbers, at.inverse + h, inverse)
            for s in range(n):
                a = gamma * load(numbers, at.w + s * PART + h)
                if rule.mixing == FORGET:
                    beta = load(numbers, at.beta + h)
                    a = a * beta
                    store(numbers, at.mix + h, one - alpha * beta)
                if rule.erase:
                    change = splat(one, 0.0) - _erased(rule, numbers, at, s, h) * inverse
                    if rule.value >= 0:
                        change = change + load(numbers, at.v + s * PART + h)
                    a = fma(load(numbers, at.beta + h) * inverse, change, a)
                store(numbers, at.a + s * PART + h, a)
        passes.write(n, rule, streams, x0, o0, part, at)


@njit(cache=True, error_model="numpy")
def write_gradient(
    rule: Rule,
    data: Reals,
    streams: Streams,
    x0: int,
    block: int,
    rows: int,
    begin: int,
    end: int,
    g_o: Reals,
    g_o0: int,
) -> None:
    """dE/do of block `block` from dE/dX'."""
    n, padded, numbers = rule.streams, rule.padded, streams.numbers
    g, o, o0 = streams.gradient, streams.message, block * padded * rows
    nothing = splat(load(data, 0), 0.0)
    gamma = splat(nothing, data[rule.numbers])
    for first in range(begin, end, PART):
        last, at = min(first + PART, end), _places(rule, rows, block + 1, first)
        part = passes.Part(rows, first, last)
        to = _places(rule, rows, 0, first)
        if rule.wide > 0 or rule.gate >= 0:
            passes.dots(n, g, 0, o, o0, padded, part, numbers, to.a)
        if rule.erase:
            for h in range(0, PART, lanes(data)):
                _delta_gradient(rule, numbers, at, to, h)
        if rule.wide > 0:
            for h in range(0, n * PART, lanes(data)):
                store(numbers, to.w + h, gamma * load(numbers, to.a + h))
        passes.message_gradient(n, rule, streams, x0, o0, g_o, g_o0, part, at, to)
    if rule.project >= 0:
        tangent.pass_gradient(rule, streams, block, rows, begin, end, g_o, g_o0)


@njit(cache=True, error_model="numpy")
def _delta_gradient(rule: Rule, numbers: Reals, at: Places, to: Places, h: int) -> None:
    """From h = G o: the gradients of beta and v, y, and what o is taken by in dE/do; for a vector of beads."""
    n = rule.streams
    inverse, beta = load(numbers, at.inverse + h), load(numbers, at.beta + h)
    nothing = splat(beta, 0.0)
    g_beta, along = nothing, nothing
    for s in range(n):
        own, v = load(numbers, to.a + s * PART + h), nothing
        if rule.value >= 0:
            v = load(numbers, at.v + s * PART + h)
            store(numbers, to.v + s * PART + h, beta * inverse * own)
        erased = _erased(rule, numbers, at, s, h) * inverse
        g_beta = fma(own, v - erased, g_beta)
        along = fma(own, erased + erased - v, along)
    scale = beta * inverse * inverse
    store(numbers, to.beta + h, g_beta * inverse)
    store(numbers, to.inverse + h, along * scale * inverse)
    for k in range(n):
        y = nothing
        if rule.mixing == IDENTITY:
            y = load(numbers, to.a + k * PART + h)
        else:
            for s in range(n):
                y = fma(load(numbers, at.mix + (s * n + k) * PART + h), load(numbers, to.a + s * PART + h), y)
        store(numbers, to.along + k * PART + h, nothing - y * scale)


@njit(cache=True, error_model="numpy")
def read_gradient(
    rule: Rule,
    data: Reals,
    streams: Streams,
    x0: int,
    block: int,
    rows: int,
    begin: int,
    end: int,
    g_c: Reals,
    g_c0: int,
) -> None:
    """streams.gradient turns from dE/dX' of block `block` into dE/dX, by dE/dc, which is spoilt; after
    `write_gradient`."""
    n, padded, numbers = rule.streams, rule.padded, streams.numbers
    g, o0 = streams.gradient, block * padded * rows
    if rule.project >= 0:
        tangent.gate_gradient(rule, data, streams, block, rows, begin, end, g_c, g_c0)
    for first in range(begin, end, PART):
        last, at = min(first + PART, end), _places(rule, rows, block + 1, first)
        part = passes.Part(rows, first, last)
        to = _places(rule, rows, 0, first)
        if rule.mixing != IDENTITY:
            passes.outer_dots(n, rule, streams, x0, part, to)
        if rule.mixing == FORGET:
            for h in range(0, PART, lanes(data)):
                kept = lane(data, rule.numbers) * load(numbers, to.a + h)
                store(numbers, to.beta + h, kept - lane(data, rule.numbers + 2) * load(numbers, to.mix + h))
        if rule.gate >= 0:
            _gate_gradient(rule, data, g_c, g_c0, rows, first, last, numbers, at, to)
        if rule.norm:
            passes.dots_of_read(n, rule, streams, x0, g_c, g_c0, part, at, to)
        for h in range(0, PART, lanes(data)):
            _number_gradients(rule, data, numbers, at, to, h)
        if rule.wide > 0:
            _spread(rule, streams, rows, first, last, at)
        passes.state_gradient(n, rule, streams, x0, o0, g_c, g_c0, part, at, to)
    if rule.wide > 0:
        multiply(streams.logits, 0, rule.wide, data, rule.phi_back, -1, g, 0, n * padded, rows, begin, end, True)


@njit(cache=True, error_model="numpy")
def _gate_gradient(
    rule: Rule,
    data: Reals,
    g_c: Reals,
    g_c0: int,
    rows: int,
    first: int,
    last: int,
    numbers: Reals,
    at: Places,
    to: Places,
) -> None:
    """dE/dc, with what comes through beta and v."""
    width, half = panel_width(g_c), lanes(g_c)
    for h in range(0, PART, half):
        beta, g_beta = load(numbers, at.beta + h), load(numbers, to.beta + h)
        store(numbers, to.beta + h, g_beta * beta * fma(splat(beta, -0.5), beta, splat(beta, 1.0)))
    for i in range(first, last):
        gate = lane(numbers, to.beta + i - first)
        for p in range(rule.padded // width):
            row = (p * rows + i) * width
            for h in range(0, width, half):
                gc = fma(gate, load(data, rule.gate + p * width + h), load(g_c, g_c0 + row + h))
                if rule.value >= 0:
                    for s in range(rule.streams):
                        own = splat(gc, data[rule.numbers] * numbers[to.v + s * PART + i - first])
                        gc = fma(own, load(data, rule.value + s * rule.padded + p * width + h), gc)
                store(g_c, g_c0 + row + h, gc)


@njit(cache=True, error_model="numpy")
def _number_gradients(rule: Rule, data: Reals, numbers: Reals, at: Places, to: Places, h: int) -> None:
    """What u and X are taken by in dE/dX, and the gradient of the logits, of a vector of beads."""
    n = rule.streams
    nothing = splat(load(data, 0), 0.0)
    one, inverse, back = splat(nothing, 1.0), load(numbers, at.read_rms + h), nothing
    if rule.norm:
        along = nothing
        for s in range(n):
            along = fma(load(numbers, at.r + s * PART + h), load(numbers, to.r + s * PART + h), along)
        back = along * splat(nothing, -1.0 / rule.features) * (inverse * inverse * inverse)
    store(numbers, to.read_rms + h, back)
    if rule.wide == 0:
        return
    along = nothing
    for s in range(n):
        r, w = load(numbers, at.r + s * PART + h), load(numbers, at.w + s * PART + h)
        g = fma(back, load(numbers, to.z + s * PART + h), inverse * load(numbers, to.r + s * PART + h))
        g = g * r * (one - r)
        along = fma(g, load(numbers, at.z + s * PART + h), along)
        store(numbers, at.z + s * PART + h, g)
        g = load(numbers, to.w + s * PART + h) * w * fma(splat(one, -0.5), w, one)
        along = fma(g, load(numbers, at.z + (n + s) * PART + h), along)
        store(numbers, at.z + (n + s) * PART + h, g)
    if rule.mixing != IDENTITY:
        if rule.erase:
            scale = load(numbers, at.beta + h) * load(numbers, at.inverse + h) * load(numbers, at.inverse + h)
            for s in range(n):
                e = nothing - scale * load(numbers, to.a + s * PART + h)
                for k in range(n):
                    entry = to.mix + (s * n + k) * PART + h
                    store(numbers, entry, fma(e, load(numbers, at.along + k * PART + h), load(numbers, entry)))
        z, bias = at.z + 2 * n * PART + h, rule.bias + 2 * n
        along = along + mix_gradient(
            rule.mixing, n, rule.iterations, rule.logits, data, bias, numbers, z, to.mix + h
        )  # fmt: skip
    state = load(numbers, at.state_rms + h)
    store(numbers, to.state_rms + h, along * splat(nothing, -1.0 / (n * rule.features)) * (state * state))


@njit(cache=True, error_model="numpy")
def _spread(rule: Rule, streams: Streams, rows: int, first: int, last: int, at: Places) -> None:
    """streams.logits <- the gradient by phi X of each row."""
    numbers, logits = streams.numbers, streams.logits
    width, count = panel_width(logits), 2 * rule.streams + rule.logits
    for i in range(first, last):
        b = i - first
        inverse = numbers[at.state_rms + b]
        for k in range(count):
            logits[(k // width * rows + i) * width + k % width] = inverse * numbers[at.z + k * PART + b]
        for k in range(count, rule.wide):
            logits[(k // width * rows + i) * width + k % width] = 0.0
