"""Distances, angles and torsions of beads, in numpy."""

from __future__ import annotations

import numpy as np

from mdflash.core.types import FloatArray, IntArray


def distances(positions: FloatArray, pairs: IntArray) -> FloatArray:
    """[..., M] Å, from positions [..., N, 3] and pairs [M, 2]."""
    r: FloatArray = np.linalg.norm(positions[..., pairs[:, 1], :] - positions[..., pairs[:, 0], :], axis=-1)
    return r


def bond_angles(positions: FloatArray, triples: IntArray) -> FloatArray:
    """[..., M] rad, the angle at the middle bead."""
    a, b, c = (positions[..., triples[:, k], :] for k in range(3))
    u, v = a - b, c - b
    theta: FloatArray = np.arctan2(np.linalg.norm(np.cross(u, v), axis=-1), (u * v).sum(axis=-1))
    return theta


def torsions(positions: FloatArray, quadruples: IntArray) -> FloatArray:
    """[..., M] rad in (-pi, pi], IUPAC sign (MDTraj's)."""
    a, b, c, d = (positions[..., quadruples[:, k], :] for k in range(4))
    u, v, w = b - a, c - b, d - c
    m, n = np.cross(u, v), np.cross(v, w)
    phi: FloatArray = np.arctan2(np.linalg.norm(v, axis=-1) * (u * n).sum(axis=-1), (m * n).sum(axis=-1))
    return phi
