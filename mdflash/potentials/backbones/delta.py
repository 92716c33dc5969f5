"""The delta operator I - beta k k^T of deep delta learning (arXiv 2601.00417, eq. 3), and the direction k it erases.

Its eigenvalues are 1 and 1 - beta |k|^2: beta = 0 keeps, 1 projects k out, 2 reflects at the plane across k.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


def delta(state: Tensor, k: Tensor, beta: Tensor) -> Tensor:
    """X (I - beta k k^T), for each bead.

    Args:
        state: [B, n, H].
        k: [B, H], |k| <= 1.
        beta: [B].
    """
    along = torch.einsum("bnh,bh->bn", state, k)
    return state - (beta[:, None] * along)[:, :, None] * k[:, None, :]


class SoftDirection(nn.Module):
    """k = o / sqrt(|o|^2 + epsilon^2), with a learned epsilon of the size of a message.

    With the paper's epsilon of 1e-5 a message that fades at the cutoff turns k around within a shell of that width:
    forces a hundred times too large where the last neighbor leaves. A soft k fades with its message.
    """

    def __init__(self, epsilon: float) -> None:
        super().__init__()
        self.raw = nn.Parameter(torch.tensor(epsilon + math.log(-math.expm1(-epsilon))))

    @property
    def epsilon(self) -> Tensor:
        """The softness, more than 0."""
        return functional.softplus(self.raw)

    def forward(self, message: Tensor) -> Tensor:
        """[B, H] -> [B, H]."""
        return message / torch.sqrt((message**2).sum(dim=-1, keepdim=True) + self.epsilon**2)


class Gate(nn.Module):
    """beta = 2 sigmoid(w . c + b) in (0, 2), one for each bead; starts at `start` everywhere."""

    def __init__(self, features: int, start: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(features))
        self.bias = nn.Parameter(torch.tensor(math.log(start / (2.0 - start))))

    def forward(self, c: Tensor) -> Tensor:
        """[B, H] -> [B]."""
        return 2.0 * torch.sigmoid(c @ self.weight + self.bias)
