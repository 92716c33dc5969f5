"""A small SchNet with random frames of two molecules, for tests of the loss and its gradient."""

from __future__ import annotations

import dataclasses

import torch

from mdflash.potentials.schnet.network import Hyperparameters, SchNet
from mdflash.training.convolution import Pairs
from mdflash.training.forces import Batch, Topology

SIZES = (5, 9)


def small_network(seed: int, **hyper: object) -> tuple[SchNet, list[Topology], list[Batch]]:
    """A float64 network, and for molecules of 5 and 9 beads 11 and 12 frames with random forces."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    sizes: dict[str, object] = {"cutoff": 7.0, "features": 24, "filters": 20, "blocks": 3, "basis_size": 12}
    sizes |= {"filter_hidden": (16,), "output": (24, 8), "output_bias": True}
    model = SchNet(Hyperparameters(types=4, **(sizes | hyper))).double()  # type: ignore[arg-type]
    topologies, batches = [], []
    for k, n in enumerate(SIZES):
        first, second = torch.triu_indices(n, n, 1 + k)  # the second molecule excludes its bonds
        topologies.append(Topology(torch.arange(n) % 4, Pairs(first, second, n)))
        x = 3.0 * torch.randn(11 + k, n, 3, generator=generator, dtype=torch.float64)
        batches.append(Batch(k, x, 5.0 * torch.randn(x.shape, generator=generator, dtype=torch.float64)))
    return model, topologies, batches


def with_energies(batches: list[Batch]) -> list[Batch]:
    """The batches with random energies."""
    generator = torch.Generator().manual_seed(5)
    return [
        dataclasses.replace(
            b, energies=300.0 + 4.0 * torch.randn(len(b.positions), generator=generator, dtype=torch.float64)
        )
        for b in batches
    ]


def loss_gradient(model: SchNet) -> torch.Tensor:
    """The .grad of all weights in a row; 0 where there is none."""
    return torch.cat(
        [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in model.parameters()]
    )
