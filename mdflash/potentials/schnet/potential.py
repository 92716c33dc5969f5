"""SchNet as a Potential of a batch, in plain torch: the reference."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mdflash.core.state import Layout
from mdflash.core.types import IntArray
from mdflash.potentials.base import EnergyForces, Pairs, Potential
from mdflash.potentials.schnet.network import SchNet
from mdflash.potentials.schnet.tables import Distances


class SchNetPotential(Potential):
    """One SchNet, or one per system, over the replicas of a layout; forces by autograd.

    Arithmetic is in the dtype of the positions.
    """

    cutoff: float

    def __init__(
        self,
        name: str,
        networks: Sequence[SchNet | None],
        types: Sequence[IntArray],
        excluded: Sequence[IntArray],
        distances: Sequence[Distances | None] = (),
    ) -> None:
        """
        Args:
            name: its name in logs and errors.
            networks: for each system of the layout its network, or None where it has none.
            types: for each system, [N] embedding row of each bead.
            excluded: for each system, [E, 2] pairs i < j without messages.
            distances: for each system, how near its force field lets beads come; None or no list: not known.
        """
        self.name = name
        self.networks = tuple(networks)
        self.types = tuple(torch.from_numpy(np.array(t)) for t in types)
        self.excluded = tuple(excluded)
        self.distances = tuple(distances) or (None,) * len(self.networks)
        self.cutoff = max(n.hyper.cutoff for n in self.networks if n is not None)
        self._cast: dict[tuple[int, torch.dtype, torch.device], SchNet] = {}

    def energy_and_forces(self, positions: Tensor, layout: Layout, pairs: Pairs | None) -> EnergyForces:
        assert pairs is not None and pairs.cutoff >= self.cutoff
        energy = positions.new_zeros(layout.n_replicas)
        forces = torch.zeros_like(positions)
        ends = torch.searchsorted(
            pairs.first.contiguous(), torch.from_numpy(layout.bead_offset).to(pairs.first.device)
        ).tolist()
        for r in range(layout.n_replicas):
            # One replica at a time: a BLAS rounds differently for another number of rows, and this way
            # a replica's bits do not depend on what else is in the batch.
            s = int(layout.system_of_replica[r])
            network = self._network(s, positions)
            if network is None:
                continue
            rows, own = layout.rows(r), slice(ends[r], ends[r + 1])
            first, second = pairs.first[own] - rows.start, pairs.second[own] - rows.start
            shift = None if pairs.shift is None else pairs.shift[own].to(positions.dtype)
            energy[r], forces[rows] = self._one(network, s, positions[rows], first, second, shift)
        return EnergyForces(energy, forces)

    def _one(
        self, network: SchNet, system: int, x: Tensor, first: Tensor, second: Tensor, shift: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Energy [] and forces [N, 3] of one replica at x [N, 3]."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            d = x[second] - x[first]
            if shift is not None:
                d = d + shift
            near = torch.linalg.vector_norm(d.detach(), dim=-1) < network.hyper.cutoff
            excluded = self.excluded[system]
            if len(excluded):
                keys = torch.from_numpy(excluded[:, 0] * len(x) + excluded[:, 1]).to(x.device)
                near &= ~torch.isin(first * len(x) + second, keys)
            types = self.types[system].to(x.device)
            energy = network(d[near], types, first[near], second[near]).sum()
            (gradient,) = torch.autograd.grad(energy, x)
        return energy.detach(), -gradient

    def _network(self, system: int, like: Tensor) -> SchNet | None:
        """The system's network in the dtype and on the device of `like`."""
        network = self.networks[system]
        if network is None:
            return None
        key = (id(network), like.dtype, like.device)
        if key not in self._cast:
            self._cast[key] = copy.deepcopy(network).to(like)
        return self._cast[key]
