"""The SchNet reference: its equations, gradients, exclusions and hyper-parameters."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from mdflash.core.state import Layout
from mdflash.core.system import System
from mdflash.errors import ForceFieldError
from mdflash.forcefields.build import build_potential
from mdflash.forcefields.model import BeadType, ForceField, Network
from mdflash.forcefields.networks import load_schnet, schnet_weights
from mdflash.neighbors.reference import all_pairs
from mdflash.potentials.schnet.network import Hyperparameters, SchNet

SMALL = Hyperparameters(
    cutoff=8.0, types=4, features=6, filters=5, blocks=2, basis_size=7, filter_hidden=(9,), output=(4,)
)


def make(hyper: Hyperparameters, seed: int = 0) -> Network:
    torch.manual_seed(seed)
    model = SchNet(hyper).double()
    for p in model.parameters():
        p.data += 0.1 * torch.randn_like(p)  # so that biases count
    return Network("SchNet", "schnet", hyper.to_dict(), schnet_weights(model))


def forcefield(network: Network) -> ForceField:
    return ForceField("ff", tuple(BeadType(t, i) for i, t in enumerate("ABCD")), networks=(network,))


def molecule(rng: np.random.Generator, n: int, **interactions: list[list[int]]) -> System:
    return System(
        name=f"m{n}",
        types=tuple(rng.choice(list("ABCD"), n).tolist()),
        bead_names=("CA",) * n,
        residue_index=np.arange(n),
        residue_names=("UNK",) * n,
        residue_ids=tuple(range(n)),
        chain_ids=("A",) * n,
        masses=np.full(n, 12.0),
        bonds=np.array([[i, i + 1] for i in range(n - 1)]),
        interactions={k: np.array(v) for k, v in interactions.items()},
    )


def evaluate(ff: ForceField, layout: Layout, x: torch.Tensor, box: tuple[float, float, float] | None = None):
    potential = build_potential([ff] * len(layout.systems), layout)
    assert potential.cutoff is not None
    return potential.energy_and_forces(x, layout, all_pairs(x, layout, potential.cutoff + 1.0, box))


def plain_energy(network: Network, types: np.ndarray, x: np.ndarray, excluded: set[tuple[int, int]]) -> float:
    """The module's equations once more, bead by bead, in NumPy."""
    hyper, w = Hyperparameters.from_dict(network.hyperparameters), network.weights
    n, rc = len(x), hyper.cutoff
    feature = [w["embedding"][t] for t in types]
    for b in range(hyper.blocks):
        message = [np.zeros(hyper.filters) for _ in range(n)]
        for i in range(n):
            for j in range(n):
                d = np.linalg.norm(x[i] - x[j])
                if i == j or d >= rc or (min(i, j), max(i, j)) in excluded:
                    continue
                envelope = 0.5 * (1 + math.cos(math.pi * d / rc))
                s = math.exp(-5.0 / rc * d) if hyper.basis == "expnormal" else d
                e = envelope * np.exp(-w["basis.gamma"] * (s - w["basis.centers"]) ** 2)
                hidden = np.tanh(w[f"blocks.{b}.filter.0.weight"] @ e + w[f"blocks.{b}.filter.0.bias"])
                filt = envelope * (w[f"blocks.{b}.filter.1.weight"] @ hidden)
                message[i] = message[i] + (w[f"blocks.{b}.input.weight"] @ feature[j]) * filt
        for i in range(n):
            u = np.tanh(w[f"blocks.{b}.update.0.weight"] @ message[i] + w[f"blocks.{b}.update.0.bias"])
            feature[i] = feature[i] + w[f"blocks.{b}.update.1.weight"] @ u + w[f"blocks.{b}.update.1.bias"]
    total = 0.0
    for i in range(n):
        hidden = np.tanh(w["output.0.weight"] @ feature[i] + w["output.0.bias"])
        total += float((w["output.1.weight"] @ hidden)[0])
    return total


@pytest.mark.parametrize("basis", ["expnormal", "gaussian"])
def test_against_the_equations_bead_by_bead(basis: str) -> None:
    rng = np.random.default_rng(2)
    network = make(dataclasses.replace(SMALL, basis=basis, exclude_bonds=1, exclude_interactions=("far",)))
    ff = forcefield(network)
    systems = (molecule(rng, 9, far=[[0, 5], [7, 2]]), molecule(rng, 6))
    layout = Layout(systems, (2, 1))
    x = torch.from_numpy(rng.normal(size=(layout.n_beads, 3)) * 4)
    energy, _ = evaluate(ff, layout, x)
    for r in range(3):
        system = systems[layout.system_of_replica[r]]
        excluded = {(i, i + 1) for i in range(8)} | ({(0, 5), (2, 7)} if system.n_beads == 9 else set())
        expected = plain_energy(network, ff.type_indices(system), x[layout.rows(r)].numpy(), excluded)
        assert float(energy[r]) == pytest.approx(expected, rel=1e-12)


def test_forces_are_the_gradient_also_across_the_cutoff() -> None:
    """The derivative of the envelope is part of it: kernels that drop it heat a simulation."""
    rng = np.random.default_rng(4)
    ff, layout = forcefield(make(SMALL)), Layout((molecule(rng, 12),), (1,))
    x = torch.from_numpy(rng.normal(size=(12, 3)) * 4)
    forces = evaluate(ff, layout, x).forces
    distances = torch.pdist(x)
    assert (distances < 8).any() and (distances > 8).any()
    h = 1e-4
    for bead in range(0, 12, 3):
        for axis in range(3):
            shifts = []
            for k in (-2, -1, 1, 2):
                moved = x.clone()
                moved[bead, axis] += k * h
                shifts.append(float(evaluate(ff, layout, moved).energy[0]))
            slope = (shifts[0] - 8 * shifts[1] + 8 * shifts[2] - shifts[3]) / (12 * h)
            assert abs(slope + float(forces[bead, axis])) <= 1e-8 * (1 + abs(slope))


def test_energy_and_force_vanish_smoothly_at_the_cutoff() -> None:
    rng = np.random.default_rng(0)
    ff, layout = forcefield(make(SMALL)), Layout((molecule(rng, 2),), (1,))

    def at(d: float):
        return evaluate(ff, layout, torch.tensor([[0.0, 0, 0], [d, 0, 0]], dtype=torch.float64))

    apart = at(20.0)
    assert at(8.0).energy == apart.energy and not at(8.0).forces.any()  # strictly d < rc
    assert abs(float(at(8.0 - 1e-6).energy - apart.energy)) < 1e-12
    assert at(8.0 - 1e-6).forces.abs().max() < 1e-6
    assert at(5.0).forces.abs().max() > 1e-3


def test_symmetries() -> None:
    rng = np.random.default_rng(8)
    ff, system = forcefield(make(SMALL)), molecule(rng, 10)
    layout = Layout((system,), (1,))
    x = torch.from_numpy(rng.normal(size=(10, 3)) * 4)
    energy, forces = evaluate(ff, layout, x)
    rotation = torch.linalg.qr(torch.from_numpy(rng.normal(size=(3, 3)))).Q
    turned = evaluate(ff, layout, x @ rotation.T + 7.0)
    assert torch.allclose(turned.energy, energy, rtol=1e-12)
    assert torch.allclose(turned.forces, forces @ rotation.T, rtol=0, atol=1e-11)
    order = rng.permutation(10)
    swapped = dataclasses.replace(system, types=tuple(system.types[i] for i in order))
    permuted = evaluate(ff, Layout((swapped,), (1,)), x[order])
    assert torch.allclose(permuted.energy, energy, rtol=1e-12)
    assert torch.allclose(permuted.forces, forces[order], rtol=0, atol=1e-12)


def test_periodic_box_uses_the_nearest_image() -> None:
    rng = np.random.default_rng(6)
    ff, layout, box = forcefield(make(SMALL)), Layout((molecule(rng, 8),), (1,)), (18.0, 19.0, 20.0)
    x = torch.from_numpy(rng.uniform(0, 18, (8, 3)))
    images = x + torch.from_numpy(rng.integers(-3, 4, (8, 3)) * np.array(box))
    one, other = evaluate(ff, layout, x, box), evaluate(ff, layout, images, box)
    assert torch.allclose(one.energy, other.energy, rtol=1e-11)
    assert torch.allclose(one.forces, other.forces, rtol=0, atol=1e-10)
    assert not torch.allclose(one.energy, evaluate(ff, layout, x).energy)


def test_it_can_be_trained() -> None:
    torch.manual_seed(0)
    model = SchNet(SMALL)
    first, second = torch.triu_indices(6, 6, offset=1)
    x = 3 * torch.randn(6, 3)
    energy = model(x[second] - x[first], torch.arange(6) % 4, first, second).sum()
    energy.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_hyperparameters_round_trip_through_the_dict() -> None:
    hyper = dataclasses.replace(
        SMALL, basis_alpha=0.25, lower=1.5, filter_cutoff=7.5, output=(), exclude_bonds=2, exclude_interactions=("a",)
    )
    assert Hyperparameters.from_dict(hyper.to_dict()) == hyper
    assert hyper.to_dict()["cutoff"] == "8.0 angstrom"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cutoff": 8.0}, "'cutoff'.*no unit"),
        ({"cutoff": "8 fs"}, "'cutoff'.*unknown unit"),
        ({"width": 3}, "unknown hyper-parameter 'width'"),
        ({"features": "6"}, "'features'.*expected int"),
        ({"features": True}, "'features'.*expected int"),
        ({"activation": "swish"}, "unknown activation 'swish'; known: tanh"),
        ({"basis": "bessel"}, "unknown basis"),
        ({"output": 4}, "'output'.*expected a list"),
        ({"blocks": 0}, "blocks must be more than 0"),
        ({"features": 7}, r"'embedding' must have shape \[4, 7\], found \[4, 6\]"),
    ],
)
def test_wrong_hyperparameters_are_named(change: dict[str, object], message: str) -> None:
    network = make(SMALL)
    wrong = dataclasses.replace(network, hyperparameters={**network.hyperparameters, **change})
    with pytest.raises(ForceFieldError, match=message):
        load_schnet(wrong)


def test_wrong_weights_are_named() -> None:
    network = make(SMALL)
    weights = dict(network.weights)
    del weights["output.0.bias"]
    with pytest.raises(ForceFieldError, match=r"lacks the weight 'output\.0\.bias'"):
        load_schnet(dataclasses.replace(network, weights=weights))
    with pytest.raises(ForceFieldError, match="unknown weight 'extra'"):
        load_schnet(dataclasses.replace(network, weights={**network.weights, "extra": np.ones(1)}))
    bad = {**network.weights, "embedding": np.full((4, 6), np.nan)}
    with pytest.raises(ForceFieldError, match="'embedding' must hold finite numbers"):
        load_schnet(dataclasses.replace(network, weights=bad))


def test_a_type_beyond_the_embedding_is_named() -> None:
    ff = dataclasses.replace(forcefield(make(SMALL)), bead_types=(BeadType("A", 0), BeadType("B", 4)))
    system = dataclasses.replace(molecule(np.random.default_rng(0), 2), types=("A", "B"))
    with pytest.raises(ForceFieldError, match=r"bead types 0 to 3, but UNK 1 CA \(bead 1\) has type 'B' with index 4"):
        build_potential([ff], Layout((system,), (1,)))
