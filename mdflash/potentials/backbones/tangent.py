"""The gate on the channels of a message, o' = s o with s = sigmoid(P c): MGT's tangent projection, compiled.

With dE/do' known, dE/do = s dE/do', dE/d(P c) = o' (1 - s) dE/do', and dE/dc gains the latter through P. The array of s
takes up dE/d(P c) on the way back.
"""

from __future__ import annotations

from mdflash.compiled.jit import njit
from mdflash.compiled.panels import multiply, panel_width
from mdflash.compiled.simd import lanes, load, splat, store
from mdflash.core.types import Int32Array, Reals
from mdflash.potentials.backbones.arrays import Rule, Streams
from mdflash.potentials.backbones.maps import sigmoid


@njit(cache=True, error_model="numpy")
def start_gate(rule: Rule, data: Reals, type_: Int32Array, streams: Streams, rows: int, begin: int, end: int) -> None:
    """s of the first block: constants of a bead's type_ [N], [types, H] in data."""
    width = panel_width(data)
    for i in range(begin, end):
        for channel in range(rule.padded):
            s = 0.0
            if i < type_.shape[0]:
                s = data[rule.opened + type_[i] * rule.padded + channel]
            streams.opened[(channel // width * rows + i) * width + channel % width] = s


@njit(cache=True, error_model="numpy")
def open_gate(
    rule: Rule, data: Reals, streams: Streams, block: int, c: Reals, c0: int, rows: int, begin: int, end: int
) -> None:
    """s from what the block reads."""
    width, s, s0 = panel_width(data), streams.opened, block * rule.padded * rows
    multiply(
        c, c0, rule.padded, data, rule.project, rule.project_bias, s, s0, rule.padded, rows, begin, end, False
    )  # fmt: skip
    for p in range(rule.padded // width):
        for at in range(s0 + (p * rows + begin) * width, s0 + (p * rows + end) * width, lanes(data)):
            store(s, at, sigmoid(load(s, at)))


@njit(cache=True, error_model="numpy")
def pass_message(rule: Rule, streams: Streams, block: int, rows: int, begin: int, end: int) -> None:
    """o <- s o."""
    o, s, first = streams.message, streams.opened, block * rule.padded * rows
    width = panel_width(o)
    for p in range(rule.padded // width):
        for at in range(first + (p * rows + begin) * width, first + (p * rows + end) * width, lanes(o)):
            store(o, at, load(s, at) * load(o, at))


@njit(cache=True, error_model="numpy")
def pass_gradient(
    rule: Rule, streams: Streams, block: int, rows: int, begin: int, end: int, g_o: Reals, g_o0: int
) -> None:
    """dE/do from dE/do', in place; s turns into dE/d(P c)."""
    o, s, first = streams.message, streams.opened, block * rule.padded * rows
    width = panel_width(o)
    one = splat(load(o, first), 1.0)
    for p in range(rule.padded // width):
        for e in range((p * rows + begin) * width, (p * rows + end) * width, lanes(o)):
            gate, g = load(s, first + e), load(g_o, g_o0 + e)
            store(s, first + e, g * load(o, first + e) * (one - gate))
            store(g_o, g_o0 + e, g * gate)


@njit(cache=True, error_model="numpy")
def gate_gradient(
    rule: Rule, data: Reals, streams: Streams, block: int, rows: int, begin: int, end: int, g_c: Reals, g_c0: int
) -> None:
    """dE/dc, with what comes through s; after `pass_gradient`."""
    first = block * rule.padded * rows
    multiply(
        streams.opened, first, rule.padded, data, rule.project_back, -1, g_c, g_c0, rule.padded, rows, begin, end, True
    )  # fmt: skip
