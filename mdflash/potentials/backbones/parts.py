"""What residual rules are made of, and how kernels know a rule: norms, scales, stream maps, gates and directions."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from mdflash.potentials.backbones.delta import Gate, SoftDirection
from mdflash.potentials.backbones.mixing import permutation_matrices, permutation_mixing, sinkhorn_mixing

RMS_EPSILON = 1e-6


def rms_norm(x: Tensor) -> Tensor:
    """x / rms(x) over the last axis (Zhang & Sennrich 2019), with no learned gain: linear layers follow."""
    return x / torch.sqrt((x**2).mean(dim=-1, keepdim=True) + RMS_EPSILON)


class BranchScale(nn.Module):
    """gamma, a learned factor on the message of a block. Without a start value it is 1 and not learned."""

    def __init__(self, start: float | None) -> None:
        super().__init__()
        self.gamma = None if start is None else nn.Parameter(torch.tensor(start))

    def forward(self, message: Tensor) -> Tensor:
        return message if self.gamma is None else self.gamma * message


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


class Parts(NamedTuple):
    """A rule as the kernels know it; parts that it has not are None.

    u = sum_s r_s X_s,  c = u / rms(u)     (c = u where the rule is not `normed`)
    o = F(c),  o <- sigmoid(P c) o          with `project`
    X'_s = (M X)_s + gamma w_s o            r, w, M from `maps`; without, r = 1/n, w = 1, M = 1
    X' <- X' - beta (M X k) k^T             with `direction`, k = o / sqrt(|o|^2 + epsilon^2)
    X' <- X' + gamma beta (V c) k^T         with `value`, and w = 0
    X' = (1 - alpha beta) X + gamma beta o  with `forget`: alpha

    Attributes:
        scale: gamma.
        maps: r, w and M.
        gate: beta.
        direction: epsilon; needs `gate`.
        value: V; needs `direction`, and no `maps`.
        project: P.
        forget: alpha; needs `gate` and one stream, and no `maps`.
    """

    scale: BranchScale
    maps: StreamMaps | None = None
    gate: Gate | None = None
    direction: SoftDirection | None = None
    value: nn.Linear | None = None
    project: nn.Linear | None = None
    forget: Tensor | None = None
