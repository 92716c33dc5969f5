"""Residual rules over the kernels of the device, against the rules in plain torch: states and their gradients."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mdflash.potentials.backbones.backbone import Backbone
from mdflash.potentials.backbones.fused import fused
from tests.gpu.batches import DEVICE
from tests.potentials.rules import VARIANTS

FEATURES = 20
"""No power of two, and more than a tile of `maps` is deep with two streams."""
RULES = {name: Backbone(**options) for name, options in VARIANTS.items()}


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize(("dtype", "bar"), [(torch.float64, 1e-12), (torch.float32, 3e-6)])
def test_kernels_do_what_the_rule_does(name: str, dtype: torch.dtype, bar: float) -> None:
    torch.manual_seed(sum(name.encode()))
    backbone, beads = RULES[name], 37
    rule = replace(backbone, beta=0.8).connection(FEATURES, 3).to(DEVICE, torch.float64).requires_grad_(False)
    for p in rule.parameters():
        p += 0.3 * torch.randn_like(p)
    mixer = torch.randn(FEATURES, FEATURES, dtype=torch.float64, device=DEVICE)
    x, weight = torch.randn(2, beads, backbone.streams, FEATURES, dtype=torch.float64, device=DEVICE)

    def outcome(connection: torch.nn.Module, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        state = x.to(dtype).clone().requires_grad_()
        out = connection(state, lambda c: torch.tanh(c @ mixer.to(dtype)))
        (gradient,) = torch.autograd.grad(out, state, weight.to(dtype))
        return out.detach().double(), gradient.double()

    expected = outcome(rule, torch.float64)
    for found, exact in zip(outcome(fused(rule).to(dtype), dtype), expected, strict=True):
        assert float((found - exact).norm() / exact.norm()) < bar


def test_silence_is_no_division_by_zero() -> None:
    """A state and a message of 0."""
    rule = RULES["geometric-4"].connection(FEATURES, 2).to(DEVICE, torch.float64).requires_grad_(False)
    state = torch.zeros(3, 4, FEATURES, dtype=torch.float64, device=DEVICE, requires_grad=True)
    out = fused(rule)(state, torch.zeros_like)
    (gradient,) = torch.autograd.grad(out.sum(), state)
    assert not out.any() and torch.isfinite(gradient).all()
