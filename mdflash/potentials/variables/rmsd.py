"""The distance from a structure: q = sqrt(sum_i |x_i - R ref_i|^2 / n) after the best superposition, Å.

Kabsch, Acta Cryst. A 34, 827 (1978). At the optimum the rotation's own change does not change the value, so the
gradient goes past it: dq/dx_i = (x_i - c - R ref_i) / (n q), with the center c of the beads.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mdflash.compiled.deferred import njit
from mdflash.errors import InputError
from mdflash.potentials.variables.base import (
    Beads,
    Selected,
    Variable,
    VariableArrays,
    norm,
    one_group,
    reference_points,
)
from mdflash.potentials.variables.centers import centers
from mdflash.potentials.variables.superposition import superposition
from mdflash.potentials.variables.vectors import divide, dot

if TYPE_CHECKING:
    from torch import Tensor

    from mdflash.core.system import System
    from mdflash.core.types import FloatArray


class Rmsd(Variable):
    """From a structure [M, 3] in Å of three or more beads, superposed; beads count equally."""

    name, dimension, needs_reference = "rmsd", "length", True
    about = "superposed, beads count equally"

    def __init__(self, system: System, beads: Beads, reference: npt.ArrayLike) -> None:
        group = one_group(system, beads)
        if len(group) < 3:
            raise InputError(f"an rmsd takes three or more beads, found {len(group)}")
        points = reference_points(group, reference)
        super().__init__((group,), (np.full(len(group), 1.0 / len(group)),), points - points.mean(axis=0))

    @classmethod
    def select(cls, system: System, selected: Selected) -> Rmsd:
        """As every variable."""
        assert selected.reference is not None
        return cls(system, selected.beads, selected.reference[one_group(system, selected.beads)])

    def plumed(self, label: str) -> list[str]:
        """As every variable; the reference is in a file beside."""
        return [f"{label}: RMSD REFERENCE={label}.pdb TYPE=OPTIMAL NOPBC"]

    def value(self, x: Tensor) -> Tensor:
        """As every variable."""
        import torch

        reference = torch.from_numpy(self.reference).to(x)
        x = x[:, torch.from_numpy(self.groups[0])]
        x = x - x.mean(dim=1, keepdim=True)
        with torch.no_grad():
            u, _, vt = torch.linalg.svd(torch.einsum("ma,nmb->nab", reference, x))
            flip = torch.ones(len(x), 1, 3).to(x)
            flip[:, 0, 2] = torch.sign(torch.linalg.det(u @ vt))  # a rotation, not a mirror
            turn = (u * flip) @ vt  # [n, 3, 3]
        away: Tensor = x - reference @ turn
        return norm(away.flatten(1) / len(reference) ** 0.5)


@njit
def value_gradient(v: VariableArrays, x: FloatArray, g: FloatArray) -> float:
    """q at x [N, 3]; overwrites g [M, 3] with its gradient.

    From the residuals behind the superposition: the difference of two sums would lose small values.
    """
    center = centers(v, x)[0]
    n = len(v.beads)
    s = np.zeros((3, 3))
    for m in range(n):
        for d in range(3):
            for e in range(3):
                s[d, e] += v.reference[m, d] * (x[v.beads[m], e] - center[e])
    turn = superposition(s)
    total = 0.0
    for m in range(n):
        for d in range(3):
            away = x[v.beads[m], d] - center[d] - dot(turn[d], v.reference[m])
            g[m, d] = away
            total += away * away
    q = math.sqrt(total / n)
    divide(g, n * q)
    return q
