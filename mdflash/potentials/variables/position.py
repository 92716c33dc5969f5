"""How far beads are from fixed points, all together: q = sqrt(sum_i |x_i - ref_i|^2), Å; nothing is moved or turned.

A harmonic bias on it with center 0 holds each bead at its own point. dq/dx_i = (x_i - ref_i) / q.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mdflash.compiled.deferred import njit
from mdflash.potentials.variables.base import (
    Beads,
    Selected,
    Variable,
    VariableArrays,
    norm,
    one_group,
    reference_points,
)
from mdflash.potentials.variables.vectors import divide

if TYPE_CHECKING:
    from torch import Tensor

    from mdflash.core.system import System
    from mdflash.core.types import FloatArray


class Position(Variable):
    """How far beads are from fixed points [M, 3] in Å, all together."""

    name, dimension = "position", "length"
    needs_reference, default_center = True, 0.0
    symmetries, between_molecules = (), True

    def __init__(self, system: System, beads: Beads, reference: npt.ArrayLike) -> None:
        group = one_group(system, beads)
        super().__init__((group,), (np.ones(len(group)),), reference_points(group, reference))

    @classmethod
    def select(cls, system: System, selected: Selected) -> Position:
        """As every variable."""
        assert selected.reference is not None
        return cls(system, selected.beads, selected.reference[one_group(system, selected.beads)])

    def value(self, x: Tensor) -> Tensor:
        """As every variable."""
        import torch

        away = x[:, torch.from_numpy(self.groups[0])] - torch.from_numpy(self.reference).to(x)
        return norm(away.flatten(1))


@njit
def value_gradient(v: VariableArrays, x: FloatArray, g: FloatArray) -> float:
    """q at x [N, 3]; overwrites g [M, 3] with its gradient."""
    total = 0.0
    for m in range(len(v.beads)):
        for d in range(3):
            away = x[v.beads[m], d] - v.reference[m, d]
            g[m, d] = away
            total += away * away
    q = math.sqrt(total)
    divide(g, q)
    return q
