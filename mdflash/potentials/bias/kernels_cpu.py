"""Kernels of OPES, compiled: merged as they come, summed on a grid. A kernel is a row of center, width and height.

Two kernels become one of the same height, mean and variance: Sodkomkham et al., Knowledge-Based Systems 97, 87 (2016),
with the rule of Invernizzi & Parrinello (see `opes`): a new kernel within one width of its nearest goes into it, and
what came of that into its own nearest, until none is near.
"""

from __future__ import annotations

import math

import numpy as np

from mdflash.compiled.jit import njit
from mdflash.core.types import FloatArray
from mdflash.potentials.bias.surface_cpu import LOW, PERIODIC, POINTS, SPACING, add_gaussian, add_on_line, energy_at


@njit(cache=True, borrow=True, error_model="numpy")
def _apart(a: float, b: float, axis: FloatArray) -> float:
    """b - a, the nearest image of a periodic axis."""
    d = b - a
    if axis[PERIODIC] != 0.0:
        period = axis[SPACING] * axis[POINTS]
        d -= period * np.rint(d / period)
    return d


@njit(cache=True, borrow=True, error_model="numpy")
def _nearest(kernels: FloatArray, count: int, kernel: FloatArray, own: int, axes: FloatArray) -> int:
    """The kernel, other than number `own`, in whose widths this one is nearest, if that is below one; else -1."""
    best, least = -1, 1.0
    dimensions = len(axes)
    for k in range(count):
        if k == own:
            continue
        norm = 0.0
        for d in range(dimensions):
            away, width = _apart(kernels[k, d], kernel[d], axes[d]), kernels[k, dimensions + d]
            if abs(away) >= width:  # most are: a division costs more than all the rest
                norm = 1.0
                break
            norm += (away / width) * (away / width)
        if norm < least:
            best, least = k, norm
    return best


@njit(cache=True, borrow=True, error_model="numpy")
def _merge(into: FloatArray, kernel: FloatArray, axes: FloatArray) -> None:
    """Change `into` to both."""
    dimensions = len(axes)
    h, g = into[2 * dimensions], kernel[2 * dimensions]
    share = g / (h + g)
    for d in range(dimensions):
        away = _apart(into[d], kernel[d], axes[d])
        s, t = into[dimensions + d], kernel[dimensions + d]
        into[dimensions + d] = math.sqrt((1.0 - share) * s * s + share * t * t + share * (1.0 - share) * away * away)
        into[d] += share * away
        if axes[d, PERIODIC] != 0.0:
            period = axes[d, SPACING] * axes[d, POINTS]
            into[d] -= period * math.floor((into[d] - axes[d, LOW]) / period)
    into[2 * dimensions] = h + g


@njit(cache=True, borrow=True, error_model="numpy")
def _put(kernel: FloatArray, other: FloatArray) -> None:
    for k in range(len(other)):
        kernel[k] = other[k]


@njit(cache=True, borrow=True, error_model="numpy")
def merge_kernels(kernels: FloatArray, count: int, fresh: FloatArray, axes: FloatArray, surface: FloatArray) -> int:
    """Take fresh [n, 2 D + 1] kernels, in their order, into the first `count` rows of kernels; returns the new count.

    Args:
        kernels: [count + n or more, 2 D + 1]; changed.
        count: rows that are in use.
        fresh: the new ones.
        axes: [D, 4] as `surface_cpu` reads them.
        surface: [points of each axis * 2^D] their sum; kept so.
    """
    for f in range(len(fresh)):
        into = _nearest(kernels, count, fresh[f], -1, axes)
        if into < 0:
            _put(kernels[count], fresh[f])
            into = count
            count += 1
        else:
            _add(surface, axes, kernels[into], -1.0)
            _merge(kernels[into], fresh[f], axes)
            while True:
                other = _nearest(kernels, count, kernels[into], into, axes)
                if other < 0:
                    break
                _add(surface, axes, kernels[other], -1.0)
                _merge(kernels[other], kernels[into], axes)
                count -= 1
                _put(kernels[into], kernels[count])
                into = into if other == count else other
        _add(surface, axes, kernels[into], 1.0)
    return count


@njit(cache=True, borrow=True, error_model="numpy")
def _add(surface: FloatArray, axes: FloatArray, kernel: FloatArray, times: float) -> None:
    d = len(axes)
    if d == 1:
        add_on_line(surface, axes[0], kernel[0], kernel[1], times * kernel[2])
        return
    add_gaussian(surface, axes, kernel[:d], kernel[d : 2 * d], times * kernel[2 * d])


@njit(cache=True, error_model="numpy")
def add_kernels(surface: FloatArray, axes: FloatArray, kernels: FloatArray) -> None:
    """Add all kernels to a surface [points of each axis * 2^D]."""
    for k in range(len(kernels)):
        _add(surface, axes, kernels[k], 1.0)


@njit(cache=True, borrow=True, error_model="numpy")
def mean_at_kernels(surface: FloatArray, axes: FloatArray, kernels: FloatArray) -> float:
    """The mean of a surface over the places of kernels."""
    total = 0.0
    for k in range(len(kernels)):
        total += energy_at(surface, axes, kernels[k])
    return total / len(kernels)
