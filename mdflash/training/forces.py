"""Forces of a SchNet on batches of frames, and the gradient of the force-matching loss by its weights.

With the residual r = F - F* of n components, the loss is L = r . M r / n; M is 1 unless a molecule has weights
(`torsions`, `contacts`) or frames have (`means`). Since F = -dE/dx,

    dL/dweights = -(2 / n) d/dweights [ M r . dE/dx ]

Where frames have energies E*, the loss has w 3N e^2 / n more for each frame, with the error e = E - E* from its mean
over the frames of the batch (of this rank, where there are several), since the zero of an energy means nothing.

M r . dE/dx is the change of the energy along the displacement M r: `FlashForces` passes features and their changes
through the network together, and differentiates the change of the energy once. Filters come from a table that is made
once a step (see `convolution`). `PlainForces` is the plain way: the network as it stands, and autograd twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Protocol

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.func import functional_call
from torch.nn import functional

from mdflash.potentials.schnet.network import ACTIVATIONS, Block, SchNet, chain
from mdflash.training import convolution as compiled
from mdflash.training.added import AddedEnergy
from mdflash.training.convolution import Grid, Pairs

Activation = Callable[[Tensor], Tensor]

SPACING = 0.015
"""Å between the knots of the filter tables: forces are off by less than 1e-4 of their rms."""


@dataclass(frozen=True, eq=False)
class Topology:
    """What a network knows of a molecule.

    Attributes:
        types: [N] row of each bead in the embedding.
        pairs: beads that exchange messages where they are nearer than the cutoff.
        weights: what M r of the loss has beside r, each from positions and residuals r [M, N, 3].
        added: what learns along with the network, and adds to its energy.
        energy_weight: w of the loss, 1/Å², for frames with energies.
    """

    types: Tensor
    pairs: Pairs
    weights: tuple[Callable[[Tensor, Tensor], Tensor], ...] = ()
    added: AddedEnergy | None = None
    energy_weight: float = 0.0

    def weigh(self, batch: Batch, residual: Tensor) -> Tensor:
        """M r of a batch."""
        found = residual + sum(weight(batch.positions, residual) for weight in self.weights)
        return found if batch.weights is None else batch.weights[:, None, None] * found


@dataclass(frozen=True, eq=False)
class Batch:
    """Frames of one molecule.

    Attributes:
        molecule: its number.
        positions: [M, N, 3] Å.
        forces: [M, N, 3] kcal/mol/Å, what the network has to give.
        energies: [M] kcal/mol, but for a constant, or None.
        weights: [M] by which frames count in the loss, or None.
    """

    molecule: int
    positions: Tensor
    forces: Tensor
    energies: Tensor | None = None
    weights: Tensor | None = None

    def energy_errors(self, energies: Tensor) -> Tensor:
        """[M] kcal/mol, what energies [M] are off by, from the mean over the frames."""
        assert self.energies is not None
        off = energies - self.energies
        return off - off.mean()


class Forces(Protocol):
    """Two ways to the same numbers."""

    def predict(self, molecule: int, positions: Tensor) -> Tensor:
        """Forces [M, N, 3] at positions [M, N, 3]."""

    def backward(self, batches: Sequence[Batch], components: float) -> Tensor:
        """Add the gradient of the loss, of n = `components`, to the weights' .grad; returns |r|^2, [] float64."""

    def energies(self, molecule: int, positions: Tensor) -> Tensor:
        """Energies [M] kcal/mol at positions [M, N, 3]; differentiable by the weights, but under `torch.no_grad`."""


class PlainForces:
    """The network as it stands: lists of the pairs within the cutoff, autograd twice."""

    def __init__(self, model: SchNet, topologies: Sequence[Topology]) -> None:
        self.model, self.topologies = model, topologies

    def _evaluate(self, molecule: int, positions: Tensor, create_graph: bool) -> tuple[Tensor, Tensor]:
        """Forces [M, N, 3] and energies [M]."""
        topology = self.topologies[molecule]
        frames, beads, _ = positions.shape
        with torch.enable_grad():
            x = positions.detach().requires_grad_()
            d = x[:, topology.pairs.second] - x[:, topology.pairs.first]  # [M, P, 3]
            near = torch.linalg.vector_norm(d.detach(), dim=-1) < self.model.hyper.cutoff  # [M, P]
            offset = (beads * torch.arange(frames, device=x.device))[:, None]
            first, second = offset + topology.pairs.first, offset + topology.pairs.second
            types = topology.types.repeat(frames)
            energies = self.model(d[near], types, first[near], second[near]).view(frames, beads).sum(dim=1)
            (gradient,) = torch.autograd.grad(energies.sum(), x, create_graph=create_graph)
        if topology.added is None:
            return -gradient, energies
        added = topology.added
        return added.forces(positions, create_graph) - gradient, energies + added.energies(positions)

    def predict(self, molecule: int, positions: Tensor) -> Tensor:
        return self._evaluate(molecule, positions, False)[0]

    def energies(self, molecule: int, positions: Tensor) -> Tensor:
        learning = torch.is_grad_enabled()
        energies = self._evaluate(molecule, positions, learning)[1]
        return energies if learning else energies.detach()

    def backward(self, batches: Sequence[Batch], components: float) -> Tensor:
        squares = []
        for batch in batches:
            topology = self.topologies[batch.molecule]
            forces, energies = self._evaluate(batch.molecule, batch.positions, True)
            residual = forces - batch.forces
            loss = (residual * topology.weigh(batch, residual)).sum()
            if batch.energies is not None:
                weight = 3 * topology.pairs.beads * topology.energy_weight
                loss = loss + weight * batch.energy_errors(energies).square().sum()
            (loss / components).backward()  # type: ignore[no-untyped-call]
            squares.append(_square(residual.detach()))
        return torch.stack(squares).sum()


class FlashForces:
    """Filter tables and compiled convolutions; see the module."""

    def __init__(
        self, model: SchNet, topologies: Sequence[Topology], nearest: float, farthest: float,
        convolution: ModuleType = compiled,
    ) -> None:  # fmt: skip
        """
        Args:
            model: float32 or float64.
            topologies: topologies of the molecules.
            nearest, farthest: Å, the range of the distances that will be met.
            convolution: `training.convolution` on a CPU, `training.triton` on a GPU.
        """
        self.model, self.topologies = model, topologies
        self._messages, self._tangent = convolution.Messages.apply, convolution.TangentMessages.apply
        hyper = model.hyper
        lower = max(0.0, nearest - SPACING)
        knots = math.ceil((min(hyper.cutoff, farthest + SPACING) - lower) / SPACING) + 1
        self.grid = Grid(lower, SPACING, max(knots, 2), hyper.cutoff)
        self._points = self.grid.points(model.embedding.dtype).to(model.embedding.device)

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

    def energies(self, molecule: int, positions: Tensor) -> Tensor:
        topology, tables = self.topologies[molecule], self._tables()
        d = _distances(topology.pairs, positions)
        if torch.is_grad_enabled():
            energies = self._change(molecule, tables, d, torch.zeros_like(d))[0]
        else:
            energies = self._atomic_energies(molecule, d, tables).sum(dim=(1, 2))
        return energies if topology.added is None else energies + topology.added.energies(positions)

    def backward(self, batches: Sequence[Batch], components: float) -> Tensor:
        tables = self._tables()
        constant = [table.detach() for table in tables]
        squares, changes = [], []
        for batch in batches:
            forces, energies, d, unit = self._forces(batch.molecule, batch.positions, constant)
            residual = forces - batch.forces
            squares.append(_square(residual))
            topology = self.topologies[batch.molecule]
            pairs, along = topology.pairs, topology.weigh(batch, residual)
            dd = (unit * (along[:, pairs.second] - along[:, pairs.first])).sum(dim=-1)  # [M, P]
            energy, change = self._change(batch.molecule, tables, d, dd)
            changes.append(change)
            if topology.added is not None:
                changes.append(topology.added.change(batch.positions, along))
                energy = energy + topology.added.energies(batch.positions)
            if batch.energies is not None:
                weight = 3 * pairs.beads * topology.energy_weight
                changes.append(-weight * batch.energy_errors(energies) @ energy)
        (-2.0 / components * torch.stack(changes).sum()).backward()  # type: ignore[no-untyped-call]
        return torch.stack(squares).sum()

    def _forces(self, molecule: int, positions: Tensor, tables: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Forces [M, N, 3], energies [M], distances [M, P] and unit vectors from first to second [M, P, 3]."""
        topology = self.topologies[molecule]
        pairs = topology.pairs
        unit = positions[:, pairs.second] - positions[:, pairs.first]
        d = torch.linalg.vector_norm(unit, dim=-1)
        unit = unit / d[..., None]
        with torch.enable_grad():
            d = d.requires_grad_()
            x = self._atomic_energies(molecule, d, tables)
            (slope,) = torch.autograd.grad(x.sum(), d)
        d, energies = d.detach(), x.detach().sum(dim=(1, 2))
        pull = slope[..., None] * unit
        forces = pairs.on_beads(pull)
        if topology.added is not None:
            forces += topology.added.forces(positions)
            energies = energies + topology.added.energies(positions).detach()
        return forces, energies, d, unit

    def _atomic_energies(self, molecule: int, d: Tensor, tables: Sequence[Tensor]) -> Tensor:
        """[M, N, 1] at distances d [M, P], by which they are differentiable; the weights are constants."""
        topology, act = self.topologies[molecule], ACTIVATIONS[self.model.hyper.activation]
        pairs = topology.pairs
        weights = {name: p.detach() for name, p in self.model.named_parameters()}

        def message(k: int, c: Tensor) -> Tensor:
            y = functional.linear(c, weights[f"blocks.{k}.input.weight"])
            m: Tensor = self._messages(y, d, tables[k], pairs, self.grid)
            for layer in range(2):
                name = f"blocks.{k}.update.{layer}"
                m = functional.linear(act(m) if layer else m, weights[f"{name}.weight"], weights[f"{name}.bias"])
            return m

        x = weights["embedding"][topology.types].expand(len(d), -1, -1)
        x = self._through_blocks(x, message, constant=True)
        for k in range(len(self.model.output)):
            name = f"output.{k}"
            x = functional.linear(act(x) if k else x, weights[f"{name}.weight"], weights.get(f"{name}.bias"))
        return x

    def _change(self, molecule: int, tables: Sequence[Tensor], d: Tensor, dd: Tensor) -> tuple[Tensor, Tensor]:
        """Energies [M], and the change of their sum while distances d change by dd, [M, P].

        Differentiable by weights.
        """
        topology, act = self.topologies[molecule], ACTIVATIONS[self.model.hyper.activation]

        def message(k: int, c: Tensor) -> Tensor:
            block = self.model.blocks[k]
            assert isinstance(block, Block)
            y, dy = forward_ad.unpack_dual(block.input(c))  # type: ignore[no-untyped-call]
            m, dm = self._tangent(y, dy, tables[k], d, dd, topology.pairs, self.grid)
            return chain(block.update, act, forward_ad.make_dual(m, dm))  # type: ignore[no-untyped-call]

        x = self.model.embedding[topology.types].repeat(len(d), 1, 1)
        with forward_ad.dual_level():
            dual = forward_ad.make_dual(x, torch.zeros_like(x))  # type: ignore[no-untyped-call]
            last = chain(self.model.output, act, self._through_blocks(dual, message))
            energy, change = forward_ad.unpack_dual(last)  # type: ignore[no-untyped-call]
        return energy.view(len(d), -1).sum(dim=1), change.sum()

    def _through_blocks(self, x: Tensor, message: Callable[[int, Tensor], Tensor], constant: bool = False) -> Tensor:
        """Features [M, N, H] behind all blocks; message(k, c) is what block k adds to features c [M, N, H].

        `constant`: without gradients of the weights of the residual rule.
        """
        residual, shape = self.model.residual, x.shape
        if residual is None:
            for k in range(len(self.model.blocks)):
                x = x + message(k, x)
            return x

        def branch(depth: int, c: Tensor) -> Tensor:
            return message(depth % len(self.model.blocks), c.view(shape)).flatten(0, 1)

        weights = {name: p.detach() if constant else p for name, p in residual.named_parameters()}
        joined: Tensor = functional_call(residual, weights, (x.reshape(-1, shape[-1]), branch))
        return joined.view(shape)


def _distances(pairs: Pairs, positions: Tensor) -> Tensor:
    """[M, P] Å of positions [M, N, 3]."""
    d: Tensor = torch.linalg.vector_norm(positions[:, pairs.second] - positions[:, pairs.first], dim=-1)
    return d


def _square(residual: Tensor) -> Tensor:
    return residual.square().sum(dtype=torch.float64)


def _change_along(f: Activation, x: Tensor, dx: Tensor) -> tuple[Tensor, Tensor]:
    """f(x) and its change along dx."""
    value, change, *_ = torch.func.jvp(f, (x,), (dx,))
    return value, change
