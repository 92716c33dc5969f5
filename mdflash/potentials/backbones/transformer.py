"""The manifold-geometric transformer's update, taken literally (MGT, arXiv 2601.01014), as far as its text can be had.

    c = rms_norm(x),  o = F(c) * sigmoid(G c)                  a gate on features, called tangent projection
    x <- x + beta (gamma o - alpha x),  beta = 2 sigmoid(w . c + b)

The paper leaves open how alpha and beta begin and whether they are learned; both are here. (1 - alpha beta)^L forgets
the embedding: e^-10 is left of it after 100 blocks with alpha beta = 0.1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mdflash.potentials.backbones.delta import Gate
from mdflash.potentials.backbones.parts import BranchScale, Parts, rms_norm
from mdflash.potentials.backbones.residual import Branch, Connection, Options


class ManifoldGeometric(Connection):
    """See the module's equations."""

    name = "mgt"

    def __init__(self, features: int, beta: float, forget: float, scale: float | None) -> None:
        super().__init__()
        self.gate, self.scale = Gate(features, beta), BranchScale(scale)
        self.project = nn.Linear(features, features)
        self.forget = nn.Parameter(torch.tensor(forget))

    @classmethod
    def build(cls, options: Options, features: int, scale: float | None) -> ManifoldGeometric:
        return cls(features, options.first_beta, options.forget, scale)

    def forward(self, state: Tensor, branch: Branch) -> Tensor:
        x = state[:, 0]
        c = rms_norm(x)
        message: Tensor = self.scale(branch(c) * torch.sigmoid(self.project(c)))
        beta: Tensor = self.gate(c)
        return (x + beta[:, None] * (message - self.forget * x))[:, None]

    def parts(self) -> Parts:
        return Parts(self.scale, gate=self.gate, project=self.project, forget=self.forget)
