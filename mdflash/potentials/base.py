"""The contract of a potential: energy of each replica and forces on each bead, from positions.

Every potential, ours or a user's, is a `Potential`. Fast twins (compiled, on a GPU) keep the signature and
must not change the result; `mdflash.testing` compares them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mdflash.core.state import Layout
from mdflash.neighbors.pairs import Pairs as Pairs


class EnergyForces(NamedTuple):
    """Energy [R] in kcal/mol and forces [B, 3] in kcal/mol/Å."""

    energy: Tensor
    forces: Tensor


class Potential(ABC):
    """Something that gives energies and forces.

    Attributes:
        name: its name in logs and error messages.
        cutoff: Å; pairs farther apart do not interact through the neighbor list. None: no list needed.
    """

    name: str
    cutoff: float | None = None

    @abstractmethod
    def energy_and_forces(self, positions: Tensor, layout: Layout, pairs: Pairs | None) -> EnergyForces:
        """Evaluate at `positions` [B, 3] in Å.

        `pairs` is the shared neighbor list, or None where `cutoff` is None. Forces are the exact negative
        gradient of the sum of the energies, in the dtype of `positions`.
        """


class SumPotential(Potential):
    """The sum of several potentials, over one neighbor list with the largest cutoff."""

    def __init__(self, terms: Sequence[Potential], name: str = "total") -> None:
        self.name = name
        self.terms = tuple(terms)
        self.cutoff = max((t.cutoff for t in self.terms if t.cutoff is not None), default=None)

    def energy_and_forces(self, positions: Tensor, layout: Layout, pairs: Pairs | None) -> EnergyForces:
        energy = positions.new_zeros(layout.n_replicas)
        forces = torch.zeros_like(positions)
        for term in self.terms:
            e, f = term.energy_and_forces(positions, layout, pairs)
            energy = energy + e
            forces = forces + f
        return EnergyForces(energy, forces)

    def by_term(self, positions: Tensor, layout: Layout, pairs: Pairs | None) -> dict[str, EnergyForces]:
        """Each term's share, by name."""
        return {t.name: t.energy_and_forces(positions, layout, pairs) for t in self.terms}
