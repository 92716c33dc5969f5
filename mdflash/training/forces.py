"""Forces of a SchNet on batches of frames, and the gradient of the force-matching loss by its weights.

With the residual r = F - F* of n components, the loss is L = |r|^2 / n. Since F = -dE/dx,

    dL/dweights = -(2 / n) d/dweights [ r . dE/dx ]

and r . dE/dx is the change of the energy along the displacement r: `FlashForces` carries features and their changes
through the network together, and differentiates the change of the energy once. Filters come from a table that is made
once a step (see `convolution`). `PlainForces` is the plain way: the network as it stands, and autograd twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from mdflash.potentials.schnet.network import ACTIVATIONS, Block, SchNet
from mdflash.training.convolution import Grid, Messages, Pairs, TangentMessages

Activation = Callable[[Tensor], Tensor]

SPACING = 0.015
"""Å between the knots of the filter tables: forces are off by less than 1e-4 of their rms."""


@dataclass(frozen=True, eq=False)
class Topology:
    """What a network knows of a molecule.

    Attributes:
        types: [N] row of each bead in the embedding.
        pairs: beads that exchange messages where they are nearer than the cutoff.
    """

    types: Tensor
    pairs: Pairs


@dataclass(frozen=True, eq=False)
class Batch:
    """Frames of one molecule.

    Attributes:
        molecule: its number.
        positions: [M, N, 3] Å.
        forces: [M, N, 3] kcal/mol/Å, what the network has to give.
    """

    molecule: int
    positions: Tensor
    forces: Tensor


class Forces(Protocol):
    """Two ways to the same numbers."""

    def predict(self, molecule: int, positions: Tensor) -> Tensor:
        """Forces [M, N, 3] at positions [M, N, 3]."""

    def backward(self, batches: Sequence[Batch], components: int) -> float:
        """Add the gradient of |F - F*|^2 / `components` to the weights' .grad; returns |F - F*|^2, the sum."""


class PlainForces:
    """The network as it stands: lists of the pairs within the cutoff, autograd twice."""

    def __init__(self, model: SchNet, topologies: Sequence[Topology]) -> None:
        self.model, self.topologies = model, topologies

    def _forces(self, molecule: int, positions: Tensor, create_graph: bool) -> Tensor:
        topology = self.topologies[molecule]
        frames, beads, _ = positions.shape
        with torch.enable_grad():
            x = positions.detach().requires_grad_()
            d = x[:, topology.pairs.second] - x[:, topology.pairs.first]  # [M, P, 3]
            near = torch.linalg.vector_norm(d.detach(), dim=-1) < self.model.hyper.cutoff  # [M, P]
            offset = (beads * torch.arange(frames, device=x.device))[:, None]
            first, second = (offset + side for side in topology.pairs)
            types = topology.types.repeat(frames)
            energy = self.model(d[near], types, first[near], second[near]).sum()
            (gradient,) = torch.autograd.grad(energy, x, create_graph=create_graph)
        return -gradient

    def predict(self, molecule: int, positions: Tensor) -> Tensor:
        return self._forces(molecule, positions, False)

    def backward(self, batches: Sequence[Batch], components: int) -> float:
        total = 0.0
        for batch in batches:
            squares = (self._forces(batch.molecule, batch.positions, True) - batch.forces).square().sum()
            (squares / components).backward()  # type: ignore[no-untyped-call]
            total += float(squares.detach())
        return total


class FlashForces:
    """Filter tables and compiled convolutions on the CPU; see the module."""

    def __init__(self, model: SchNet, topologies: Sequence[Topology], nearest: float, farthest: float) -> None:
        """
        Args:
            model: float32 or float64.
            topologies: of the molecules.
            nearest, farthest: Å, the range of the distances that will be met.
        """
        self.model, self.topologies = model, topologies
        hyper = model.hyper
        lower = max(0.0, nearest - SPACING)
        knots = math.ceil((min(hyper.cutoff, farthest + SPACING) - lower) / SPACING) + 1
        self.grid = Grid(lower, SPACING, max(knots, 2), hyper.cutoff)
        self._points = self.grid.points(model.embedding.dtype)

    def _tables(self) -> list[Tensor]:
        """For each block [K, 2, F]: the filters at the knots, and their slopes times the spacing."""
        ones = torch.ones_like(self._points)
        tables = []
        for block in self.model.blocks:
            assert isinstance(block, Block)
            value, slope = _change_along(partial(self._filters, block), self._points, ones)
            tables.append(torch.stack([value, self.grid.spacing * slope], dim=1))
        return tables

    def _filters(self, block: Block, d: Tensor) -> Tensor:
        return block.filters(d, self.model.basis(d))

    def predict(self, molecule: int, positions: Tensor) -> Tensor:
        with torch.no_grad():
            tables = self._tables()
            return self._forces(molecule, positions, tables)[0]

    def backward(self, batches: Sequence[Batch], components: int) -> float:
        tables = self._tables()
        constant = [table.detach() for table in tables]
        total, change = 0.0, torch.zeros(())
        for batch in batches:
            forces, d, unit = self._forces(batch.molecule, batch.positions, constant)
            residual = forces - batch.forces
            total += float(residual.square().sum())
            pairs = self.topologies[batch.molecule].pairs
            dd = (unit * (residual[:, pairs.second] - residual[:, pairs.first])).sum(dim=-1)  # [M, P]
            change = change + self._change(batch.molecule, tables, d, dd)
        (-2.0 / components * change).backward()  # type: ignore[no-untyped-call]
        return total

    def _forces(self, molecule: int, positions: Tensor, tables: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Forces [M, N, 3], distances [M, P] and unit vectors from first to second [M, P, 3]."""
        topology, act = self.topologies[molecule], ACTIVATIONS[self.model.hyper.activation]
        pairs = topology.pairs
        unit = positions[:, pairs.second] - positions[:, pairs.first]
        d = torch.linalg.vector_norm(unit, dim=-1)
        unit = unit / d[..., None]
        weights = {name: p.detach() for name, p in self.model.named_parameters()}
        with torch.enable_grad():
            d = d.requires_grad_()
            x = weights["embedding"][topology.types].expand(len(positions), -1, -1)
            for k, table in enumerate(tables):
                y = functional.linear(x, weights[f"blocks.{k}.input.weight"])
                m = Messages.apply(y, d, table, pairs, self.grid)  # type: ignore[no-untyped-call]
                for layer in range(2):
                    name = f"blocks.{k}.update.{layer}"
                    m = functional.linear(act(m) if layer else m, weights[f"{name}.weight"], weights[f"{name}.bias"])
                x = x + m
            for k in range(len(self.model.output)):
                name = f"output.{k}"
                x = functional.linear(act(x) if k else x, weights[f"{name}.weight"], weights.get(f"{name}.bias"))
            (slope,) = torch.autograd.grad(x.sum(), d)
        d = d.detach()
        pull = slope[..., None] * unit
        forces = torch.zeros_like(positions).index_add_(1, pairs.first, pull).index_add_(1, pairs.second, -pull)
        return forces, d, unit

    def _change(self, molecule: int, tables: Sequence[Tensor], d: Tensor, dd: Tensor) -> Tensor:
        """The change of the energy of all frames while distances d change by dd, [M, P]; differentiable by weights."""
        topology, act = self.topologies[molecule], ACTIVATIONS[self.model.hyper.activation]
        x = self.model.embedding[topology.types].expand(len(d), -1, -1)
        dx = torch.zeros_like(x)
        for block, table in zip(self.model.blocks, tables, strict=True):
            assert isinstance(block, Block)
            weight = block.input.weight
            m, dm = TangentMessages.apply(
                functional.linear(x, weight), functional.linear(dx, weight), table, d, dd, topology.pairs, self.grid
            )  # type: ignore[no-untyped-call]
            m, dm = _chain(block.update, act, m, dm)
            x, dx = x + m, dx + dm
        return _chain(self.model.output, act, x, dx)[1].sum()


def _change_along(f: Activation, x: Tensor, dx: Tensor) -> tuple[Tensor, Tensor]:
    """f(x) and its change along dx."""
    value, change, *_ = torch.func.jvp(f, (x,), (dx,))
    return value, change


def _chain(layers: nn.ModuleList, act: Activation, x: Tensor, dx: Tensor) -> tuple[Tensor, Tensor]:
    """Linear layers with the activation between them, on values and their changes."""
    for k, layer in enumerate(layers):
        assert isinstance(layer, nn.Linear)
        if k:
            x, dx = _change_along(act, x, dx)
        x, dx = layer(x), functional.linear(dx, layer.weight)
    return x, dx
