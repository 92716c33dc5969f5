"""The Triton twin of `surface`: an energy on a grid at a point, and a slope. The cubic is the CPU's own function."""

from __future__ import annotations

from types import FunctionType
from typing import Any

import triton
import triton.language as tl

from mdflash.potentials.bias import surface_cpu


def _shared(function: Any) -> Any:
    """The source of a compiled function for Triton too; its interpreter wants `tl` among a function's globals."""
    return triton.jit(FunctionType(function.py_func.__code__, globals()))


_hermite, _hermite_slope = _shared(surface_cpu.hermite), _shared(surface_cpu.hermite_slope)


@triton.jit
def _cell(q: tl.tensor, axis: tl.tensor) -> tuple[tl.tensor, tl.tensor, tl.tensor, tl.tensor]:
    """The nodes before and after q, how far between them it is, and dt/dq; axis points to four numbers."""
    count = tl.load(axis + 2)
    points = count.to(tl.int32)
    spacing = tl.load(axis + 1)
    z = (q - tl.load(axis)) / spacing
    slope = 1.0 / spacing
    finite = tl.abs(z) < 1e15
    nothing = z - z  # 0, or NaN: then an energy of it is not finite either
    z = tl.where(finite, z, 0.0)
    if tl.load(axis + 3) != 0.0:
        z -= count * tl.floor(z / count)
        i = tl.minimum(z.to(tl.int32), points - 1)
        j = (i + 1) % points
    else:
        inner = tl.minimum(tl.maximum(z, 0.0), count - 1.0)
        slope = tl.where(inner == z, slope, 0.0)
        z = inner
        i = tl.minimum(z.to(tl.int32), points - 2)
        j = i + 1
    return i, j, tl.where(finite, z - i, nothing), slope


@triton.jit
def on_grid(
    surface: tl.tensor, axes: tl.tensor, values: tl.tensor, along: tl.tensor, D: tl.constexpr
) -> tuple[tl.tensor, tl.tensor]:
    """u at D values, and its slope by one of them: a lane for each of the 4^D numbers at the nodes of a cell.

    Args:
        surface: to [points of each axis * 2^D] numbers.
        axes: to [D, 4] numbers, see `surface_cpu.as_rows`.
        values: to [D] numbers.
        along: which axis the slope is by.
    """
    lane = tl.arange(0, 1 << (2 * D))
    corner = lane >> D
    part = lane & ((1 << D) - 1)  # which derivatives
    node = lane.to(tl.int64) * 0
    share = lane.to(tl.float64) * 0.0 + 1.0
    slope = share
    for d in tl.static_range(D):
        i, j, t, rise = _cell(tl.load(values + d), axes + 4 * d)
        after = (corner >> d) & 1
        derivative = (part >> d) & 1
        v = ((after == 0) & (derivative == 0)).to(tl.float64)
        dv = ((after == 0) & (derivative == 1)).to(tl.float64)
        w = ((after == 1) & (derivative == 0)).to(tl.float64)
        dw = ((after == 1) & (derivative == 1)).to(tl.float64)
        mine = _hermite(v, dv, w, dw, t)
        slope = slope * tl.where(along == d, rise * _hermite_slope(v, dv, w, dw, t), mine)
        share = share * mine
        node = node * tl.load(axes + 4 * d + 2).to(tl.int64) + tl.where(after == 1, j, i)
    numbers = tl.load(surface + (node << D) + part)
    return tl.sum(numbers * share, axis=0), tl.sum(numbers * slope, axis=0)
