"""The rotation that superposes a reference on beads, compiled: Horn, J. Opt. Soc. Am. A 4, 629 (1987)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from mdflash.compiled.deferred import njit

if TYPE_CHECKING:
    from mdflash.core.types import FloatArray

SWEEPS: Final = 30
"""Jacobi sweeps at most; a 4 x 4 matrix is diagonal to the last bit after five or six."""


@njit
def largest_eigenvector(a: FloatArray) -> tuple[float, float, float, float]:
    """Of a symmetric [4, 4] matrix, by cyclic Jacobi rotations; destroys it. Golub & Van Loan, section 8.5."""
    v = np.zeros((4, 4))
    for k in range(4):
        v[k, k] = 1.0
    for _ in range(SWEEPS):
        off = 0.0
        for p in range(3):
            for q in range(p + 1, 4):
                off += abs(a[p, q])
        if off == 0.0:
            break
        for p in range(3):
            for q in range(p + 1, 4):
                if a[p, q] == 0.0:
                    continue
                theta = 0.5 * (a[q, q] - a[p, p]) / a[p, q]
                t = 1.0 / (abs(theta) + math.sqrt(theta * theta + 1.0))
                if theta < 0.0:
                    t = -t
                c = 1.0 / math.sqrt(t * t + 1.0)
                s = t * c
                for k in range(4):
                    a[k, p], a[k, q] = c * a[k, p] - s * a[k, q], s * a[k, p] + c * a[k, q]
                for k in range(4):
                    a[p, k], a[q, k] = c * a[p, k] - s * a[q, k], s * a[p, k] + c * a[q, k]
                for k in range(4):
                    v[k, p], v[k, q] = c * v[k, p] - s * v[k, q], s * v[k, p] + c * v[k, q]
                a[p, q] = a[q, p] = 0.0
    best = 0
    for k in range(1, 4):
        if a[k, k] > a[best, best]:
            best = k
    return v[0, best], v[1, best], v[2, best], v[3, best]


@njit
def superposition(s: FloatArray) -> FloatArray:
    """[3, 3] the rotation that takes the reference to the beads, from s = sum of reference_a x_b.

    The unit quaternion is the eigenvector of the largest eigenvalue.
    """
    a = np.empty((4, 4))
    a[0, 0] = s[0, 0] + s[1, 1] + s[2, 2]
    a[1, 1] = s[0, 0] - s[1, 1] - s[2, 2]
    a[2, 2] = -s[0, 0] + s[1, 1] - s[2, 2]
    a[3, 3] = -s[0, 0] - s[1, 1] + s[2, 2]
    a[0, 1] = a[1, 0] = s[1, 2] - s[2, 1]
    a[0, 2] = a[2, 0] = s[2, 0] - s[0, 2]
    a[0, 3] = a[3, 0] = s[0, 1] - s[1, 0]
    a[1, 2] = a[2, 1] = s[0, 1] + s[1, 0]
    a[1, 3] = a[3, 1] = s[2, 0] + s[0, 2]
    a[2, 3] = a[3, 2] = s[1, 2] + s[2, 1]
    w, i, j, k = largest_eigenvector(a)
    turn = np.empty((3, 3))
    turn[0, 0] = w * w + i * i - j * j - k * k
    turn[1, 1] = w * w - i * i + j * j - k * k
    turn[2, 2] = w * w - i * i - j * j + k * k
    turn[0, 1], turn[1, 0] = 2.0 * (i * j - w * k), 2.0 * (i * j + w * k)
    turn[0, 2], turn[2, 0] = 2.0 * (i * k + w * j), 2.0 * (i * k - w * j)
    turn[1, 2], turn[2, 1] = 2.0 * (j * k - w * i), 2.0 * (j * k + w * i)
    return turn
