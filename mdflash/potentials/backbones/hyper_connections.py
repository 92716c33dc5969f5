"""Manifold-constrained hyper-connections (mHC, arXiv 2512.24880, eqs. 6 to 9): streams and a doubly stochastic mixing.

v = rms_norm(vec X)                                        X [n, H], one bead
(p, q, r) = a * (phi v) + b                                a: three learned scales, at first 0.01
c = rms_norm(sigmoid(p) X)                                 what the block reads
X <- M(r) X + gamma 2 sigmoid(q) F(c)^T                    M doubly stochastic: see `mixing`
"""

from __future__ import annotations

import torch
from torch import Tensor

from mdflash.potentials.backbones.parts import BranchScale, Parts, StreamMaps, mix_streams, rms_norm
from mdflash.potentials.backbones.residual import Branch, Connection, Options


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
    def build(cls, options: Options, features: int, scale: float | None) -> HyperConnection:
        return cls(StreamMaps(options.streams, features, options.mixing, options.sinkhorn_iterations), scale)

    def forward(self, state: Tensor, branch: Branch) -> Tensor:
        read, write, mix = self.maps.of(state)
        message: Tensor = self.scale(branch(rms_norm(torch.einsum("bn,bnh->bh", read, state))))
        return mix_streams(mix, state) + write[:, :, None] * message[:, None, :]

    def parts(self) -> Parts:
        return Parts(self.scale, maps=self.maps)
