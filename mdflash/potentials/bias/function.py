"""A bias of your own: any function of positions in torch, forces by autograd."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mdflash.core.state import Layout
from mdflash.errors import InputError
from mdflash.potentials.base import EnergyForces, Pairs, Potential


class FunctionBias(Potential):
    """An energy given by a Python function; the simulation then runs in the plain loop, one step at a time.

        def funnel(x):  # [R, N, 3] Å
            return 0.05 * (x[:, -1] - x[:, 0]).square().sum(dim=-1)  # [R] kcal/mol

        Simulation("chignolin", "go-chignolin", biases=[FunctionBias("funnel", funnel)])

    A bias that changes during a run is an object with such a method and a reporter that changes
    it between two blocks of steps and then calls `Engine.evaluate`, since the current forces are those from before.

    Args:
        name: its name in errors.
        function: from positions [R, N, 3] in Å (float64) to energies [R] in kcal/mol, by torch operations. Replicas are
            given to it one at a time (R = 1), so that none depends on which others are in the batch.
        system: name of the system it acts on; None: all.
    """

    cutoff = None

    def __init__(self, name: str, function: Callable[[Tensor], Tensor], system: str | None = None) -> None:
        self.name, self.function, self.system = name, function, system

    def energy_and_forces(self, positions: Tensor, layout: Layout, pairs: Pairs | None) -> EnergyForces:
        """As every potential.

        Raises:
            InputError: no such system, or a function that returns anything but energies [R] that depend on its input.
        """
        names = [system.name for system in layout.systems]
        if self.system is not None and self.system not in names:
            raise InputError(f"bias '{self.name}': no system '{self.system}'; there is {', '.join(names)}")
        energy = positions.new_zeros(layout.n_replicas)
        forces = torch.zeros_like(positions)
        for r, s in enumerate(layout.system_of_replica.tolist()):
            if self.system in (None, names[s]):
                energy[r], forces[layout.rows(r)] = self._one(positions[layout.rows(r)])
        return EnergyForces(energy, forces)

    def _one(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Energy [] and forces [N, 3] of one replica at x [N, 3]."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            energy = self.function(x[None])
            if not isinstance(energy, Tensor) or energy.shape != (1,):
                found = list(energy.shape) if isinstance(energy, Tensor) else type(energy).__name__
                raise InputError(
                    f"bias '{self.name}': its function must return a tensor of energies [R], one for each replica of "
                    f"positions [R, N, 3]; for R = 1 it returned {found} (sum over the last axes only: `.sum(dim=-1)`)"
                )
            if not energy.requires_grad:
                raise InputError(
                    f"bias '{self.name}': the energy does not depend on the positions by torch operations; compute it "
                    "from them without .detach(), .item() or numpy"
                )
            (gradient,) = torch.autograd.grad(energy.sum(), x)
        return energy.detach()[0], -gradient
