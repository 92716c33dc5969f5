"""Ideal geometry of the protein backbone, and placing one atom from three others.

Bond lengths and angles: R. A. Engh and R. Huber, Acta Cryst. A 47, 392 (1991).
"""

from __future__ import annotations

import math

import numpy as np

from mdflash.core.types import FloatArray

N_CA, CA_C, C_N, C_O, CA_CB = 1.458, 1.525, 1.329, 1.231, 1.530  # Å
N_CA_C, CA_C_N, C_N_CA, CA_C_O, N_CA_CB = 111.0, 117.2, 121.7, 120.1, 110.5  # degrees
CB_TORSION = -122.6  # C-N-CA-CB relative to C-N-CA-C: the L hand


def beta_carbon(n: FloatArray, ca: FloatArray, c: FloatArray) -> FloatArray:
    """Where CB of an L amino acid lies, from N, CA and C."""
    return place(c, n, ca, CA_CB, N_CA_CB, CB_TORSION)


def place(a: FloatArray, b: FloatArray, c: FloatArray, length: float, angle: float, torsion: float) -> FloatArray:
    """The point at `length` from c, at `angle` b-c-point and `torsion` a-b-c-point, in degrees."""
    theta, phi = math.radians(angle), math.radians(torsion)
    along = (c - b) / np.linalg.norm(c - b)
    normal = np.cross(b - a, along)
    normal /= np.linalg.norm(normal)
    local = length * np.array([-math.cos(theta), math.sin(theta) * math.cos(phi), math.sin(theta) * math.sin(phi)])
    point: FloatArray = c + local[0] * along + local[1] * np.cross(normal, along) + local[2] * normal
    return point
