"""A prior over listed beads, in plain torch: the reference that compiled kernels are compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from mdflash.core.state import Layout
from mdflash.core.types import FloatArray, IntArray
from mdflash.potentials.base import EnergyForces, Pairs, Potential
from mdflash.potentials.forms.form import Form
from mdflash.potentials.priors.geometry import COORDINATES

Table = tuple[IntArray, Mapping[str, FloatArray]]
"""The beads [M, order] a term acts on in one molecule, and its parameters, name -> [M] or [M, degree]."""


class PriorTerm(Potential):
    """Sum over listed interactions of u(q(x); parameters), forces by autograd.

    Arithmetic is in the dtype of the positions; parameters are kept in float64 and rounded to it.
    """

    def __init__(self, name: str, form: Form, tables: Sequence[Table]) -> None:
        """
        Args:
            name: how logs and errors call it.
            form: the function u and its coordinate q.
            tables: one for each system of the layout; a molecule without such interactions has M = 0.
        """
        self.name = name
        self.form = form
        self.tables = tuple(tables)
        self._index = [torch.from_numpy(np.array(index)) for index, _ in self.tables]
        self._parameters = [
            {p: torch.from_numpy(np.array(values)) for p, values in parameters.items()} for _, parameters in self.tables
        ]

    def energy_and_forces(self, positions: Tensor, layout: Layout, pairs: Pairs | None) -> EnergyForces:
        energy = positions.new_zeros(layout.n_replicas)
        forces = torch.zeros_like(positions)
        for r in range(layout.n_replicas):
            # One replica at a time: vectorized functions round differently in the last few elements of an
            # array, and this way a replica's bits do not depend on what else is in the batch.
            s = int(layout.system_of_replica[r])
            if len(self._index[s]):
                rows = layout.rows(r)
                energy[r], forces[rows] = self._one(s, positions[rows])
        return EnergyForces(energy, forces)

    def energies(self, system: int, x: Tensor) -> Tensor:
        """[n] kcal/mol, differentiable, of a system's molecule at x [n, N, 3]."""
        index = self._index[system].to(x.device)
        parameters = {p: v.to(x) for p, v in self._parameters[system].items()}
        q = COORDINATES[self.form.on](x, index)  # [n, M]
        total: Tensor = self.form.energy(q, **parameters).sum(dim=1)
        return total

    def _one(self, system: int, x: Tensor) -> tuple[Tensor, Tensor]:
        """Energy [] and forces [N, 3] of one replica at x [N, 3]."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            energy = self.energies(system, x[None])[0]
            (gradient,) = torch.autograd.grad(energy, x)
        return energy.detach(), -gradient
