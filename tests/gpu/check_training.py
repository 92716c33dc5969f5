"""The convolutions of training by Triton kernels, against those of the CPU: messages, their changes, gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mdflash.potentials.backbones.backbone import Backbone
from mdflash.training import convolution as compiled
from mdflash.training import triton as kernels
from mdflash.training.convolution import Grid, Pairs
from mdflash.training.forces import Batch, FlashForces, Topology
from mdflash.training.graphs import GraphedForces
from tests.gpu.batches import DEVICE
from tests.training.networks import loss_gradient, small_network

FRAMES, BEADS, FEATURES = 2, 19, 40
"""Beads with more pairs than a tile has, and channels that fill one and part of another."""
GRID = Grid(0.5, 0.5, 16, 8.0)
DTYPES = [(torch.float64, 1e-12), (torch.float32, 3e-6)]


def _inputs(dtype: torch.dtype) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(5)
    first, second = torch.triu_indices(BEADS, BEADS, 2)
    some = torch.rand(len(first), generator=generator) < 0.9
    first, second = first[some], second[some]

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    d = 0.5 + 9.0 * torch.rand(FRAMES, len(first), generator=generator, dtype=torch.float64)
    d[0, :2] = torch.tensor([GRID.lower, GRID.cutoff])  # the ends of the table
    features = (FRAMES, BEADS, FEATURES)
    return {
        "first": first, "second": second, "d": d.to(dtype), "dd": normal(*d.shape),
        "table": normal(GRID.knots, 2, FEATURES), "y": normal(*features), "dy": normal(*features),
        "bar_m": normal(*features), "bar_dm": normal(*features),
    }  # fmt: skip


def _outcome(way: object, device: str, dtype: torch.dtype) -> dict[str, Tensor]:
    """What comes out of both functions, and the gradients by what goes in."""
    x = {name: value.to(device) for name, value in _inputs(dtype).items()}
    pairs = Pairs(x["first"], x["second"], BEADS)
    y, dy, d, table = (x[name].clone().requires_grad_() for name in ("y", "dy", "d", "table"))
    found = {"messages": way.Messages.apply(y, d, table.detach(), pairs, GRID)}  # type: ignore[attr-defined]
    gradients = torch.autograd.grad(found["messages"], (y, d), x["bar_m"])
    found |= dict(zip(("messages by y", "messages by d"), gradients, strict=True))
    m, dm = way.TangentMessages.apply(y, dy, table, d.detach(), x["dd"], pairs, GRID)  # type: ignore[attr-defined]
    found |= {"tangent": m, "tangent's change": dm}
    gradients = torch.autograd.grad((m, dm), (y, dy, table), (x["bar_m"], x["bar_dm"]))
    found |= dict(zip(("tangent by y", "tangent by dy", "tangent by table"), gradients, strict=True))
    return {name: value.detach().cpu().double() for name, value in found.items()}


@pytest.mark.parametrize(("dtype", "bar"), DTYPES)
def test_convolutions_are_those_of_the_cpu(dtype: torch.dtype, bar: float) -> None:
    expected = _outcome(compiled, "cpu", torch.float64)
    found = _outcome(kernels, DEVICE, dtype)
    for name, value in found.items():
        assert float((value - expected[name]).norm() / expected[name].norm()) < bar, name
    if DEVICE == "cuda":  # the interpreter runs one program after the other
        assert all(torch.equal(value, found[name]) for name, value in _outcome(kernels, DEVICE, dtype).items())


@pytest.mark.parametrize("backbone", [None, Backbone(rule="geometric", streams=2)])
def test_gradients_of_the_loss_are_those_of_the_cpu(backbone: Backbone | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mdflash.training.forces.SPACING", 0.4)  # both ways have the same coarse table
    model, topologies, batches = small_network(7, blocks=2, backbone=backbone)
    batches = [Batch(b.molecule, b.positions[:2], b.forces[:2], 10.0 * b.forces[:2, 0, 0]) for b in batches]
    components = sum(b.forces.numel() for b in batches)

    def loss(device: str, way: object) -> tuple[float, Tensor, Tensor]:
        model.to(device).zero_grad()
        there = [
            Topology(
                t.types.to(device), Pairs(t.pairs.first.to(device), t.pairs.second.to(device), t.pairs.beads),
                energy_weight=0.3,
            )
            for t in topologies
        ]  # fmt: skip
        forces = FlashForces(model, there, 0.0, 30.0, way)  # type: ignore[arg-type]
        own = [Batch(b.molecule, *(x.to(device) for x in (b.positions, b.forces, b.energies))) for b in batches]
        squares = float(forces.backward(own, components))
        return squares, loss_gradient(model).cpu(), forces.predict(1, own[1].positions).detach().cpu()

    expected, found = loss("cpu", compiled), loss(DEVICE, kernels)
    assert found[0] == pytest.approx(expected[0], rel=1e-11)
    for a, b in zip(found[1:], expected[1:], strict=True):
        assert float((a - b).norm() / b.norm()) < 1e-11


@pytest.mark.skipif(DEVICE != "cuda", reason="graphs are captured on a GPU alone")
def test_graphs_give_the_bits_of_launches_one_by_one() -> None:
    """Of steps that come again with other frames, and of other kinds of steps in between."""
    model, topologies, batches = small_network(7, blocks=2)
    model.to(DEVICE)
    there = [
        Topology(
            t.types.to(DEVICE), Pairs(t.pairs.first.to(DEVICE), t.pairs.second.to(DEVICE), t.pairs.beads),
            energy_weight=0.3,
        )
        for t in topologies
    ]  # fmt: skip
    one_by_one = FlashForces(model, there, 0.0, 30.0, kernels)
    graphed = GraphedForces(one_by_one)
    for frames, shift in ((8, 0), (8, 1), (4, 0), (8, 2), (4, 3), (8, 3)):
        own = [
            Batch(
                b.molecule, *(x[shift : shift + frames].to(DEVICE) for x in (b.positions, b.forces, b.forces[:, 0, 0]))
            )
            for b in batches
        ]
        outcomes = []
        for forces in (one_by_one, graphed):
            for p in model.parameters():
                p.grad = torch.zeros_like(p) if p.grad is None else p.grad.zero_()
            squares = forces.backward(own, 100)
            outcomes.append(torch.cat([squares[None], loss_gradient(model)]))
        assert outcomes[0].norm() > 0.0
        assert torch.equal(*outcomes)
    assert len(graphed.captured) == 2
