"""Evaluate a potential in lower precision, without losing what the coordinates' offset would cost.

A protein that has drifted 200 Å from the origin has already lost 1e-5 Å in float32. So every replica is moved to its
center before it is rounded.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mdflash.core.state import Layout
from mdflash.potentials.base import EnergyForces, Pairs, Potential


class Recentered(Potential):
    """`potential`, evaluated in `dtype` on replicas moved to their centers; float64 outside."""

    def __init__(self, potential: Potential, dtype: torch.dtype) -> None:
        self.name, self.cutoff = potential.name, potential.cutoff
        self.potential, self.dtype = potential, dtype

    def energy_and_forces(self, positions: Tensor, layout: Layout, pairs: Pairs | None) -> EnergyForces:
        x = positions.clone()
        for r in range(layout.n_replicas):
            rows = layout.rows(r)
            x[rows] -= x[rows].mean(dim=0)
        energy, forces = self.potential.energy_and_forces(x.to(self.dtype), layout, pairs)
        return EnergyForces(energy.to(positions.dtype), forces.to(positions.dtype))
