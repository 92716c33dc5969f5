"""The Triton twin of `surface`: an energy on a grid at a point, and its slopes. The cubic is the CPU's own function."""

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
def on_line(surface: tl.tensor, axis: tl.tensor, q: tl.tensor) -> tuple[tl.tensor, tl.tensor]:
    """u and du/dq; surface points to [points * 2] numbers, axis to those of `surface_cpu.as_rows`."""
    i, j, t, slope = _cell(q, axis)
    v = tl.load(surface + 2 * i)
    dv = tl.load(surface + 2 * i + 1)
    w = tl.load(surface + 2 * j)
    dw = tl.load(surface + 2 * j + 1)
    return _hermite(v, dv, w, dw, t), slope * _hermite_slope(v, dv, w, dw, t)


@triton.jit
def _along(a: tl.tensor, b: tl.tensor, s: tl.tensor) -> tuple[tl.tensor, tl.tensor, tl.tensor, tl.tensor]:
    """From the nodes at a and b [4]: the energy and its slope by the first axis at s, and both by the second axis."""
    v = tl.load(a)
    d = tl.load(a + 1)
    dv = tl.load(a + 2)
    dd = tl.load(a + 3)
    w = tl.load(b)
    e = tl.load(b + 1)
    dw = tl.load(b + 2)
    de = tl.load(b + 3)
    return (
        _hermite(v, dv, w, dw, s), _hermite(d, dd, e, de, s), _hermite_slope(v, dv, w, dw, s),
        _hermite_slope(d, dd, e, de, s),
    )  # fmt: skip


@triton.jit
def on_plane(surface: tl.tensor, axes: tl.tensor, q: tl.tensor, p: tl.tensor) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """u, du/dq and du/dp; surface points to [points * points * 4] numbers, axes to those of both, in a row."""
    i, j, t, slope = _cell(q, axes)
    k, m, s, rise = _cell(p, axes + 4)
    columns = tl.load(axes + 6).to(tl.int64)
    v0, d0, w0, e0 = _along(surface + 4 * (i * columns + k), surface + 4 * (i * columns + m), s)
    v1, d1, w1, e1 = _along(surface + 4 * (j * columns + k), surface + 4 * (j * columns + m), s)
    u = _hermite(v0, d0, v1, d1, t)
    return u, slope * _hermite_slope(v0, d0, v1, d1, t), rise * _hermite(w0, e0, w1, e1, t)
