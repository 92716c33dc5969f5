"""More weight to the residual along rotations about bonds, so that few epochs teach the slow motions.

A mean over squared components r (the residual, F - F*) is little affected by torsions: the noise of alanine dipeptide's
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

from mdflash.core.system import System
from mdflash.core.types import IntArray


class Torsion(NamedTuple):
    """A bond that parts a molecule in two: turned are `moved`, the beads beyond `second`, about first -> second."""

    first: int
    second: int
    moved: IntArray


class TorsionWeight:
    """What the weight along torsions adds to the matrix M of the loss of one molecule; see the module.

    Args:
        system: its bonds define what can turn: those outside rings that have beads beyond both ends.
        weight: weight of a torsion relative to a force component.
        device: device of the positions.

    Attributes:
        torsions: what turns.
    """

    def __init__(self, system: System, weight: float, device: torch.device | str = "cpu") -> None:
        self.weight = weight
        found = (_torsion(system, first, second) for first, second in system.bonds.tolist())
        self.torsions = tuple(torsion for torsion in found if torsion is not None)
        ends = np.array([(t.first, t.second) for t in self.torsions], np.int64).reshape(-1, 2)
        moved = np.zeros((len(self.torsions), system.n_beads), bool)
        for row, torsion in zip(moved, self.torsions, strict=True):
            row[torsion.moved] = True
        self._first, self._second = torch.from_numpy(ends).to(device).unbind(dim=1)
        self._moved = torch.from_numpy(moved).to(device)[None, :, :, None]  # [1, B, N, 1]

    def turns(self, positions: Tensor) -> Tensor:
        """How beads go with each torsion's angle, [M, B, N, 3] in Å/rad, at positions [M, N, 3]."""
        end = positions[:, self._second]
        axis = normalize(end - positions[:, self._first], dim=-1)
        turn: Tensor = torch.linalg.cross(axis[:, :, None], positions[:, None] - end[:, :, None])
        return turn * self._moved

    def __call__(self, positions: Tensor, residual: Tensor) -> Tensor:
        """What M r has beside r [M, N, 3], for residuals r at positions [M, N, 3] of M frames."""
        turn = self.turns(positions)
        square = turn.square().sum(dim=(2, 3)).clamp_min(torch.finfo(turn.dtype).tiny)
        along = torch.einsum("mbnx,mnx->mb", turn, residual) / square
        return self.weight * torch.einsum("mb,mbnx->mnx", along, turn)


def _torsion(system: System, first: int, second: int) -> Torsion | None:
    """The rotation about a bond, of its side with fewer beads; None where it turns nothing."""
    i, j = system.bonds[(system.bonds != [first, second]).any(axis=1)].T
    graph = coo_array((np.ones(len(i)), (i, j)), (system.n_beads, system.n_beads)).tocsr()
    sides = []
    for a, b in ((first, second), (second, first)):
        reached = breadth_first_order(graph, b, directed=False, return_predecessors=False)
        beyond = np.setdiff1d(reached, b)
        if a in beyond or not len(beyond):
            return None
        sides.append(Torsion(a, b, beyond.astype(np.int64)))
    return min(sides, key=lambda side: len(side.moved))
