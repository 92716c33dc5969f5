"""An energy that learns beside the network, and adds to it."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor


class AddedEnergy(ABC):
    """An energy of one molecule, with parameters that learn."""

    @abstractmethod
    def energies(self, positions: Tensor) -> Tensor:
        """[M] kcal/mol, at positions [M, N, 3] Å; differentiable by both."""

    def forces(self, positions: Tensor, create_graph: bool = False) -> Tensor:
        """[M, N, 3] kcal/mol/Å; differentiable by the parameters where `create_graph`."""
        with torch.enable_grad():
            x = positions.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.energies(x).sum(), x, create_graph=create_graph)
        return -gradient

    def change(self, positions: Tensor, along: Tensor) -> Tensor:
        """The change of the energy along a displacement [M, N, 3]; differentiable by the parameters."""
        changed: Tensor = torch.func.jvp(self.energies, (positions,), (along,))[1]
        return changed.sum()
