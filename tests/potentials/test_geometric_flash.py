"""SchNets with a backbone on the fast path: the plain network's energies and forces, and the same bits everywhere."""

from __future__ import annotations

import numba
import numpy as np
import pytest
import torch

from mdflash.errors import ForceFieldError
from mdflash.potentials.backbones.residual import PreNorm
from mdflash.potentials.schnet.tabulated import FlashSchNet, take_networks
from mdflash.testing import BUDGETS, check_potential
from tests.potentials.random_schnet import random_batch
from tests.potentials.rules import IN_NETWORKS, has_twin
from tests.potentials.test_geometric import random_network

KNOWN = [name for name, options in IN_NETWORKS.items() if has_twin(options)]


@pytest.mark.parametrize("precision", ["fp64", "fp32"])
@pytest.mark.parametrize("rule", KNOWN)
def test_conforms(rule: str, precision: str) -> None:
    network = random_network(21, 3, IN_NETWORKS[rule], features=40)
    layout, potential, x = random_batch([network, None], (14, 6), (2, 1), 21)
    # tables keep their promise on chains, not on the crowd of the kit; the rules are what is tested here
    flash = FlashSchNet.of(potential, layout, precision, tolerance=BUDGETS[precision].force / 20)  # type: ignore[arg-type]
    check_potential(flash, layout, x, budget=BUDGETS[precision], reference=potential)


@pytest.mark.parametrize("depth", [8, pytest.param(32, marks=pytest.mark.slow)])
@pytest.mark.parametrize("rule", KNOWN)
def test_deep_networks(rule: str, depth: int) -> None:
    network = random_network(22, depth, IN_NETWORKS[rule])
    layout, potential, x = random_batch([network], (9,), (1,), 22)
    flash = FlashSchNet.of(potential, layout, "fp64")
    check_potential(flash, layout, x, budget=BUDGETS["fp64"], reference=potential)


@pytest.mark.parametrize("rule", ["geometric-4", "delta-4", "tied-accumulated"])
def test_same_bits_alone_and_together(rule: str) -> None:
    """A replica large enough for all threads, by one thread and by two; and beside another."""
    network = random_network(23, 2, IN_NETWORKS[rule])
    layout, potential, x = random_batch([network], (70,), (1,), 23)
    both, twice, _ = random_batch([network], (70,), (3,), 23)
    flash = FlashSchNet.of(potential, layout, "fp32")
    most = numba.get_num_threads()
    results = []
    for threads in (1, most):
        numba.set_num_threads(threads)
        results.append(flash.energy_and_forces(x, layout, None))
    numba.set_num_threads(most)
    crowd = FlashSchNet.of(twice, both, "fp32").energy_and_forces(x.repeat(3, 1), both, None)
    assert torch.equal(results[0].forces, results[1].forces)
    assert torch.equal(results[0].energy, results[1].energy)
    for r in range(3):
        assert torch.equal(crowd.forces[both.rows(r)], results[0].forces)
    assert np.isfinite(float(results[0].energy[0]))


def test_a_rule_without_a_twin_is_left_to_torch_with_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    network = random_network(24, 2, {"rule": "prenorm"})
    layout, potential, x = random_batch([network], (9,), (1,), 24)
    monkeypatch.setattr(PreNorm, "parts", lambda self: None)
    found = take_networks([potential], layout, "fp32", x)
    assert found.networks is None and found.rest == (potential,)
    assert "'prenorm' has no compiled twin" in found.notes[0]
    with pytest.raises(ForceFieldError, match="no compiled twin"):
        take_networks([potential], layout, "fp32", x, "table")
