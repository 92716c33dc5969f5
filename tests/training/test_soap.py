"""The optimizer: far ahead of Adam where directions are stiff and soft, Adam itself on vectors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mdflash.training.soap import Soap


def test_stiff_and_soft_directions_are_learned_together() -> None:
    """Least squares with curvatures over eight decades, mixed by rotations on both sides."""
    generator = torch.Generator().manual_seed(5)
    turn = torch.linalg.qr(torch.randn(20, 20, generator=generator))[0]
    inputs = torch.randn(300, 20, generator=generator) * torch.logspace(0, -2, 20) @ turn
    outputs = torch.logspace(0, -2, 7) * torch.linalg.qr(torch.randn(7, 7, generator=generator))[0]
    target = torch.randn(20, 7, generator=generator)

    def error(optimizer: type[torch.optim.Optimizer]) -> float:
        weights, bias = nn.Parameter(torch.zeros(20, 7)), nn.Parameter(torch.zeros(7))
        steps = optimizer([weights, bias], lr=1e-2)

        def loss() -> Tensor:
            return ((inputs @ (weights - target) + bias) @ outputs).square().mean()

        for _ in range(600):
            steps.zero_grad()
            loss().backward()  # type: ignore[no-untyped-call]
            steps.step()
        return loss().item()

    assert error(Soap) < 0.02 * error(torch.optim.Adam)


def test_a_vector_is_adams() -> None:
    generator = torch.Generator().manual_seed(2)
    gradients = torch.randn(30, 9, generator=generator)
    ours, adams = nn.Parameter(torch.ones(9)), nn.Parameter(torch.ones(9))
    options = {"lr": 3e-2, "betas": (0.9, 0.97), "weight_decay": 0.1}
    soap, adam = Soap([ours], **options), torch.optim.AdamW([adams], **options)  # type: ignore[arg-type]
    ours.grad = gradients[0]
    soap.step()  # only looks
    assert torch.equal(ours, torch.ones(9))
    for gradient in gradients:
        ours.grad = adams.grad = gradient
        soap.step()
        adam.step()
    torch.testing.assert_close(ours, adams)


def test_a_side_too_long_for_eigenvectors_still_learns() -> None:
    generator = torch.Generator().manual_seed(3)
    target = torch.randn(1100, 3, generator=generator)
    weights = nn.Parameter(torch.zeros(1100, 3))
    soap = Soap([weights], lr=3e-2)
    for _ in range(200):
        weights.grad = weights.detach() - target
        soap.step()
    assert (weights - target).square().mean() < 1e-2
    assert set(soap.state[weights]) == {"step", "mean", "square", "gram1", "basis1"}
