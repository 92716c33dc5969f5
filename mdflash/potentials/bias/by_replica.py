"""What every bias on replicas of one system has: which replicas it acts on, and forces from its energy by autograd."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import torch
from torch import Tensor

from mdflash.core.state import Layout
from mdflash.core.types import IntArray
from mdflash.potentials.base import EnergyForces, Pairs, Potential


class ReplicaBias(Potential):
    """A bias on the replicas of one system; plain torch, one replica after the other.

    Args:
        layout: the batch; keeps which replicas the bias acts on, by their ids.
        system: index of the system in the layout.

    Attributes:
        replica_ids: [K] the replicas.
    """

    cutoff = None

    def __init__(self, layout: Layout, system: int) -> None:
        first, last = layout.replica_offset[system : system + 2].tolist()
        self.replica_ids = layout.replica_ids[first:last]
        self._row = {replica: k for k, replica in enumerate(self.replica_ids)}

    @abstractmethod
    def energy_of(self, x: Tensor, row: int) -> Tensor:
        """The energy [], kcal/mol, of a replica at x [N, 3] Å; `row` is its place among `replica_ids`."""

    def rows(self, layout: Layout) -> IntArray:
        """[R] the place of each replica of a layout among `replica_ids`, -1 for those without this bias."""
        return np.array([self._row.get(replica, -1) for replica in layout.replica_ids], np.int64)

    def energy_and_forces(self, positions: Tensor, layout: Layout, pairs: Pairs | None) -> EnergyForces:
        energy = positions.new_zeros(layout.n_replicas)
        forces = torch.zeros_like(positions)
        for r, row in enumerate(self.rows(layout).tolist()):
            if row >= 0:
                with torch.enable_grad():
                    x = positions[layout.rows(r)].detach().requires_grad_()
                    found = self.energy_of(x, row)
                    (gradient,) = torch.autograd.grad(found, x)
                energy[r], forces[layout.rows(r)] = found.detach(), -gradient
        return EnergyForces(energy, forces)
