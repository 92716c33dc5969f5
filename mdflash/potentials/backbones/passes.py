"""Passes of the residual rules over the channels of the rows of a part; see `cpu` for the equations.

A state X [n, rows, H] is one matrix of n H channels in panels. Numbers of a bead lie as in `maps`; `x0` and the like
are where in its flat array something begins. One, two and four streams have loops of their own, of constant length,
so that sums over channels stay in registers.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from mdflash.compiled.jit import njit
from mdflash.compiled.panels import panel_width
from mdflash.compiled.simd import fma, lane, lanes, load, local, splat, store, total
from mdflash.core.types import Reals
from mdflash.potentials.backbones.arrays import Places, Rule, Streams
from mdflash.potentials.backbones.maps import IDENTITY, PART

MOST_STREAMS: Final = 16
MOST_PAIRS: Final = MOST_STREAMS**2
"""What the vectors on the stack suffice for."""


class Part(NamedTuple):
    """Rows first:last of panels of `rows` rows; first is a multiple of PART."""

    rows: int
    first: int
    last: int


@njit(cache=True, error_model="numpy")
def squares(x: Reals, x0: int, size: int, part: Part, out: Reals, out0: int) -> None:
    """Numbers out = |X|^2 of each row, over `size` channels."""
    rows, first, last = part
    width, half = panel_width(x), lanes(x)
    for i in range(first, last):
        even = splat(load(x, x0), 0.0)
        odd = even
        for p in range(size // width):
            at = x0 + (p * rows + i) * width
            v1, v2 = load(x, at), load(x, at + half)
            even, odd = fma(v1, v1, even), fma(v2, v2, odd)
        out[out0 + i - first] = total(even + odd)


@njit(inline="always")
def _dots(n: int, a: Reals, a0: int, b: Reals, b0: int, padded: int, part: Part, out: Reals, out0: int) -> None:
    rows, first, last = part
    width, half = panel_width(a), lanes(a)
    stream = padded * rows
    nothing = splat(load(b, b0), 0.0)
    for i in range(first, last):
        even, odd = local(a, MOST_STREAMS), local(a, MOST_STREAMS)
        for s in range(n):
            store(even, s * half, nothing)
            store(odd, s * half, nothing)
        for p in range(padded // width):
            row = (p * rows + i) * width
            b1, b2 = load(b, b0 + row), load(b, b0 + row + half)
            for s in range(n):
                at = a0 + s * stream + row
                store(even, s * half, fma(load(a, at), b1, load(even, s * half)))
                store(odd, s * half, fma(load(a, at + half), b2, load(odd, s * half)))
        for s in range(n):
            out[out0 + s * PART + i - first] = total(load(even, s * half) + load(odd, s * half))


@njit(cache=True, error_model="numpy")
def dots(n: int, a: Reals, a0: int, b: Reals, b0: int, padded: int, part: Part, out: Reals, out0: int) -> None:
    """Numbers out [n] = A b of each row: A [n, H] and b [H] in panels."""
    if n == 4:
        _dots(4, a, a0, b, b0, padded, part, out, out0)
    elif n == 2:
        _dots(2, a, a0, b, b0, padded, part, out, out0)
    elif n == 1:
        _dots(1, a, a0, b, b0, padded, part, out, out0)
    else:
        _dots(n, a, a0, b, b0, padded, part, out, out0)


@njit(inline="always")
def _combine(
    n: int, rule: Rule, data: Reals, streams: Streams, x0: int, c: Reals, c0: int, part: Part, at: Places
) -> None:
    rows, first, last = part
    x, numbers = streams.state, streams.numbers
    gate, padded = rule.gate, rule.padded
    width, half = panel_width(x), lanes(x)
    stream = padded * rows
    nothing = splat(load(data, 0), 0.0)
    for i in range(first, last):
        b = i - first
        squares, along = nothing, nothing
        for p in range(padded // width):
            row = (p * rows + i) * width
            for h in range(0, width, half):
                u = lane(numbers, at.r + b) * load(x, x0 + row + h)
                for s in range(1, n):
                    u = fma(lane(numbers, at.r + s * PART + b), load(x, x0 + s * stream + row + h), u)
                store(c, c0 + row + h, u)
                squares = fma(u, u, squares)
                if gate >= 0:
                    along = fma(u, load(data, gate + p * width + h), along)
        numbers[at.read_rms + b] = total(squares)
        if gate >= 0:
            numbers[at.beta + b] = total(along)


@njit(cache=True, error_model="numpy")
def combine(
    n: int, rule: Rule, data: Reals, streams: Streams, x0: int, c: Reals, c0: int, part: Part, at: Places
) -> None:
    """c [H] = u = sum_s r_s X_s; numbers |u|^2, and u . gate where there is one."""
    if n == 4:
        _combine(4, rule, data, streams, x0, c, c0, part, at)
    elif n == 2:
        _combine(2, rule, data, streams, x0, c, c0, part, at)
    elif n == 1:
        _combine(1, rule, data, streams, x0, c, c0, part, at)
    else:
        _combine(n, rule, data, streams, x0, c, c0, part, at)


@njit(cache=True, error_model="numpy")
def normalize(c: Reals, c0: int, padded: int, part: Part, numbers: Reals, factor: int) -> None:
    """c <- factor c of each row."""
    rows, first, last = part
    width, half = panel_width(c), lanes(c)
    for i in range(first, last):
        inverse = lane(numbers, factor + i - first)
        for p in range(padded // width):
            at = c0 + (p * rows + i) * width
            store(c, at, load(c, at) * inverse)
            store(c, at + half, load(c, at + half) * inverse)


@njit(inline="always")
def _write(n: int, rule: Rule, streams: Streams, x0: int, o0: int, part: Part, at: Places) -> None:
    rows, first, last = part
    x, o, numbers, padded = streams.state, streams.message, streams.numbers, rule.padded
    mixed = rule.mixing != IDENTITY
    width, half = panel_width(x), lanes(x)
    stream = padded * rows
    for i in range(first, last):
        b = i - first
        for p in range(padded // width):
            row = (p * rows + i) * width
            for h in range(0, width, half):
                message, states = load(o, o0 + row + h), local(x, MOST_STREAMS)
                for k in range(n):
                    store(states, k * half, load(x, x0 + k * stream + row + h))
                for s in range(n):
                    z = lane(numbers, at.a + s * PART + b) * message
                    if not mixed:
                        z = z + load(states, s * half)
                    else:
                        for k in range(n):
                            z = fma(lane(numbers, at.mix + (s * n + k) * PART + b), load(states, k * half), z)
                    store(x, x0 + (n + s) * stream + row + h, z)


@njit(cache=True, error_model="numpy")
def write(n: int, rule: Rule, streams: Streams, x0: int, o0: int, part: Part, at: Places) -> None:
    """The next state M X + a o' of each row."""
    if n == 4:
        _write(4, rule, streams, x0, o0, part, at)
    elif n == 2:
        _write(2, rule, streams, x0, o0, part, at)
    elif n == 1:
        _write(1, rule, streams, x0, o0, part, at)
    else:
        _write(n, rule, streams, x0, o0, part, at)


@njit(inline="always")
def _message_gradient(
    n: int, rule: Rule, streams: Streams, x0: int, o0: int, g_o: Reals, g_o0: int, part: Part, at: Places, to: Places
) -> None:
    rows, first, last = part
    x, g, o, numbers, padded = streams.state, streams.gradient, streams.message, streams.numbers, rule.padded
    erases = rule.erase > 0
    width, half = panel_width(x), lanes(x)
    stream = padded * rows
    for i in range(first, last):
        b = i - first
        for p in range(padded // width):
            row = (p * rows + i) * width
            for h in range(0, width, half):
                own = lane(numbers, at.a + b) * load(g, row + h)
                for s in range(1, n):
                    own = fma(lane(numbers, at.a + s * PART + b), load(g, s * stream + row + h), own)
                if erases:
                    own = fma(lane(numbers, to.inverse + b), load(o, o0 + row + h), own)
                    for k in range(n):
                        own = fma(lane(numbers, to.along + k * PART + b), load(x, x0 + k * stream + row + h), own)
                store(g_o, g_o0 + row + h, own)


@njit(cache=True, error_model="numpy")
def message_gradient(
    n: int, rule: Rule, streams: Streams, x0: int, o0: int, g_o: Reals, g_o0: int, part: Part, at: Places, to: Places
) -> None:
    """dE/do = sum_s a_s G_s of each row, and where a direction is erased + sum_s y_s X_s + along o."""
    if n == 4:
        _message_gradient(4, rule, streams, x0, o0, g_o, g_o0, part, at, to)
    elif n == 2:
        _message_gradient(2, rule, streams, x0, o0, g_o, g_o0, part, at, to)
    elif n == 1:
        _message_gradient(1, rule, streams, x0, o0, g_o, g_o0, part, at, to)
    else:
        _message_gradient(n, rule, streams, x0, o0, g_o, g_o0, part, at, to)


@njit(inline="always")
def _outer_dots(n: int, rule: Rule, streams: Streams, x0: int, part: Part, to: Places) -> None:
    rows, first, last = part
    x, g, numbers = streams.state, streams.gradient, streams.numbers
    width, half = panel_width(x), lanes(x)
    stream = rule.padded * rows
    nothing = splat(load(x, x0), 0.0)
    for i in range(first, last):
        sums, states = local(x, MOST_PAIRS), local(x, MOST_STREAMS)
        for k in range(n * n):
            store(sums, k * half, nothing)
        for p in range(rule.padded // width):
            row = (p * rows + i) * width
            for h in range(row, row + width, half):
                for k in range(n):
                    store(states, k * half, load(x, x0 + k * stream + h))
                for s in range(n):
                    own = load(g, s * stream + h)
                    for k in range(n):
                        at = (s * n + k) * half
                        store(sums, at, fma(own, load(states, k * half), load(sums, at)))
        for k in range(n * n):
            numbers[to.mix + k * PART + i - first] = total(load(sums, k * half))


@njit(cache=True, error_model="numpy")
def outer_dots(n: int, rule: Rule, streams: Streams, x0: int, part: Part, to: Places) -> None:
    """Numbers G X' [n n] of each row."""
    if n == 4:
        _outer_dots(4, rule, streams, x0, part, to)
    elif n == 2:
        _outer_dots(2, rule, streams, x0, part, to)
    elif n == 1:
        _outer_dots(1, rule, streams, x0, part, to)
    else:
        _outer_dots(n, rule, streams, x0, part, to)


@njit(inline="always")
def _dots_of_read(
    n: int, rule: Rule, streams: Streams, x0: int, g_c: Reals, g_c0: int, part: Part, at: Places, to: Places
) -> None:
    rows, first, last = part
    x, numbers, padded = streams.state, streams.numbers, rule.padded
    width, half = panel_width(x), lanes(x)
    stream = padded * rows
    nothing = splat(load(x, x0), 0.0)
    for i in range(first, last):
        b = i - first
        with_gc, with_u = local(x, MOST_STREAMS), local(x, MOST_STREAMS)
        for s in range(n):
            store(with_gc, s * half, nothing)
            store(with_u, s * half, nothing)
        for p in range(padded // width):
            row = (p * rows + i) * width
            for h in range(0, width, half):
                gc, u = load(g_c, g_c0 + row + h), nothing
                for s in range(n):
                    u = fma(lane(numbers, at.r + s * PART + b), load(x, x0 + s * stream + row + h), u)
                for s in range(n):
                    state = load(x, x0 + s * stream + row + h)
                    store(with_gc, s * half, fma(state, gc, load(with_gc, s * half)))
                    store(with_u, s * half, fma(state, u, load(with_u, s * half)))
        for s in range(n):
            numbers[to.r + s * PART + b] = total(load(with_gc, s * half))
            numbers[to.z + s * PART + b] = total(load(with_u, s * half))


@njit(cache=True, error_model="numpy")
def dots_of_read(
    n: int, rule: Rule, streams: Streams, x0: int, g_c: Reals, g_c0: int, part: Part, at: Places, to: Places
) -> None:
    """Numbers X dE/dc [n] and X u [n] of each row."""
    if n == 4:
        _dots_of_read(4, rule, streams, x0, g_c, g_c0, part, at, to)
    elif n == 2:
        _dots_of_read(2, rule, streams, x0, g_c, g_c0, part, at, to)
    elif n == 1:
        _dots_of_read(1, rule, streams, x0, g_c, g_c0, part, at, to)
    else:
        _dots_of_read(n, rule, streams, x0, g_c, g_c0, part, at, to)


@njit(inline="always")
def _state_gradient(
    n: int, rule: Rule, streams: Streams, x0: int, o0: int, g_c: Reals, g_c0: int, part: Part, at: Places, to: Places
) -> None:
    rows, first, last = part
    x, g, o, numbers, padded = streams.state, streams.gradient, streams.message, streams.numbers, rule.padded
    mapped, erases, mixed = rule.wide > 0, rule.erase > 0, rule.mixing != IDENTITY
    width, half = panel_width(x), lanes(x)
    stream = padded * rows
    nothing = splat(load(x, x0), 0.0)
    for i in range(first, last):
        b = i - first
        for p in range(padded // width):
            row = (p * rows + i) * width
            for h in range(0, width, half):
                u, own = nothing, local(x, MOST_STREAMS)
                for s in range(n):
                    u = fma(lane(numbers, at.r + s * PART + b), load(x, x0 + s * stream + row + h), u)
                    store(own, s * half, load(g, s * stream + row + h))
                gu = lane(numbers, at.read_rms + b) * load(g_c, g_c0 + row + h)
                gu = fma(lane(numbers, to.read_rms + b), u, gu)
                for k in range(n):
                    gx = lane(numbers, at.r + k * PART + b) * gu
                    if mapped:
                        gx = fma(lane(numbers, to.state_rms + b), load(x, x0 + k * stream + row + h), gx)
                    if erases:
                        gx = fma(lane(numbers, to.along + k * PART + b), load(o, o0 + row + h), gx)
                    if not mixed:
                        gx = gx + load(own, k * half)
                    else:
                        for s in range(n):
                            gx = fma(lane(numbers, at.mix + (s * n + k) * PART + b), load(own, s * half), gx)
                    store(g, k * stream + row + h, gx)


@njit(cache=True, error_model="numpy")
def state_gradient(
    n: int, rule: Rule, streams: Streams, x0: int, o0: int, g_c: Reals, g_c0: int, part: Part, at: Places, to: Places
) -> None:
    """G <- M' G + y o' + r (dE/du)' + state X of each row, with dE/du = inverse dE/dc + back u."""
    if n == 4:
        _state_gradient(4, rule, streams, x0, o0, g_c, g_c0, part, at, to)
    elif n == 2:
        _state_gradient(2, rule, streams, x0, o0, g_c, g_c0, part, at, to)
    elif n == 1:
        _state_gradient(1, rule, streams, x0, o0, g_c, g_c0, part, at, to)
    else:
        _state_gradient(n, rule, streams, x0, o0, g_c, g_c0, part, at, to)
