"""N, C and O of a protein from its CA trace.

Between two CA lies a flat peptide group of known shape; all that is open is its rotation about the line from CA to CA
(E. O. Purisima and H. A. Scheraga, Biopolymers 23, 1207 (1984)). Every rotation is tried on a grid, and the best
chain of them is found by dynamic programming: the cost of two neighboring groups is how far the angle N-CA-C
between them is from its ideal, and how far phi and psi are from the populated regions of the Ramachandran plot.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mdflash.core.geometry import bond_angles, torsions
from mdflash.core.types import FloatArray
from mdflash.mapping.geometry import C_N, C_N_CA, C_O, CA_C, CA_C_N, CA_C_O, N_CA, N_CA_C, place

_ROTATIONS = 48
_CIS = 3.4
"""Å; CA atoms nearer than this have a cis group between them (2.9 Å; trans: 3.8 Å)."""
_ANGLE_WIDTH = 4.0  # degrees; of N-CA-C
_BASINS = np.array([(-63, -43, 0.0), (-120, 130, 0.0), (-68, 145, 0.0), (-90, 0, 0.7), (57, 42, 3.0)])
"""phi, psi, cost; in degrees and kT."""
_BASIN_WIDTH = 25.0


def backbone_from_ca(ca: FloatArray, names: Sequence[str]) -> list[dict[str, FloatArray]]:
    """N, CA, C, O of each residue of one chain.

    Args:
        ca: [residues, 3] in Å.
        names: residue names; glycine and proline have their own Ramachandran plots.
    """
    n = len(ca)
    if n == 1:
        return _ends(ca, np.zeros((0, 3, 3)))
    groups = np.stack([_rotated_group(ca[k], ca[k + 1]) for k in range(n - 1)])  # [n - 1, rotations, 3 (C, O, N), 3]
    best = np.zeros(_ROTATIONS)
    came_from = []
    for k in range(1, n - 1):
        total = best[:, None] + _cost(ca[k], groups[k - 1], groups[k], names[k])  # [before, here]
        came_from.append(total.argmin(axis=0))
        best = total.min(axis=0)
    choice = [int(best.argmin())]
    for before in reversed(came_from):
        choice.append(int(before[choice[-1]]))
    return _ends(ca, groups[np.arange(n - 1), choice[::-1]])


def _rotated_group(first: FloatArray, second: FloatArray) -> FloatArray:
    """C, O, N between two CA at every rotation, [rotations, 3, 3]."""
    axis = second - first
    length = float(np.linalg.norm(axis))
    axis = axis / length
    flat = _flat_group(0.0 if length < _CIS else 180.0)
    across = np.cross(axis, np.eye(3)[np.argmin(np.abs(axis))])
    across /= np.linalg.norm(across)
    angle = 2 * np.pi * np.arange(_ROTATIONS) / _ROTATIONS
    up = np.cos(angle)[:, None] * across + np.sin(angle)[:, None] * np.cross(axis, across)  # [rotations, 3]
    ideal = flat[3, 0]
    along = flat[:3, 0] + 0.5 * (length - ideal)  # a stretched group keeps its shape in the middle
    group: FloatArray = first + along[None, :, None] * axis + flat[None, :3, 1, None] * up[:, None, :]
    return group


def _flat_group(omega: float) -> FloatArray:
    """C, O, N and the second CA of an ideal group in the plane: along CA-CA and across it, [4, 2]."""
    ca = np.zeros(3)
    c = np.array([CA_C, 0.0, 0.0])
    o = place(np.array([0.0, 1.0, 0.0]), ca, c, C_O, CA_C_O, 0.0)
    n = place(np.array([0.0, 1.0, 0.0]), ca, c, C_N, CA_C_N, 180.0)
    after = place(ca, c, n, N_CA, C_N_CA, omega)
    along = after / np.linalg.norm(after)
    across = np.array([-along[1], along[0], 0.0])
    points = np.stack([c, o, n, after])
    flat: FloatArray = np.stack([points @ along, points @ across], axis=1)
    return flat


def _cost(ca: FloatArray, before: FloatArray, after: FloatArray, name: str) -> FloatArray:
    """Of every pair of rotations of the groups on both sides of a CA, [before, after], in kT."""
    c0, n = before[:, 0][:, None, :], before[:, 2][:, None, :]
    c, n1 = after[:, 0][None, :, :], after[:, 2][None, :, :]
    shape = (_ROTATIONS, _ROTATIONS, 3)
    x = np.stack([np.broadcast_to(a, shape) for a in (c0, n, ca, c, n1)], axis=2)  # [before, after, 5, 3]
    off = (np.degrees(bond_angles(x, np.array([[1, 2, 3]])))[..., 0] - N_CA_C) / _ANGLE_WIDTH
    dihedrals = np.degrees(torsions(x, np.array([[0, 1, 2, 3], [1, 2, 3, 4]])))  # phi, psi
    basins = _BASINS
    if name == "GLY":
        basins = np.concatenate([_BASINS[:4], _BASINS[:4] * (-1, -1, 1)])
    elif name == "PRO":
        basins = _BASINS[[0, 2, 3]]
    away = (dihedrals[..., None, :] - basins[:, :2] + 180) % 360 - 180  # [before, after, basins, 2]
    plot = ((away / _BASIN_WIDTH) ** 2).sum(axis=-1) / 2 + basins[:, 2]
    cost: FloatArray = off**2 / 2 + plot.min(axis=-1)
    return cost


def _ends(ca: FloatArray, groups: FloatArray) -> list[dict[str, FloatArray]]:
    """The chain's atoms from its groups [n - 1, 3 (C, O, N), 3], with its first N and its last C and O."""
    residues = [{"CA": x} for x in ca]
    for k, (c, o, n) in enumerate(groups):
        residues[k] |= {"C": c, "O": o}
        residues[k + 1]["N"] = n
    if len(groups):
        residues[0]["N"] = place(groups[0, 2], groups[0, 0], ca[0], N_CA, N_CA_C, 130.0)
        start = groups[-1, 0]
    else:
        residues[0]["N"] = ca[0] + np.array([N_CA, 0.0, 0.0])
        start = ca[0] + np.array([0.0, 1.0, 1.0])
    last = residues[-1]
    last["C"] = place(start, last["N"], ca[-1], CA_C, N_CA_C, -100.0)
    last["O"] = place(last["N"], ca[-1], last["C"], C_O, CA_C_O, -50.0)
    return [{atom: r[atom] for atom in ("N", "CA", "C", "O")} for r in residues]
