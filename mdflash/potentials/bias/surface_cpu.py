"""The compiled twin of `surface`: an energy on a grid at a point, its slopes, and Gaussians that are added to it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mdflash.compiled.jit import njit
from mdflash.core.types import FloatArray, IntArray
from mdflash.potentials.bias.surface import REACH, Axis

LOW, SPACING, POINTS, PERIODIC = range(4)
"""Columns of an axis, as kernels read it."""


@njit(cache=True, borrow=True, error_model="numpy")
def cell(q: float, axis: FloatArray) -> tuple[int, int, float, float]:
    """The nodes before and after q, how far between them it is, and dt/dq; axis [4] by the columns above.

    What is not finite comes back as it is, so an energy of it is not finite either.
    """
    points = int(axis[POINTS])
    z = (q - axis[LOW]) / axis[SPACING]
    slope = 1.0 / axis[SPACING]
    if not abs(z) < 1e15:
        return 0, 1, z - z, slope
    if axis[PERIODIC] != 0.0:
        z -= axis[POINTS] * math.floor(z / axis[POINTS])
        i = min(max(int(z), 0), points - 1)
        return i, (i + 1) % points, z - i, slope
    if z < 0.0 or z > points - 1.0:
        z, slope = min(max(z, 0.0), points - 1.0), 0.0
    i = min(int(z), points - 2)
    return i, i + 1, z - i, slope


@njit(cache=True, error_model="numpy")
def hermite(v: float, dv: float, w: float, dw: float, t: float) -> float:
    """The cubic with value v and slope dv at 0, w and dw at 1, at t."""
    s = 1.0 - t
    return (1.0 + 2.0 * t) * s * s * v + t * t * (3.0 - 2.0 * t) * w + t * s * s * dv - t * t * s * dw


@njit(cache=True, error_model="numpy")
def hermite_slope(v: float, dv: float, w: float, dw: float, t: float) -> float:
    """Its derivative by t."""
    s = 1.0 - t
    return 6.0 * t * s * (w - v) + s * (1.0 - 3.0 * t) * dv - t * (2.0 - 3.0 * t) * dw


@njit(cache=True, borrow=True, error_model="numpy")
def on_line(surface: FloatArray, axis: FloatArray, q: float) -> tuple[float, float]:
    """u and du/dq of a surface [points * 2] over one variable."""
    i, j, t, slope = cell(q, axis)
    v, dv, w, dw = surface[2 * i], surface[2 * i + 1], surface[2 * j], surface[2 * j + 1]
    return hermite(v, dv, w, dw, t), slope * hermite_slope(v, dv, w, dw, t)


@njit(cache=True, borrow=True, error_model="numpy")
def on_plane(
    surface: FloatArray, first: FloatArray, second: FloatArray, q: float, p: float
) -> tuple[float, float, float]:
    """u, du/dq and du/dp of a surface [points * points * 4] over two variables."""
    i, j, t, slope = cell(q, first)
    k, m, s, rise = cell(p, second)
    columns = int(second[POINTS])
    a, b = 4 * (i * columns + k), 4 * (i * columns + m)
    c, d = 4 * (j * columns + k), 4 * (j * columns + m)
    v0 = hermite(surface[a], surface[a + 2], surface[b], surface[b + 2], s)
    d0 = hermite(surface[a + 1], surface[a + 3], surface[b + 1], surface[b + 3], s)
    v1 = hermite(surface[c], surface[c + 2], surface[d], surface[d + 2], s)
    d1 = hermite(surface[c + 1], surface[c + 3], surface[d + 1], surface[d + 3], s)
    w0 = hermite_slope(surface[a], surface[a + 2], surface[b], surface[b + 2], s)
    e0 = hermite_slope(surface[a + 1], surface[a + 3], surface[b + 1], surface[b + 3], s)
    w1 = hermite_slope(surface[c], surface[c + 2], surface[d], surface[d + 2], s)
    e1 = hermite_slope(surface[c + 1], surface[c + 3], surface[d + 1], surface[d + 3], s)
    u = hermite(v0, d0, v1, d1, t)
    return u, slope * hermite_slope(v0, d0, v1, d1, t), rise * hermite(w0, e0, w1, e1, t)


@njit(cache=True, error_model="numpy")
def on_space(surface: FloatArray, axes: FloatArray, q: float, p: float, r: float) -> tuple[float, float, float, float]:
    """u, du/dq, du/dp and du/dr of a surface [points * points * points * 8] over three variables; axes [3, 4]."""
    i, j, t, slope = cell(q, axes[0])
    k, m, s, rise = cell(p, axes[1])
    a, b, w, climb = cell(r, axes[2])
    columns, layers = int(axes[1, POINTS]), int(axes[2, POINTS])
    cut, along = np.empty(16), np.empty(16)  # the cell cut at r: a plane of four nodes, and its slope by r
    for c in range(4):
        row = (i if c < 2 else j) * columns + (k if c % 2 == 0 else m)
        low, high = 8 * (row * layers + a), 8 * (row * layers + b)
        for d in range(4):
            v, dv = surface[low + d], surface[low + 4 + d]
            x, dx = surface[high + d], surface[high + 4 + d]
            cut[4 * c + d] = hermite(v, dv, x, dx, w)
            along[4 * c + d] = hermite_slope(v, dv, x, dx, w)
    square = np.array([0.0, 1.0, 2.0, 0.0])  # an axis of two nodes
    u, ut, us = on_plane(cut, square, square, t, s)
    return u, slope * ut, rise * us, climb * on_plane(along, square, square, t, s)[0]


@njit(cache=True, borrow=True, error_model="numpy")
def energy_at(surface: FloatArray, axes: FloatArray, values: FloatArray) -> float:
    """u of a surface over D variables at values [D]; axes [D, 4]."""
    if len(axes) == 1:
        energy: float = on_line(surface, axes[0], values[0])[0]
    elif len(axes) == 2:
        energy = on_plane(surface, axes[0], axes[1], values[0], values[1])[0]
    else:
        energy = on_space(surface, axes, values[0], values[1], values[2])[0]
    return energy


@njit(cache=True, borrow=True, error_model="numpy")
def _reach(axis: FloatArray, center: float, width: float) -> tuple[int, int]:
    """The first node within reach of a Gaussian and the one after the last, not yet taken round a periodic axis."""
    z, w = (center - axis[LOW]) / axis[SPACING], width / axis[SPACING]
    first, stop = int(math.ceil(z - REACH * w)), int(math.floor(z + REACH * w)) + 1
    if axis[PERIODIC] == 0.0:
        first, stop = max(first, 0), min(stop, int(axis[POINTS]))
    return first, stop


@njit(cache=True, borrow=True, error_model="numpy")
def _at(axis: FloatArray, center: float, width: float, node: int) -> tuple[float, float]:
    """A Gaussian of height 1 at a node, and its derivative by the number of the node."""
    w = width / axis[SPACING]
    x = (node - (center - axis[LOW]) / axis[SPACING]) / w
    e = math.exp(-0.5 * x * x)
    return e, -x / w * e


@njit(cache=True, borrow=True, error_model="numpy")
def add_on_line(surface: FloatArray, axis: FloatArray, center: float, width: float, height: float) -> None:
    """Add a Gaussian to a surface [points * 2] over one variable."""
    points = int(axis[POINTS])
    first, stop = _reach(axis, center, width)
    node = first % points  # of every node it would take as long as the exponential
    for i in range(first, stop):
        e, de = _at(axis, center, width, i)
        surface[2 * node] += height * e
        surface[2 * node + 1] += height * de
        node = node + 1 if node + 1 < points else 0


@njit(cache=True, error_model="numpy")
def add_gaussian(surface: FloatArray, axes: FloatArray, center: FloatArray, width: FloatArray, height: float) -> None:
    """Add a Gaussian to a surface [points of each axis * 2^D]; axes [D, 4], the others as in `surface`."""
    if len(axes) == 1:
        add_on_line(surface, axes[0], center[0], width[0], height)
        return
    points = int(axes[0, POINTS])
    first, stop = _reach(axes[0], center[0], width[0])
    columns = int(axes[1, POINTS])
    begin, end = _reach(axes[1], center[1], width[1])
    along = np.empty((max(end - begin, 0), 2))
    for k in range(begin, end):
        along[k - begin, 0], along[k - begin, 1] = _at(axes[1], center[1], width[1], k)
    if len(axes) == 3:
        _add_in_space(surface, axes, center, width, height, along)
        return
    for i in range(first, stop):
        e, de = _at(axes[0], center[0], width[0], i)
        e, de = height * e, height * de
        for k in range(begin, end):
            f, df = along[k - begin, 0], along[k - begin, 1]
            row = 4 * ((i % points) * columns + k % columns)
            surface[row] += e * f
            surface[row + 1] += de * f
            surface[row + 2] += e * df
            surface[row + 3] += de * df


@njit(cache=True, error_model="numpy")
def _add_in_space(
    surface: FloatArray, axes: FloatArray, center: FloatArray, width: FloatArray, height: float, along: FloatArray
) -> None:
    """Add a Gaussian over three variables, of which `along` [nodes within reach, 2] is the part of the second."""
    points, columns, layers = int(axes[0, POINTS]), int(axes[1, POINTS]), int(axes[2, POINTS])
    first, stop = _reach(axes[0], center[0], width[0])
    begin = _reach(axes[1], center[1], width[1])[0]
    low, high = _reach(axes[2], center[2], width[2])
    deep = np.empty((max(high - low, 0), 2))
    for a in range(low, high):
        deep[a - low, 0], deep[a - low, 1] = _at(axes[2], center[2], width[2], a)
    for i in range(first, stop):
        e, de = _at(axes[0], center[0], width[0], i)
        e, de = height * e, height * de
        for k in range(len(along)):
            f, df = along[k, 0], along[k, 1]
            v, v1, v2, v12 = e * f, de * f, e * df, de * df
            row = ((i % points) * columns + (k + begin) % columns) * layers
            for a in range(low, high):
                g, dg = deep[a - low, 0], deep[a - low, 1]
                node = 8 * (row + a % layers)
                surface[node] += v * g
                surface[node + 1] += v1 * g
                surface[node + 2] += v2 * g
                surface[node + 3] += v12 * g
                surface[node + 4] += v * dg
                surface[node + 5] += v1 * dg
                surface[node + 6] += v2 * dg
                surface[node + 7] += v12 * dg


@njit(cache=True, error_model="numpy")
def add_gaussians(
    surfaces: FloatArray, axes: FloatArray, width: FloatArray, group: IntArray, centers: FloatArray, heights: FloatArray
) -> None:
    """Add n Gaussians, in their order, each to the surface of its group: surfaces [groups, points * 2^D]."""
    if len(axes) == 1:
        for h in range(len(heights)):
            add_on_line(surfaces[group[h]], axes[0], centers[h, 0], width[0], heights[h])
        return
    for h in range(len(heights)):
        add_gaussian(surfaces[group[h]], axes, centers[h], width, heights[h])


def as_rows(axes: Sequence[Axis]) -> FloatArray:
    """[D, 4] axes as kernels read them."""
    return np.array([[axis.low, axis.spacing, axis.points, axis.periodic] for axis in axes], np.float64)
