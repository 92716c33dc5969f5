"""Small batches for the checks of the GPU kernels."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from mdflash.core.state import Layout
from mdflash.core.types import Precision
from mdflash.engine.gpu.forces import DeviceForces
from mdflash.neighbors.reference import all_pairs
from mdflash.potentials.base import EnergyForces, Potential
from mdflash.potentials.schnet.network import Hyperparameters, SchNet
from mdflash.potentials.schnet.potential import SchNetPotential
from mdflash.potentials.schnet.split import SplitFilters
from mdflash.potentials.schnet.tables import FilterTables, tabulate
from mdflash.potentials.schnet.triton.network import Tiles
from tests.helpers import beads, walk

SMALL = Hyperparameters(
    cutoff=8.0, types=4, features=6, filters=18, blocks=2, basis_size=7, filter_hidden=(9,), output=(4, 5)
)
DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
"""`tools/gpu_check.py` runs these checks on a GPU."""
TILES = Tiles(channels=16, edges=8, exact_edges=16)

Box = tuple[float, float, float] | None


def network(hyper: Hyperparameters = SMALL, seed: int = 0) -> SchNet:
    """Random weights, biases that count."""
    torch.manual_seed(seed)
    model = SchNet(hyper).double()
    for p in model.parameters():
        p.data += 0.1 * torch.randn_like(p)
    return model.requires_grad_(False)


def schnet(
    models: Sequence[SchNet | None], layout: Layout, rng: np.random.Generator, excluded: bool = False
) -> SchNetPotential:
    """A network (or none) for each system, random bead types; `excluded` leaves out bonded neighbors."""
    pairs = [
        np.stack([np.arange(s.n_beads - 1), np.arange(1, s.n_beads)], axis=1) if excluded else np.zeros((0, 2), int)
        for s in layout.systems
    ]
    types = [rng.integers(4, size=s.n_beads) for s in layout.systems]
    return SchNetPotential("SchNet", models, types, pairs)


def layout_of(sizes: Sequence[int], counts: Sequence[int]) -> Layout:
    return Layout(tuple(beads(f"m{n}", n) for n in sizes), tuple(counts))


def walks(layout: Layout, rng: np.random.Generator) -> torch.Tensor:
    """[B, 3], each replica somewhere else."""
    parts = [walk(layout.systems[s].n_beads, rng) + rng.normal(size=3) * 30 for s in layout.system_of_replica]
    return torch.from_numpy(np.concatenate(parts))


def tables_of(potential: SchNetPotential, intervals: int) -> Mapping[int, FilterTables]:
    return {id(m): tabulate(m, intervals) for m in potential.networks if m is not None}


def on_device(
    layout: Layout, terms: Sequence[Potential], x: torch.Tensor,
    tables: Mapping[int, FilterTables | SplitFilters] | None,
    precision: Precision = "fp64", box: Box = None, skin: float = 1.0, tiles: Tiles = TILES,
) -> EnergyForces:  # fmt: skip
    forces = DeviceForces(layout, terms, tables, precision, skin, box, DEVICE, tiles)
    forces.x.copy_(x)
    forces.evaluate()
    return EnergyForces(forces.energy.cpu(), forces.f.cpu())


def reference(layout: Layout, potential: Potential, x: torch.Tensor, box: Box = None) -> EnergyForces:
    pairs = None if potential.cutoff is None else all_pairs(x, layout, potential.cutoff, box)
    return potential.energy_and_forces(x, layout, pairs)


def errors(found: EnergyForces, expected: EnergyForces) -> tuple[float, float]:
    """Relative errors of energies and forces."""
    energy = (found.energy - expected.energy).norm() / expected.energy.norm()
    forces = (found.forces - expected.forces).norm() / expected.forces.norm()
    return float(energy), float(forces)
