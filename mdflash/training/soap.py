"""SOAP: Adam in the eigenbasis of Shampoo's preconditioner (Vyas et al., arXiv 2409.11321, algorithm 3).

For a matrix of weights with gradient G [A, B], running means of G Gᵀ and Gᵀ G have eigenvectors Q_L and Q_R. Adam's
second moment is kept for the gradient as they see it, Q_Lᵀ G Q_R, where its components are nearly uncorrelated, so that
a step is the right size in soft directions as well as in stiff ones. A side that is longer than `LARGEST` keeps its own
axes; weights that are no matrix are left to Adam.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim import Optimizer

LARGEST = 1024
"""Rows or columns that still get eigenvectors."""
EVERY = 10
"""Steps from one improvement of the eigenvectors to the next."""
EPSILON = 1e-8


class Soap(Optimizer):
    """The optimiser. The first step only looks at the gradient, as in the authors' code.

    Args:
        parameters: to optimise.
        lr: learning rate, as Adam's.
        betas: of the running means of the gradient, and of its second moments.
        weight_decay: decoupled, as AdamW's.
    """

    def __init__(
        self, parameters: Iterable[Tensor], lr: float, betas: tuple[float, float] = (0.95, 0.95),
        weight_decay: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(parameters, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # no line search
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._move(p, p.grad, cast("dict[str, Tensor]", self.state[p]), group)

    def _move(self, p: Tensor, gradient: Tensor, state: dict[str, Tensor], group: dict[str, Any]) -> None:
        sides = [k for k in range(2) if p.dim() == 2 and p.shape[k] <= LARGEST]
        first, second = group["betas"]
        if not state:
            state["step"] = torch.zeros(())
            state["mean"], state["square"] = torch.zeros_like(p), torch.zeros_like(p)
            for k in sides:
                state[f"gram{k}"] = _gram(gradient, k)
                state[f"basis{k}"] = torch.linalg.eigh(state[f"gram{k}"])[1].flip(1).contiguous()
            return
        state["step"] += 1
        t = int(state["step"])
        state["mean"].lerp_(gradient, 1.0 - first)
        seen, mean = gradient, state["mean"]
        for k in sides:
            seen, mean = (_turn(x, state[f"basis{k}"].mT, k) for x in (seen, mean))
        state["square"].lerp_(seen.square(), 1.0 - second)
        size = (state["square"] / (1.0 - second**t)).sqrt_().add_(EPSILON)
        move = mean / (1.0 - first**t) / size
        for k in sides:
            move = _turn(move, state[f"basis{k}"], k)
        p.mul_(1.0 - group["lr"] * group["weight_decay"]).add_(move, alpha=-group["lr"])
        for k in sides:
            state[f"gram{k}"].lerp_(_gram(gradient, k), 1.0 - second)
            if t % EVERY == 0:
                _improve(state, k)


def _gram(gradient: Tensor, side: int) -> Tensor:
    return gradient @ gradient.mT if side == 0 else gradient.mT @ gradient


def _turn(x: Tensor, matrix: Tensor, side: int) -> Tensor:
    return matrix @ x if side == 0 else x @ matrix.mT


def _improve(state: dict[str, Tensor], side: int) -> None:
    """One step of orthogonal iteration, the eigenvectors in order of their eigenvalues.

    They are stored row by row, as a state that was read back has them: the order decides the bits of products.
    """
    gram, basis = state[f"gram{side}"], state[f"basis{side}"]
    order = (basis * (gram @ basis)).sum(dim=0).argsort(descending=True)
    state["square"] = state["square"].index_select(side, order)
    state[f"basis{side}"] = torch.linalg.qr(gram @ basis[:, order])[0].contiguous()
