"""Manifold-constrained hyper-connections (mHC, arXiv 2512.24880, eqs. 6 to 9): streams and a doubly stochastic mixing.

v = rms_norm(vec X)                                        X [n, H], one bead
(p, q, r) = a * (phi v) + b                                a: three learned scales, at first 0.01
c = rms_norm(sigmoid(p) X)                                 what the block reads
X <- M(r) X + gamma 2 sigmoid(q) F(c)^T                    M doubly stochastic: see `mixing`
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from mdflash.potentials.backbones.mixing import permutation_matrices, permutation_mixing, sinkhorn_mixing
from mdflash.potentials.backbones.residual import Branch, BranchScale, Connection, Parts, rms_norm

if TYPE_CHECKING:
    from mdflash.potentials.backbones.backbone import Backbone

Mixing = Literal["permutation", "sinkhorn", "identity"]

MAPS_SCALE = 0.01
IDENTITY_SHARE = 0.9
"""Weight of the identity among the permutations at first: streams begin nearly apart."""
SINKHORN_DIAGONAL = 5.0


class StreamMaps(nn.Module):
    """From the state of a bead: what is read from each stream, written to each, and how they mix."""

    permutations: Tensor

    def __init__(self, streams: int, features: int, mixing: Mixing, iterations: int) -> None:
        super().__init__()
        n = streams
        self.streams, self.mixing, self.iterations = n, mixing, iterations
        if mixing == "permutation":
            start = torch.zeros(math.factorial(n))
            start[0] = math.log(IDENTITY_SHARE / (1.0 - IDENTITY_SHARE) * max(len(start) - 1, 1))
            self.register_buffer("permutations", permutation_matrices(n).float(), persistent=False)
        elif mixing == "sinkhorn":
            start = SINKHORN_DIAGONAL * torch.eye(n).flatten()
        else:
            start = torch.zeros(0)
        read = torch.full((n,), 0.0 if n == 1 else -math.log(n - 1.0))  # sigmoid of it is 1 / n
        self.bias = nn.Parameter(torch.cat([read, torch.zeros(n), start]))
        self.scale = nn.Parameter(torch.full((3,), MAPS_SCALE))
        self.phi = nn.Linear(n * features, len(self.bias), bias=False)
        self._sizes = [n, n, len(start)]

    def of(self, state: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """[B, n, H] -> read [B, n], write [B, n], mix [B, n, n] or None for the identity."""
        return self.from_products(self.phi(rms_norm(state.flatten(1))))

    def from_products(self, products: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """The same from phi v [B, logits]."""
        scale = torch.cat([a.expand(size) for a, size in zip(self.scale, self._sizes, strict=True)])
        p, q, r = torch.split(scale * products + self.bias, self._sizes, dim=-1)
        mix = None
        if self.mixing == "permutation":
            mix = permutation_mixing(r, self.permutations.to(r))
        elif self.mixing == "sinkhorn":
            mix = sinkhorn_mixing(r.view(-1, self.streams, self.streams), self.iterations)
        return torch.sigmoid(p), 2.0 * torch.sigmoid(q), mix


def mix_streams(mix: Tensor | None, state: Tensor) -> Tensor:
    """M X of every bead; None is the identity."""
    return state if mix is None else mix @ state


class HyperConnection(Connection):
    """See the module's equations."""

    name = "hyper"
    about = "mHC"
    streamed = True
    mixed = True

    def __init__(self, maps: StreamMaps, scale: float | None) -> None:
        super().__init__()
        self.maps, self.scale = maps, BranchScale(scale)

    @classmethod
    def build(cls, options: Backbone, features: int, scale: float | None) -> HyperConnection:
        return cls(StreamMaps(options.streams, features, options.mixing, options.sinkhorn_iterations), scale)

    def forward(self, state: Tensor, branch: Branch) -> Tensor:
        read, write, mix = self.maps.of(state)
        message: Tensor = self.scale(branch(rms_norm(torch.einsum("bn,bnh->bh", read, state))))
        return mix_streams(mix, state) + write[:, :, None] * message[:, None, :]

    def parts(self) -> Parts:
        return Parts(self.scale, maps=self.maps)
