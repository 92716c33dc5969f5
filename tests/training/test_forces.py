"""The compiled way to the forces and their gradient, against the network as it stands and autograd twice."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from mdflash.potentials.backbones.backbone import Backbone
from mdflash.potentials.schnet.network import SchNet
from mdflash.training.forces import Batch, FlashForces, Forces, PlainForces, Topology
from mdflash.training.learned_torsions import Torsions
from tests.training.networks import loss_gradient, small_network, with_energies

BACKBONES: tuple[dict[str, object], ...] = (
    {"rule": "plain"},
    {"rule": "prenorm", "tied": True},
    {"rule": "hyper", "streams": 3},
    {"rule": "hyper", "streams": 2, "mixing": "sinkhorn"},
    {"rule": "delta", "streams": 2},
    {"rule": "geometric", "streams": 4, "accumulate": True},
    {"rule": "mgt"},
)


def _fast(model: SchNet, topologies: list[Topology]) -> FlashForces:
    return FlashForces(model, topologies, 0.0, 30.0)


@pytest.mark.parametrize(
    "hyper",
    [
        {},
        {"activation": "silu", "basis": "gaussian", "filter_bias": True},
        {"activation": "shifted_softplus", "basis_envelope": "quintic", "filter_envelope": "quintic", "blocks": 1},
        *({"backbone": Backbone(**options)} for options in BACKBONES),
    ],
)
def test_forces_and_gradients_agree(hyper: dict[str, object]) -> None:
    model, topologies, batches = small_network(7, **hyper)
    plain, fast = PlainForces(model, topologies), _fast(model, topologies)
    components = sum(b.forces.numel() for b in batches)
    for batch in batches:
        expected = plain.predict(batch.molecule, batch.positions)
        assert (fast.predict(batch.molecule, batch.positions) - expected).norm() < 1e-4 * expected.norm()
    found = []
    for forces in (plain, fast):
        model.zero_grad()
        squares = float(forces.backward(batches, components))
        found.append((squares, loss_gradient(model)))
    (a, expected), (b, gradient) = found
    assert b == pytest.approx(a, rel=1e-5)
    assert (gradient - expected).norm() < 1e-3 * expected.norm()
    for p, q in zip(
        expected.split([p.numel() for p in model.parameters()]),
        gradient.split([p.numel() for p in model.parameters()]),
        strict=True,
    ):  # every weight on its own, so that a small one cannot hide
        assert (p - q).norm() <= 5e-3 * p.norm() + 1e-9


def _outcome(
    forces: Forces, model: SchNet, coefficients: torch.Tensor, batches: list[Batch]
) -> tuple[float, torch.Tensor, torch.Tensor]:
    """Squares, and the gradients of weights and of torsions' coefficients [K, degree, 2] (0 where there is none)."""
    model.zero_grad()
    coefficients.grad = None
    squares = float(forces.backward(batches, sum(b.forces.numel() for b in batches)))
    gradient = torch.zeros_like(coefficients) if coefficients.grad is None else coefficients.grad
    return squares, loss_gradient(model), gradient.clone()


def test_torsions_that_learn_agree() -> None:
    """Their coefficients, some of which two torsions share, have the same gradient both ways, that of the loss."""
    model, topologies, batches = small_network(13)
    coefficients = torch.randn(3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    coefficients.requires_grad_()
    chosen = (torch.tensor([[0, 1, 2, 3], [1, 2, 3, 4]]), torch.tensor([[2, 3, 4, 5], [3, 0, 7, 8], [4, 5, 6, 7]]))
    rows = (torch.tensor([0, 1]), torch.tensor([1, 2, 1]))
    topologies = [
        dataclasses.replace(t, added=Torsions(coefficients, beads, row))
        for t, beads, row in zip(topologies, chosen, rows, strict=True)
    ]
    plain, fast = PlainForces(model, topologies), _fast(model, topologies)
    components = sum(b.forces.numel() for b in batches)
    found = [_outcome(forces, model, coefficients, batches) for forces in (plain, fast)]
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    for a, b in zip(found[0][1:], found[1][1:], strict=True):
        assert a.norm() > 0
        assert (a - b).norm() < 1e-3 * a.norm()
    step = 1e-5
    values = []
    for sign in (1.0, -1.0):
        with torch.no_grad():
            coefficients[1, 1, 0] += sign * step
            values.append(
                sum(float((plain.predict(b.molecule, b.positions) - b.forces).square().sum()) for b in batches)
            )
            coefficients[1, 1, 0] -= sign * step
    slope = (values[0] - values[1]) / (2 * step) / components
    assert slope == pytest.approx(float(found[0][2][1, 1, 0]), rel=1e-6)


@pytest.mark.parametrize("torsions", [False, True])
def test_energies_add_to_the_loss(torsions: bool) -> None:
    """The same gradient both ways, that of the loss: squares of forces and, weighed, of energies from their mean."""
    model, topologies, batches = small_network(19)
    topologies, batches = [dataclasses.replace(t, energy_weight=0.3) for t in topologies], with_energies(batches)
    coefficients = torch.randn(2, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    if torsions:
        coefficients.requires_grad_()
        own = Torsions(coefficients, torch.tensor([[0, 1, 2, 3], [1, 2, 3, 4]]), torch.tensor([0, 1]))
        topologies = [dataclasses.replace(t, added=own) for t in topologies]
    plain, fast = PlainForces(model, topologies), _fast(model, topologies)
    components = sum(b.forces.numel() for b in batches)
    found = [_outcome(forces, model, coefficients, batches) for forces in (plain, fast)]
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)  # of forces alone
    assert (found[0][1] - found[1][1]).norm() < 1e-3 * found[0][1].norm()
    if torsions:
        assert (found[0][2] - found[1][2]).norm() < 1e-3 * found[0][2].norm()

    def loss() -> float:
        total = 0.0
        for b in batches:
            n, pairs = b.positions.shape[1], topologies[b.molecule].pairs
            total += float((plain.predict(b.molecule, b.positions) - b.forces).square().sum())
            energies = []
            for x in b.positions:
                d = x[pairs.second] - x[pairs.first]
                near = d.norm(dim=-1) < model.hyper.cutoff
                types = topologies[b.molecule].types
                energies.append(model(d[near], types, pairs.first[near], pairs.second[near]).sum())
            off = torch.stack(energies) - b.energies
            if torsions:
                off = off + own.energies(b.positions)
            total += 0.3 * 3 * n * float((off - off.mean()).square().sum())
        return total / components

    checked = [(model.embedding, model.embedding.grad), (coefficients, found[1][2])][: 1 + torsions]
    for parameter, gradient in checked:
        k, step, values = 1, 1e-5, []
        for sign in (1.0, -1.0):
            with torch.no_grad():
                parameter.view(-1)[k] += sign * step
                values.append(loss())
                parameter.view(-1)[k] -= sign * step
        assert (values[0] - values[1]) / (2 * step) == pytest.approx(float(gradient.view(-1)[k]), rel=1e-3)


def test_error_of_the_tables_falls_with_their_spacing(monkeypatch: pytest.MonkeyPatch) -> None:
    model, topologies, batches = small_network(3)
    exact = PlainForces(model, topologies).predict(0, batches[0].positions)
    errors = []
    for spacing in (0.04, 0.02, 0.01):
        monkeypatch.setattr("mdflash.training.forces.SPACING", spacing)
        errors.append(float((_fast(model, topologies).predict(0, batches[0].positions) - exact).norm()))
    assert errors[0] > errors[1] > errors[2]
    assert errors[0] / errors[2] > 4.0**2  # second order at least, in spite of the kink at the cutoff


def test_gradient_is_that_of_the_loss() -> None:
    """Against a finite difference of the loss of the compiled forces themselves."""
    model, topologies, batches = small_network(11)
    fast = _fast(model, topologies)
    components = sum(b.forces.numel() for b in batches)

    def loss() -> float:
        return (
            sum(float((fast.predict(b.molecule, b.positions) - b.forces).square().sum()) for b in batches) / components
        )

    model.zero_grad()
    fast.backward(batches, components)
    gradient = loss_gradient(model)
    direction = torch.randn(gradient.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    step = 1e-5
    values = []
    for sign in (1.0, -1.0):
        begin = 0
        with torch.no_grad():
            for p in model.parameters():
                p += sign * step * direction[begin : begin + p.numel()].view_as(p)
                begin += p.numel()
        values.append(loss())
        begin = 0
        with torch.no_grad():
            for p in model.parameters():
                p -= sign * step * direction[begin : begin + p.numel()].view_as(p)
                begin += p.numel()
    assert (values[0] - values[1]) / (2 * step) == pytest.approx(float(gradient @ direction), rel=1e-4)


def test_a_frame_gives_the_same_forces_in_any_batch() -> None:
    model, topologies, batches = small_network(5)
    fast, x = _fast(model, topologies), batches[1].positions
    alone = torch.cat([fast.predict(1, x[k : k + 1]) for k in range(len(x))])
    torch.testing.assert_close(fast.predict(1, x), alone, rtol=1e-12, atol=1e-12)
