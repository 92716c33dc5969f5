"""A SchNet with linear filters on frames of one small molecule, all pairs at once: deep training made affordable.

The network is `potentials.schnet.network.SchNet`; only the order of its sums is another. A filter depends on distances
alone, so the filters of all blocks are one product of matrices; of a molecule of ten beads all N x N pairs are kept,
and a block is then seven operations on dense arrays, whose overhead is what a deep narrow network costs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from mdflash.core.state import Layout
from mdflash.potentials.backbones.backbone import Backbone
from mdflash.potentials.base import EnergyForces, Pairs, Potential
from mdflash.potentials.schnet.network import Block, Hyperparameters, SchNet, envelope
from mdflash.training.forces import Batch

CHUNK = 32
"""Frames that are evaluated together."""


def hyperparameters(backbone: Backbone, depth: int, features: int, types: int, cutoff: float) -> Hyperparameters:
    """The network of the study: linear filters of 16 radial functions under a quintic envelope."""
    return Hyperparameters(
        cutoff=cutoff, types=types, features=features, filters=features, blocks=depth, basis_size=16,
        basis_envelope="none", filter_envelope="quintic", filter_hidden=(), output=(features,), backbone=backbone,
    )  # fmt: skip


class AllPairs:
    """Energies, forces and the features on the way, of frames of one molecule.

    Args:
        model: with filters of one linear layer and a backbone.
        types: [N] row of each bead in the embedding.
    """

    def __init__(self, model: SchNet, types: Tensor) -> None:
        self.model, self.types = model, types
        n = self.n = len(types)
        self.first, self.second = torch.triu_indices(n, n, 1)
        listed = torch.full((n, n), len(self.first))  # a bead and itself: a pair at the cutoff, whose filter is 0
        listed[self.first, self.second] = listed[self.second, self.first] = torch.arange(len(self.first))
        self.listed = listed.flatten()

    def energy(self, positions: Tensor, states: list[Tensor] | None = None) -> Tensor:
        """[M] kcal/mol at positions [M, N, 3] in Å; the state [M N, n, H] around every block goes into `states`."""
        model, frames = self.model, len(positions)
        weights = self._filters(positions)

        def branch(depth: int, c: Tensor) -> Tensor:
            block = model.blocks[depth % len(model.blocks)]
            assert isinstance(block, Block)
            y = block.input(c).view(frames, 1, self.n, -1)
            m = (weights[depth % len(model.blocks)] * y).sum(dim=2).flatten(0, 1)
            return block.update[1](torch.tanh(block.update[0](m)))  # type: ignore[no-any-return]

        residual = model.residual
        assert residual is not None
        x = model.embedding[self.types].repeat(frames, 1)
        if states is None:
            x = residual(x, branch)
        else:
            state = residual.split(x)
            states.append(state)
            for depth, connection in enumerate(residual.connections):
                state = connection(state, lambda c, depth=depth: branch(depth, c))
                states.append(state)
            x = residual.merge(state)
        return model.output[1](torch.tanh(model.output[0](x))).view(frames, self.n).sum(dim=1)  # type: ignore[no-any-return]

    def _filters(self, positions: Tensor) -> Sequence[Tensor]:
        """Of each block [M, N, N, F]."""
        hyper = self.model.hyper
        d = torch.linalg.vector_norm(positions[:, self.second] - positions[:, self.first], dim=-1)
        d = functional.pad(d, (0, 1), value=hyper.cutoff).flatten()  # [M (P + 1)]
        e = self.model.basis(d) * envelope(hyper.filter_envelope, d[:, None], 0.0, hyper.cutoff)
        matrices = torch.stack([block.filter[0].weight for block in self.model.blocks])  # type: ignore[index, union-attr]
        w = (e @ matrices.transpose(1, 2)).view(len(matrices), len(positions), -1, hyper.filters)
        return w[:, :, self.listed].view(len(matrices), len(positions), self.n, self.n, hyper.filters).unbind()

    def forces(self, positions: Tensor, keep: bool = False) -> tuple[Tensor, Tensor]:
        """Energies [M] and forces [M, N, 3]; differentiable by the weights where they are to be kept."""
        with torch.enable_grad():
            x = positions.detach().requires_grad_()
            energy = self.energy(x)
            (gradient,) = torch.autograd.grad(energy.sum(), x, create_graph=keep)
        return energy.detach(), -gradient

    def predict(self, molecule: int, positions: Tensor) -> Tensor:
        """As `mdflash.training.forces.Forces`."""
        return torch.cat([self.forces(x)[1] for x in positions.split(CHUNK)])

    def backward(self, batches: Sequence[Batch], components: int) -> Tensor:
        """As `mdflash.training.forces.Forces`."""
        total = []
        for batch in batches:
            squares = (self.forces(batch.positions, keep=True)[1] - batch.forces).square().sum()
            (squares / components).backward()  # type: ignore[no-untyped-call]
            total.append(squares.detach())
        return torch.stack(total).sum(dtype=torch.float64)


class AllPairsPotential(Potential):
    """The network as a potential of a batch of replicas of its molecule."""

    name = "network"

    def __init__(self, network: AllPairs) -> None:
        self.network = network

    def energy_and_forces(self, positions: Tensor, layout: Layout, pairs: Pairs | None) -> EnergyForces:
        energy, forces = self.network.forces(layout.view(positions, 0))
        return EnergyForces(energy, forces.reshape(positions.shape))
