"""A prior over all near pairs, by bead types, in plain torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mdflash.core.state import Layout
from mdflash.core.types import FloatArray, IntArray
from mdflash.potentials.base import EnergyForces, Pairs, Potential
from mdflash.potentials.forms.form import Form


@dataclass(frozen=True, eq=False)
class NeighborTable:
    """What a neighbor term knows of one molecule.

    Attributes:
        types: [N] row of each bead in the parameter matrices.
        parameters: name -> [T, T], symmetric.
        excluded: [E, 2] pairs i < j that do not interact, local bead numbers.
    """

    types: IntArray
    parameters: Mapping[str, FloatArray]
    excluded: IntArray


class NeighborTerm(Potential):
    """Sum over pairs nearer than `cutoff`, save excluded ones, of u(r; parameters of the two types)."""

    cutoff: float

    def __init__(self, name: str, form: Form, cutoff: float, tables: Sequence[NeighborTable]) -> None:
        """
        Args:
            name: how logs and errors call it.
            form: u(r; ..., cutoff).
            cutoff: Å.
            tables: one for each system of the layout.
        """
        self.name = name
        self.form = form
        self.cutoff = cutoff
        self.tables = tuple(tables)

    def energy_and_forces(self, positions: Tensor, layout: Layout, pairs: Pairs | None) -> EnergyForces:
        assert pairs is not None and pairs.cutoff >= self.cutoff
        energy = positions.new_zeros(layout.n_replicas)
        forces = torch.zeros_like(positions)
        offsets = torch.from_numpy(layout.bead_offset).to(pairs.first.device)
        ends = torch.searchsorted(pairs.first.contiguous(), offsets).tolist()
        for r in range(layout.n_replicas):  # one at a time, see PriorTerm
            rows, own = layout.rows(r), slice(ends[r], ends[r + 1])
            first, second = pairs.first[own] - rows.start, pairs.second[own] - rows.start
            shift = None if pairs.shift is None else pairs.shift[own].to(positions.dtype)
            table = self.tables[int(layout.system_of_replica[r])]
            energy[r], forces[rows] = self._one(table, positions[rows], first, second, shift)
        return EnergyForces(energy, forces)

    def _one(
        self, table: NeighborTable, x: Tensor, first: Tensor, second: Tensor, shift: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Energy [] and forces [N, 3] of one replica at x [N, 3]."""
        types = torch.from_numpy(np.array(table.types)).to(x.device)
        excluded = torch.from_numpy(table.excluded[:, 0] * len(x) + table.excluded[:, 1]).to(x.device)
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            d = x[second] - x[first]
            r = torch.linalg.vector_norm(d if shift is None else d + shift, dim=-1)  # [P]
            near = (r.detach() < self.cutoff) & ~torch.isin(first * len(x) + second, excluded)
            i, j = types[first[near]], types[second[near]]
            parameters = {p: torch.from_numpy(np.array(m)).to(x)[i, j] for p, m in table.parameters.items()}
            energy = self.form.energy(r[near], **parameters, cutoff=self.cutoff).sum()
            (gradient,) = torch.autograd.grad(energy, x)
        return energy.detach(), -gradient
