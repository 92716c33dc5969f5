"""Residual rules: physics at every depth, the limits that algebra promises, exactness of the mixing, smooth forces."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from mdflash.errors import ForceFieldError
from mdflash.forcefields.model import Network
from mdflash.forcefields.networks import load_schnet, schnet_weights
from mdflash.neighbors.reference import all_pairs
from mdflash.potentials.backbones.backbone import Backbone, ResidualStack
from mdflash.potentials.backbones.delta import delta
from mdflash.potentials.backbones.hyper_connections import HyperConnection
from mdflash.potentials.backbones.mixing import permutation_matrices, permutation_mixing, sinkhorn_mixing
from mdflash.potentials.backbones.parts import StreamMaps
from mdflash.potentials.backbones.residual import Connection, PreNorm
from mdflash.potentials.schnet.network import Hyperparameters, SchNet
from mdflash.potentials.schnet.tables import filter_tables
from mdflash.testing import Budget, check_potential
from tests.potentials.random_schnet import random_batch, random_schnet
from tests.potentials.rules import IN_NETWORKS


def random_network(seed: int, depth: int, backbone: dict[str, Any], **hyper: Any) -> SchNet:
    """A network whose maps are random too, so that every part of a rule is at work."""
    share = min(1.0, (8.0 / depth) ** 0.5)
    sizes = {"features": 12, "filters": 10, "output": (12,), "filter_hidden": (12,), "cutoff": 8.0}
    network = random_schnet(seed, blocks=depth, backbone=Backbone(**backbone), **{**sizes, **hyper})
    with torch.no_grad():
        assert network.residual is not None
        for name, parameter in network.residual.named_parameters():
            spread = 0.3 if name.endswith("scale") or "gate" in name or "bias" in name else 0.03
            parameter.add_(torch.randn_like(parameter) * spread * share)
    return network


BUDGET = Budget(step=5e-5, gradient=1e-8, symmetry=1e-8, force=1e-8, energy=1e-8)


@pytest.mark.parametrize("depth", [2, 32, pytest.param(128, marks=pytest.mark.slow)])
@pytest.mark.parametrize("rule", IN_NETWORKS)
def test_conforms_at_every_depth(rule: str, depth: int) -> None:
    """Finite differences, rotation, translation, permutation, replicas, the cutoff: to 1e-8 in float64."""
    # a deep network that starts to erase much is chaotic: finite differences of it say nothing at any step
    backbone = {"branch_scale": "depth", **IN_NETWORKS[rule]} | (
        {} if depth < 128 else {"beta": 2.0 / depth, "epsilon": 5.0}
    )
    network = random_network(depth, depth, backbone)
    # plain torch takes replicas one by one, so that two of a deep network take twice as long and show no more
    layout, potential, x = random_batch([network], (6,), (2 if depth == 2 else 1,), depth)
    check_potential(potential, layout, x, budget=BUDGET)


@pytest.mark.parametrize("rule", IN_NETWORKS)
def test_folder_round_trip(rule: str) -> None:
    """What a force field folder keeps of a backbone gives the same network again."""
    network = random_network(5, 3, IN_NETWORKS[rule])
    stored = Network("schnet", "schnet", network.hyper.to_dict(), schnet_weights(network))
    again = load_schnet(stored)
    assert again.hyper == network.hyper
    layout, potential, x = random_batch([network], (9,), (1,), 1)
    _, other, _ = random_batch([again], (9,), (1,), 1)
    pairs = all_pairs(x, layout, potential.cutoff)
    for a, b in zip(
        potential.energy_and_forces(x, layout, pairs), other.energy_and_forces(x, layout, pairs), strict=True
    ):
        assert torch.equal(a, b)


def test_tables_of_weights_stored_in_float64() -> None:
    """A loaded network has the precision of its file, and its constants follow."""
    network = random_network(6, 2, IN_NETWORKS["hyper-4"])
    loaded = load_schnet(Network("schnet", "schnet", network.hyper.to_dict(), schnet_weights(network)))
    assert loaded.embedding.dtype == torch.float64
    assert filter_tables(loaded, 1e-4).force_error < 1e-4


def _branch(seed: int, features: int) -> Any:
    torch.manual_seed(seed)
    mix = torch.randn(features, features, dtype=torch.float64) / features**0.5
    return lambda c: torch.tanh(c @ mix)


def _randomised(connection: Connection) -> Any:
    connection = connection.double()
    with torch.no_grad():
        for parameter in connection.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return connection


def test_no_erasing_is_a_hyper_connection() -> None:
    torch.manual_seed(3)
    state = torch.randn(7, 4, 10, dtype=torch.float64)
    geometric = _randomised(Backbone(rule="geometric", streams=4).connection(10, 6))
    with torch.no_grad():
        geometric.gate.bias.fill_(-torch.inf)  # beta is exactly 0
    hyper = HyperConnection(geometric.maps, None).double()
    hyper.scale = geometric.scale
    assert torch.equal(geometric(state, _branch(1, 10)), hyper(state, _branch(1, 10)))


def test_one_stream_is_prenorm() -> None:
    """A single stream cannot mix; what is left of its maps are gates, at first 1."""
    torch.manual_seed(4)
    state = torch.randn(7, 1, 10, dtype=torch.float64)
    for mixing in ("permutation", "sinkhorn", "identity"):
        connection = HyperConnection(StreamMaps(1, 10, mixing, 20), 0.5).double()
        with torch.no_grad():
            connection.maps.scale.zero_()
        expected = PreNorm(0.5).double()(state, _branch(2, 10))
        assert (
            connection(state, _branch(2, 10)) - expected
        ).abs().max() < 1e-5  # rms_norm twice, each with its epsilon


def test_identity_mixing_keeps_streams_apart() -> None:
    torch.manual_seed(5)
    state = torch.randn(7, 3, 10, dtype=torch.float64)
    connection = _randomised(Backbone(rule="hyper", streams=3, mixing="identity").connection(10, 4))
    assert torch.equal(connection(state, torch.zeros_like), state)


def test_plain_backbone_is_schnet() -> None:
    plain = random_schnet(6, blocks=3)
    backbone = random_schnet(6, blocks=3, backbone=Backbone(rule="plain", branch_scale="one"))
    backbone.load_state_dict(plain.state_dict())
    _, _, x = random_batch([plain], (12,), (1,), 2)
    first, second = torch.triu_indices(12, 12, 1)
    types = torch.arange(12) % 7
    assert torch.equal(
        plain(x[second] - x[first], types, first, second), backbone(x[second] - x[first], types, first, second)
    )


def test_delta_spectrum() -> None:
    """beta = 1 projects k out, 2 reflects, and any beta leaves what is across k."""
    torch.manual_seed(7)
    k = torch.nn.functional.normalize(torch.randn(5, 8, dtype=torch.float64), dim=-1)
    across = torch.randn(5, 3, 8, dtype=torch.float64)
    across -= torch.einsum("bnh,bh->bn", across, k)[:, :, None] * k[:, None]
    for beta in (0.0, 0.7, 1.0, 2.0):
        gates = torch.full((5,), beta, dtype=torch.float64)
        assert (delta(across, k, gates) - across).abs().max() < 1e-14
        assert (delta(k[:, None], k, gates) - (1.0 - beta) * k[:, None]).abs().max() < 1e-14


@pytest.mark.parametrize("n", [2, 3, 4])
@pytest.mark.parametrize("spread", [1.0, 4.0, 10.0])
def test_permutation_mixing_is_exact(n: int, spread: float) -> None:
    matrices = permutation_matrices(n)
    logits = spread * torch.from_numpy(np.random.default_rng(n).normal(size=(200, len(matrices))))
    m = permutation_mixing(logits, matrices)
    assert (m >= 0).all()
    assert (m.sum(-1) - 1).abs().max() < 1e-12
    assert (m.sum(-2) - 1).abs().max() < 1e-12


def test_sinkhorn_mixing_converges() -> None:
    """Rows are exact, columns as stated: a few 1e-4 after 20 rounds at spread 1, and better with more."""
    logits = torch.from_numpy(np.random.default_rng(1).normal(size=(1000, 4, 4)))
    errors = []
    for iterations in (5, 20, 80):
        m = sinkhorn_mixing(logits, iterations)
        assert (m.sum(-1) - 1).abs().max() < 1e-12
        errors.append(float((m.sum(-2) - 1).abs().max()))
    assert errors[1] < 2e-3
    assert errors[0] > errors[1] > errors[2]
    shifted = sinkhorn_mixing(logits + 300.0, 20)
    assert (shifted - sinkhorn_mixing(logits, 20)).abs().max() < 1e-12


def _stiffest(network: SchNet) -> float:
    """The largest |dF/dr| of two beads while the one leaves the other's cutoff, per largest |F|."""
    hyper = network.hyper
    r = torch.linspace(0.75, 1.0, 400, dtype=torch.float64) * hyper.cutoff
    types = torch.tensor([0, 1]).repeat(len(r))
    first, second = torch.arange(2 * len(r)).view(-1, 2).T  # a pair at each distance
    x = torch.nn.functional.pad(r[:, None], (0, 2)).requires_grad_()
    energy = network(x, types, first, second).sum()
    f = torch.autograd.grad(energy, x)[0][:, 0].numpy()
    return float(np.abs(np.diff(f) / np.diff(r.numpy())).max() / np.abs(f).max())


@pytest.mark.parametrize("rule", ["prenorm", "hyper-4", "delta", "geometric-4", "mgt"])
def test_no_stiff_shell_at_the_cutoff(rule: str) -> None:
    """A message that fades must not turn its direction around: less than 3 times as stiff as the plain rule."""
    hyper: dict[str, Any] = {"filter_envelope": "quintic", "basis_envelope": "none", "features": 16, "filters": 16}
    hyper |= {"types": 2}

    def untrained(backbone: dict[str, Any]) -> SchNet:
        """As initialized, biases 0: the hard case, where a lone bead hears nothing at all."""
        sizes = {"output": (16,), "filter_hidden": (16,), "basis_size": 12, "cutoff": 8.0, "blocks": 4}
        torch.manual_seed(8)
        return SchNet(Hyperparameters(backbone=Backbone(**backbone), **{**hyper, **sizes})).double()

    assert _stiffest(untrained(IN_NETWORKS[rule])) < 3.0 * _stiffest(untrained({"rule": "plain"}))
    if rule == "delta":  # and the test sees it where the direction is hard, as published
        assert _stiffest(untrained({"rule": "delta", "epsilon": 1e-3})) > 3.0 * _stiffest(untrained({"rule": "plain"}))


def test_gradient_of_the_embedding_does_not_explode() -> None:
    """Pre-norm with 1/sqrt(L): within 10 times from 4 to 100 blocks at the start of training."""
    grown = []
    for depth in (4, 32, 100):
        torch.manual_seed(9)
        stack = ResidualStack(Backbone(rule="prenorm"), 16, depth).double()
        x = torch.randn(20, 16, dtype=torch.float64, requires_grad=True)
        branch = _branch(3, 16)
        stack(x, lambda _, c, branch=branch: branch(c)).square().mul(torch.arange(16)).sum().backward()
        assert x.grad is not None
        grown.append(float(x.grad.norm()))
    assert max(grown) < 10.0 * min(grown)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"rule": "resnet"}, "known: plain, prenorm"),
        ({"rule": "prenorm", "streams": 4}, "4 streams"),
        ({"rule": "hyper", "streams": 5}, "mixing: sinkhorn"),
        ({"rule": "delta", "beta": 2.0}, "beta: 0.1"),
        ({"rule": "geometric", "stream": 2}, "unknown key 'stream'"),
        ({"rule": "geometric", "tied": 1}, "'tied' takes a bool"),
        ({"rule": "geometric", "streams": True}, "'streams' takes a int"),
        (["geometric"], "rule: geometric"),
    ],
)
def test_wrong_backbones_are_named(wrong: object, named: str) -> None:
    with pytest.raises(ForceFieldError, match="backbone: ") as error:
        Backbone.from_dict(wrong)
    assert named in str(error.value)
