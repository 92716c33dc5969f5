"""The radius of gyration about the center of mass c: q = sqrt(sum_i w_i |x_i - c|^2), w_i = m_i / sum_j m_j, Å.

dq/dx_i = w_i (x_i - c) / q.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mdflash.compiled.deferred import njit
from mdflash.errors import InputError
from mdflash.potentials.variables.base import (
    Beads,
    Selected,
    Variable,
    VariableArrays,
    mass_shares,
    norm,
    one_group,
    plumed_atoms,
)
from mdflash.potentials.variables.centers import centers
from mdflash.potentials.variables.vectors import divide

if TYPE_CHECKING:
    from torch import Tensor

    from mdflash.core.system import System
    from mdflash.core.types import FloatArray


class RadiusOfGyration(Variable):
    """About the center of mass, weighted by mass."""

    name, dimension = "radius_of_gyration", "length"
    about = "weighted by mass, about the center of mass"

    def __init__(self, system: System, beads: Beads) -> None:
        group = one_group(system, beads)
        if len(group) < 2:
            raise InputError(f"a radius of gyration takes two or more beads, found {len(group)}: it would always be 0")
        super().__init__((group,), (mass_shares(system, group),))

    @classmethod
    def select(cls, system: System, selected: Selected) -> RadiusOfGyration:
        """As every variable."""
        return cls(system, selected.beads)

    def plumed(self, label: str) -> list[str]:
        """As every variable; it takes the masses that PLUMED is given."""
        return [f"{label}: GYRATION ATOMS={plumed_atoms(self.groups[0])} TYPE=RADIUS NOPBC"]

    def value(self, x: Tensor) -> Tensor:
        """As every variable."""
        import torch

        beads = torch.from_numpy(self.groups[0])
        weight = torch.from_numpy(self.weights[0]).to(x)[:, None]
        away = x[:, beads] - (weight * x[:, beads]).sum(1, keepdim=True)
        return norm((weight.sqrt() * away).flatten(1))


@njit
def value_gradient(v: VariableArrays, x: FloatArray, g: FloatArray) -> float:
    """q at x [N, 3]; overwrites g [M, 3] with its gradient."""
    center = centers(v, x)[0]
    total = 0.0
    for m in range(len(v.beads)):
        for d in range(3):
            away = x[v.beads[m], d] - center[d]
            g[m, d] = v.weight[m] * away
            total += v.weight[m] * away * away
    q = math.sqrt(total)
    divide(g, q)
    return q
