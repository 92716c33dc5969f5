"""More weight to the residual along rotations about bonds, so that few epochs teach the slow motions.

A mean over squared components r (the residual, F - F*) hears little of torsions: the noise of alanine dipeptide's
mapped forces is 24 (kcal/mol/Å)^2 a component, most of it along stiff directions, where a free energy surface within
0.5 kcal/mol took mean torques within 0.2 kcal/mol/rad. With the unit vectors w_b [3N] of the rotations about bonds b
the loss is

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
from torch.nn.functional import normalize

from mdflash.system import System


class Torsion(NamedTuple):
    """A bond that parts a molecule in two: turned are `moved`, the beads beyond `second`, about first -> second."""

    first: int
    second: int
    moved: Tensor

    def turn(self, positions: Tensor) -> Tensor:
        """How the moved beads go with the angle, [M, moved, 3] in Å/rad, at positions [M, N, 3]."""
        axis = normalize(positions[:, self.second] - positions[:, self.first], dim=-1)
        turn: Tensor = torch.linalg.cross(axis[:, None], positions[:, self.moved] - positions[:, self.second, None])
        return turn


class TorsionMetric:
    """The matrix M of the loss of one molecule; see the module.

    Args:
        system: its bonds say what can turn: those outside rings that have beads beyond both ends.
        weight: of a torsion against a force component.
        device: of the positions to come.
    """

    def __init__(self, system: System, weight: float, device: torch.device | str = "cpu") -> None:
        self.weight = weight
        found = (_torsion(system, first, second, device) for first, second in system.bonds.tolist())
        self.torsions = tuple(torsion for torsion in found if torsion is not None)

    def __call__(self, positions: Tensor, residual: Tensor) -> Tensor:
        """M r [M, N, 3] of residuals r at positions [M, N, 3] of M frames."""
        total = residual.clone()
        for torsion in self.torsions:
            turn = torsion.turn(positions)
            square = turn.square().sum(dim=(1, 2), keepdim=True).clamp_min(torch.finfo(turn.dtype).tiny)
            along = (turn * residual[:, torsion.moved]).sum(dim=(1, 2), keepdim=True)
            total.index_add_(1, torsion.moved, self.weight * along / square * turn)
        return total


def _torsion(system: System, first: int, second: int, device: torch.device | str) -> Torsion | None:
    """The rotation about a bond, of its side with fewer beads; None where it turns nothing."""
    i, j = system.bonds[(system.bonds != [first, second]).any(axis=1)].T
    graph = coo_array((np.ones(len(i)), (i, j)), (system.n_beads, system.n_beads)).tocsr()
    sides = []
    for a, b in ((first, second), (second, first)):
        reached = breadth_first_order(graph, b, directed=False, return_predecessors=False)
        beyond = np.setdiff1d(reached, b)
        if a in beyond or not len(beyond):
            return None
        sides.append(Torsion(a, b, torch.from_numpy(beyond.astype(np.int64)).to(device)))
    return min(sides, key=lambda side: len(side.moved))
