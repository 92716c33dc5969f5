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
"""Steps from one improvement of the eigenvectors to the next. The running means forget within 20: with 40 the loss of a
large network leapt up a hundredfold now and then, however small the learning rate."""
EPSILON = 1e-8


class Soap(Optimizer):
    """The optimizer. The first step only looks at the gradient, as in the authors' code.

    Parameters of one shape move together: a network of a few dozen small matrices has ten times fewer products to
    launch. `state` holds what belongs to each, as views.

    Args:
        parameters: to optimize; all get a gradient in every step.
        lr: learning rate, as Adam's.
        betas: decay factors of the running means of the gradient, and of its second moments.
        weight_decay: decoupled, as AdamW's.
    """

    def __init__(
        self, parameters: Iterable[Tensor], lr: float, betas: tuple[float, float] = (0.95, 0.95),
        weight_decay: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(parameters, {"lr": lr, "betas": betas, "weight_decay": weight_decay})
        self._stacks: list[_Stack] = []

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # no line search
        """Move every parameter."""
        if not self._stacks:
            self._stacks = [
                _Stack(group, alike, [cast("dict[str, Tensor]", self.state[p]) for p in alike])
                for group in self.param_groups
                for alike in _by_shape(group["params"])
            ]
        for stack in self._stacks:
            stack.step()


def _by_shape(parameters: Iterable[Tensor]) -> list[list[Tensor]]:
    found: dict[torch.Size, list[Tensor]] = {}
    for p in parameters:
        found.setdefault(p.shape, []).append(p)
    return list(found.values())


class _Stack:
    """K parameters of one shape, with their states [K, ...]; states read from a file are continued."""

    def __init__(self, group: dict[str, Any], parameters: list[Tensor], states: list[dict[str, Tensor]]) -> None:
        self.group, self.parameters, self._states = group, parameters, states
        p = parameters[0]
        self.sides = [k for k in range(2) if p.dim() == 2 and p.shape[k] <= LARGEST]
        self.steps = int(states[0]["step"]) if states[0] else None
        self.state: dict[str, Tensor] = {}
        for key in states[0]:
            if key != "step":
                self._hold(key, torch.stack([s[key] for s in states]))

    def _hold(self, key: str, value: Tensor) -> None:
        """Keep a state [K, ...]; each parameter sees its own."""
        self.state[key] = value
        for own, state in zip(value, self._states, strict=True):
            state[key] = own

    def step(self) -> None:
        gradient = torch.stack([p.grad for p in self.parameters if p.grad is not None])  # [K, A, B] or [K, A]
        if self.steps is None:
            self._look(gradient)
        else:
            self._move(gradient, self.steps + 1)
        self.steps = 0 if self.steps is None else self.steps + 1
        for state in self._states:
            state["step"] = torch.tensor(float(self.steps))

    def _look(self, gradient: Tensor) -> None:
        self._hold("mean", torch.zeros_like(gradient))
        self._hold("square", torch.zeros_like(gradient))
        for k in self.sides:
            gram = _gram(gradient, k)
            self._hold(f"gram{k}", gram)
            self._hold(f"basis{k}", torch.linalg.eigh(gram)[1].flip(2).contiguous())

    def _move(self, gradient: Tensor, t: int) -> None:
        state, group = self.state, self.group
        first, second = group["betas"]
        state["mean"].lerp_(gradient, 1.0 - first)
        seen, mean = gradient, state["mean"]
        for k in self.sides:
            seen, mean = (_turn(x, state[f"basis{k}"].mT, k) for x in (seen, mean))
        state["square"].lerp_(seen.square(), 1.0 - second)
        size = (state["square"] / (1.0 - second**t)).sqrt_().add_(EPSILON)
        move = mean / (1.0 - first**t) / size
        for k in self.sides:
            move = _turn(move, state[f"basis{k}"], k)
        for p, own in zip(self.parameters, move, strict=True):
            if group["weight_decay"]:
                p.mul_(1.0 - group["lr"] * group["weight_decay"])
            p.add_(own, alpha=-group["lr"])
        for k in self.sides:
            state[f"gram{k}"].lerp_(_gram(gradient, k), 1.0 - second)
            if t % EVERY == 0:
                self._improve(k)

    def _improve(self, side: int) -> None:
        """One step of orthogonal iteration, the eigenvectors in order of their eigenvalues.

        They are stored row by row, as a state that was read back has them: the order decides the bits of products.
        """
        gram, basis = self.state[f"gram{side}"], self.state[f"basis{side}"]
        order = (basis * (gram @ basis)).sum(dim=1).argsort(dim=1, descending=True)  # [K, A]
        along = order[:, :, None] if side == 0 else order[:, None, :]
        self._hold("square", self.state["square"].take_along_dim(along, dim=1 + side))
        basis = torch.linalg.qr(gram @ basis.take_along_dim(order[:, None], dim=2))[0].contiguous()
        self._hold(f"basis{side}", basis)


def _gram(gradient: Tensor, side: int) -> Tensor:
    return gradient @ gradient.mT if side == 0 else gradient.mT @ gradient


def _turn(x: Tensor, matrix: Tensor, side: int) -> Tensor:
    return matrix @ x if side == 0 else x @ matrix.mT
