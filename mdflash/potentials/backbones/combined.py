"""The geometric rule: streams mix from the left, the delta operator erases from the right, a message keeps its size.

    (read, write, M) as in `hyper_connections`,  c = rms_norm(read X),  o = F(c)
    k = o / sqrt(|o|^2 + epsilon^2),  beta = 2 sigmoid(w . c + b)
    X <- M X (I - beta k k^T) + gamma write o^T

M acts on streams and I - beta k k^T on features, so they commute. Writing o, and not the unit vector k as deep delta
learning does, lets a block fall silent with its messages, which keeps forces smooth at the cutoff.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mdflash.potentials.backbones.delta import Gate, SoftDirection, delta
from mdflash.potentials.backbones.parts import BranchScale, Parts, StreamMaps, mix_streams, rms_norm
from mdflash.potentials.backbones.residual import Branch, Connection, Options


class Geometric(Connection):
    """See the module's equations. beta -> 0: `HyperConnection`; one stream besides: `PreNorm` but for its gate."""

    name = "geometric"
    about = "both"
    streamed = True
    mixed = True
    start_beta = 0.1

    def __init__(self, maps: StreamMaps, features: int, beta: float, epsilon: float, scale: float | None) -> None:
        super().__init__()
        self.maps, self.scale = maps, BranchScale(scale)
        self.direction, self.gate = SoftDirection(epsilon), Gate(features, beta)

    @classmethod
    def build(cls, options: Options, features: int, scale: float | None) -> Geometric:
        maps = StreamMaps(options.streams, features, options.mixing, options.sinkhorn_iterations)
        return cls(maps, features, options.first_beta, options.epsilon, scale)

    def forward(self, state: Tensor, branch: Branch) -> Tensor:
        read, write, mix = self.maps.of(state)
        c = rms_norm(torch.einsum("bn,bnh->bh", read, state))
        message = branch(c)
        written: Tensor = self.scale(message)
        kept = delta(mix_streams(mix, state), self.direction(message), self.gate(c))
        return kept + write[:, :, None] * written[:, None, :]

    def parts(self) -> Parts:
        return Parts(self.scale, maps=self.maps, gate=self.gate, direction=self.direction)
