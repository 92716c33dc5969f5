"""Random SchNets and molecules for tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from mdflash.core.state import Layout
from mdflash.potentials.schnet.network import Hyperparameters, SchNet
from mdflash.potentials.schnet.potential import SchNetPotential
from tests.helpers import beads, walk


def random_schnet(seed: int, **hyper: Any) -> SchNet:
    """A float64 SchNet with random weights, biases included."""
    defaults: dict[str, Any] = {"cutoff": 9.0, "types": 7, "features": 48, "filters": 40, "blocks": 2}
    defaults |= {"basis_size": 12, "filter_hidden": (24,), "output": (32, 16), **hyper}
    torch.manual_seed(seed)
    network = SchNet(Hyperparameters(**defaults)).double()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0.0, 0.3)
    return network.requires_grad_(False)


def random_batch(
    networks: list[SchNet | None],
    sizes: tuple[int, ...],
    counts: tuple[int, ...],
    seed: int,
    excluded_bonds: int = 0,
) -> tuple[Layout, SchNetPotential, torch.Tensor]:
    """Chains of random bead types; `networks` has one for each."""
    rng = np.random.default_rng(seed)
    layout = Layout(tuple(beads(f"m{k}_{n}", n) for k, n in enumerate(sizes)), counts)
    types = [
        rng.integers(network.hyper.types if network else 1, size=n) for network, n in zip(networks, sizes, strict=True)
    ]
    excluded = [
        np.array([(i, i + b) for i in range(n) for b in range(1, excluded_bonds + 1) if i + b < n], np.int64).reshape(
            -1, 2
        )
        for n in sizes
    ]
    x = np.concatenate([walk(n, rng) for n, count in zip(sizes, counts, strict=True) for _ in range(count)])
    return layout, SchNetPotential("schnet", networks, types, excluded), torch.from_numpy(x)
