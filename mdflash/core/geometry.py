"""Distances, angles and torsions of beads, and molecules made whole, in numpy."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mdflash.core.types import Box, FloatArray, IntArray


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


def long_axis(box: Box) -> int:
    """The axis of the longest edge, along which a slab's density varies; of equal ones the last."""
    return max(range(3), key=lambda k: (box[k], k))


def whole(positions: FloatArray, bonds: IntArray, box: Box) -> FloatArray:
    """Positions [R, N, 3] with beads moved by edges of the box [3] until no bond is longer than half an edge.

    The first bead of what bonds join stays; all stay, in the same array, where no bond is torn.
    """
    edges = np.array(box)
    torn = np.abs(positions[:, bonds[:, 1]] - positions[:, bonds[:, 0]]) > edges / 2
    replicas = np.flatnonzero(torn.any(axis=(1, 2)))
    if not len(replicas):
        return positions
    x = positions[replicas]
    for bead, anchor in _tree(positions.shape[1], bonds):
        x[:, bead] -= edges * np.round((x[:, bead] - x[:, anchor]) / edges)
    found: FloatArray = positions.copy()
    found[replicas] = x
    return found


def _tree(beads: int, bonds: IntArray) -> Iterator[tuple[int, int]]:
    """Each bead that bonds join to one before, with that one, which comes before it."""
    beside: list[list[int]] = [[] for _ in range(beads)]
    for i, j in bonds.tolist():
        beside[i].append(j)
        beside[j].append(i)
    seen = [False] * beads
    for first in range(beads):
        seen[first], front = True, [] if seen[first] else [first]
        while front:
            anchor = front.pop()
            for bead in beside[anchor]:
                if not seen[bead]:
                    seen[bead] = True
                    front.append(bead)
                    yield bead, anchor
