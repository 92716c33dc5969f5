"""What the output network reads of the residual streams, compiled, and the way back."""

from __future__ import annotations

import math

from mdflash.compiled.jit import njit
from mdflash.compiled.panels import panel_width
from mdflash.compiled.simd import fma, load, splat, store, total
from mdflash.core.types import Reals
from mdflash.potentials.backbones.parts import RMS_EPSILON
from mdflash.potentials.schnet.arrays import Shape, Work


@njit(cache=True, error_model="numpy")
def merge(net: Shape, data: Reals, work: Work, begin: int, end: int) -> None:
    """What the output network reads: merged = sum over blocks and streams, x = merged / rms(merged).

    Args:
        net, work: `Shape` and `Work` of `schnet.arrays`.
    """
    n, blocks, features, padded, shares = net.streams, net.blocks, net.real_features, net.features, net.merge
    norm, state, merged, x, rows = net.merge_norm, work.state, work.merged, work.x, work.rows
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
def merge_gradient(net: Shape, data: Reals, work: Work, begin: int, end: int) -> None:
    """merged <- dE/dmerged from dE/dx, and dE/dX behind the last block."""
    n, blocks, features, padded, shares = net.streams, net.blocks, net.real_features, net.features, net.merge
    norm, g_x, merged, gradient, rows = net.merge_norm, work.gx, work.merged, work.stream_gradient, work.rows
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
    stream = padded * rows
    for s in range(n):
        own = splat(nothing, data[shares + n + blocks - 1] * data[shares + s])
        for p in range(padded // width):
            row = p * rows * width
            for at in range(row + begin * width, row + end * width, lanes):
                store(gradient, s * stream + at, own * load(merged, at))


@njit(cache=True, error_model="numpy")
def share_gradient(net: Shape, block: int, data: Reals, work: Work, begin: int, end: int) -> None:
    """gradient += what the output network reads of the state behind a block."""
    n, padded, shares = net.streams, net.features, net.merge
    merged, gradient, rows = work.merged, work.stream_gradient, work.rows
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
