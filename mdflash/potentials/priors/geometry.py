"""Internal coordinates of listed beads, in plain torch.

Each takes positions x [n, N, 3] in Å (n replicas of one molecule) and bead indices [M, order], and returns
[n, M]. Signs and definitions are MDTraj's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor

from mdflash.compiled.coordinates import STRAIGHT
from mdflash.potentials.forms.form import Coordinate


def _norm(v: Tensor) -> Tensor:
    """|v| over the last axis."""
    norm: Tensor = torch.linalg.vector_norm(v, dim=-1)
    return norm


def distance(x: Tensor, index: Tensor) -> Tensor:
    """|x_j - x_i| of beads (i, j), Å."""
    return _norm(x[:, index[:, 1]] - x[:, index[:, 0]])


def _arms(x: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """From the middle bead j of (i, j, k): x_i - x_j and x_k - x_j, [n, M, 3]."""
    middle = x[:, index[:, 1]]
    return x[:, index[:, 0]] - middle, x[:, index[:, 2]] - middle


def angle_cosine(x: Tensor, index: Tensor) -> Tensor:
    """cos(theta) at the middle bead j of (i, j, k)."""
    a, b = _arms(x, index)
    return (a * b).sum(-1) / _norm(a) / _norm(b)


def angle(x: Tensor, index: Tensor) -> Tensor:
    """theta = atan2(|a x b|, a.b) at the middle bead j of (i, j, k), rad in [0, pi]."""
    a, b = _arms(x, index)
    sine, cosine = _norm(torch.linalg.cross(a, b)), (a * b).sum(-1)
    straight = sine <= STRAIGHT * _norm(a) * _norm(b)
    return torch.atan2(_held(sine, straight), _held(cosine, straight))


def dihedral(x: Tensor, index: Tensor) -> Tensor:
    """Torsion phi of (i, j, k, l), rad in (-pi, pi].

    With the bonds a = x_j - x_i, b = x_k - x_j, c = x_l - x_k and the plane normals m = a x b, n = b x c:
    phi = atan2(|b| a.n, m.n); positive when, looking from j to k, l lies clockwise of i.
    """
    xi, xj, xk, xl = (x[:, index[:, m]] for m in range(4))
    a, b, c = xj - xi, xk - xj, xl - xk
    m, n = torch.linalg.cross(a, b), torch.linalg.cross(b, c)
    sine, cosine = _norm(b) * (a * n).sum(-1), (m * n).sum(-1)
    straight = ((m * m).sum(-1) <= STRAIGHT**2) | ((n * n).sum(-1) <= STRAIGHT**2)
    return torch.atan2(_held(sine, straight), _held(cosine, straight))


def _held(value: Tensor, where: Tensor) -> Tensor:
    """`value`, without a slope where a straight angle leaves it none."""
    return torch.where(where, value.detach(), value)


COORDINATES: Final[Mapping[Coordinate, Callable[[Tensor, Tensor], Tensor]]] = MappingProxyType(
    {"distance": distance, "angle_cosine": angle_cosine, "angle": angle, "dihedral": dihedral}
)
"""The function of each `Form.on` of listed beads."""
