"""More weight to the residual along rotations about bonds, so that few epochs teach the slow motions.

A mean over squared components r (the residual, F - F*) hears little of torsions: the noise of alanine dipeptide's
mapped forces is 22 (kcal/mol/Å)^2 a component, most of it along stiff directions, where its free energy surface asks
for torques to 0.3 kcal/mol/rad. With the unit vectors w_b [3N] of the rotations about bonds b the loss is

    n L = r . M r = |r|^2 + weight * sum_b (w_b . r)^2

M is positive definite and a function of the positions alone, so the mean force stays the minimum, as with any such
weights (A. C. Aitken, Proc. R. Soc. Edinb. 55, 42 (1936)). Of the two sides of a bond the one with fewer beads turns:
the torques of both have the same mean, and fewer beads bring less noise.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order
from torch import Tensor

from mdflash.system import System


class Torsion(NamedTuple):
    """A bond that parts a molecule in two: turned are `moved`, the beads beyond `second`, about first -> second."""

    first: int
    second: int
    moved: Tensor


class TorsionMetric:
    """The matrix M of the loss of one molecule; see the module.

    Args:
        system: its bonds say what can turn: those outside rings that have beads beyond both ends.
        weight: of a torsion against a force component.
        device: of the positions to come.
    """

    def __init__(self, system: System, weight: float, device: str = "cpu") -> None:
        self.weight = weight
        self.torsions = tuple(
            Torsion(a, b, torch.tensor(moved, device=device))
            for first, second in system.bonds.tolist()
            if (sides := _sides(system, first, second)) is not None
            for a, b, moved in (min(sides, key=lambda side: len(side[2])),)
        )

    def __call__(self, positions: Tensor, residual: Tensor) -> Tensor:
        """M r [M, N, 3] of residuals r at positions [M, N, 3] of M frames."""
        total = residual.clone()
        for first, second, moved in self.torsions:
            axis = positions[:, second] - positions[:, first]
            turn = torch.linalg.cross(axis[:, None], positions[:, moved] - positions[:, second, None])  # [M, moved, 3]
            square = turn.square().sum(dim=(1, 2), keepdim=True).clamp_min(torch.finfo(turn.dtype).tiny)
            along = (turn * residual[:, moved]).sum(dim=(1, 2), keepdim=True)
            total.index_add_(1, moved, self.weight * along / square * turn)
        return total


def _sides(system: System, first: int, second: int) -> tuple[tuple[int, int, list[int]], ...] | None:
    """Both ways to turn about a bond: axis from, to, and the beads beyond; None where it turns nothing."""
    kept = np.array([{i, j} != {first, second} for i, j in system.bonds.tolist()])
    i, j = system.bonds[kept].T
    graph = coo_array((np.ones(len(i)), (i, j)), (system.n_beads, system.n_beads)).tocsr()
    sides = []
    for a, b in ((first, second), (second, first)):
        reached = breadth_first_order(graph, b, directed=False, return_predecessors=False).tolist()
        beyond = sorted(set(reached) - {b})
        if a in beyond or not beyond:
            return None
        sides.append((a, b, beyond))
    return tuple(sides)
