"""What a block adds to the features: the plain rule, and pre-normalised ones.

Every rule is a `Connection`: it reads from the state of the residual streams, lets the interaction block work on that,
and writes back.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

Branch = Callable[[Tensor], Tensor]
"""An interaction block: features [B, H] -> what it has to say to each bead [B, H]."""

RMS_EPSILON = 1e-6


def rms_norm(x: Tensor) -> Tensor:
    """x / rms(x) over the last axis (Zhang & Sennrich 2019), with no learned gain: linear layers follow."""
    return x / torch.sqrt((x**2).mean(dim=-1, keepdim=True) + RMS_EPSILON)


class Connection(nn.Module, ABC):
    """One residual rule at one depth."""

    @abstractmethod
    def forward(self, state: Tensor, branch: Branch) -> Tensor:
        """The state [B, n, H] behind a block, from that in front of it; n streams."""


class BranchScale(nn.Module):
    """gamma, a learned factor on what a block says. Without a start value it is 1 and not learned."""

    def __init__(self, start: float | None) -> None:
        super().__init__()
        self.gamma = None if start is None else nn.Parameter(torch.tensor(start))

    def forward(self, message: Tensor) -> Tensor:
        return message if self.gamma is None else self.gamma * message


class Plain(Connection):
    """x + gamma F(x): SchNet's own."""

    def __init__(self, scale: float | None) -> None:
        super().__init__()
        self.scale = BranchScale(scale)

    def forward(self, state: Tensor, branch: Branch) -> Tensor:
        message: Tensor = self.scale(branch(state[:, 0]))
        return state + message[:, None]


class PreNorm(Connection):
    """x + gamma F(rms_norm(x))."""

    def __init__(self, scale: float | None) -> None:
        super().__init__()
        self.scale = BranchScale(scale)

    def forward(self, state: Tensor, branch: Branch) -> Tensor:
        message: Tensor = self.scale(branch(rms_norm(state[:, 0])))
        return state + message[:, None]
