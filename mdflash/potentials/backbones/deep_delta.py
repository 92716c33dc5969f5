"""Deep delta learning (DDL, arXiv 2601.00417, eqs. 3 to 6): the direction of a message is erased, then written.

c = rms_norm(mean of X over its columns)                   X [n, H], n = d_v of the paper
o = F(c),  k = o / sqrt(|o|^2 + epsilon^2)
beta = 2 sigmoid(w . c + b),  v = V c                      v [n]
X <- X (I - beta k k^T) + gamma beta v k^T
"""

from __future__ import annotations

from torch import Tensor, nn

from mdflash.potentials.backbones.delta import Gate, SoftDirection, delta
from mdflash.potentials.backbones.parts import BranchScale, Parts, rms_norm
from mdflash.potentials.backbones.residual import Branch, Connection, Options


class DeepDelta(Connection):
    """See the module's equations."""

    name = "delta"
    about = "deep delta learning"
    streamed = True

    def __init__(self, streams: int, features: int, beta: float, epsilon: float, scale: float | None) -> None:
        super().__init__()
        self.direction, self.gate = SoftDirection(epsilon), Gate(features, beta)
        self.value = nn.Linear(features, streams, bias=False)
        self.scale = BranchScale(scale)

    @classmethod
    def build(cls, options: Options, features: int, scale: float | None) -> DeepDelta:
        return cls(options.streams, features, options.first_beta, options.epsilon, scale)

    def forward(self, state: Tensor, branch: Branch) -> Tensor:
        c = rms_norm(state.mean(dim=1))
        k: Tensor = self.direction(branch(c))
        beta: Tensor = self.gate(c)
        written: Tensor = self.scale(beta[:, None] * self.value(c))  # [B, n]
        return delta(state, k, beta) + written[:, :, None] * k[:, None, :]

    def parts(self) -> Parts:
        return Parts(self.scale, gate=self.gate, direction=self.direction, value=self.value)
