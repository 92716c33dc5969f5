"""SchNets with a backbone on the fast path: the plain network's energies and forces, and the same bits everywhere."""

from __future__ import annotations

import numba
import numpy as np
import pytest
import torch

from mdflash.potentials.schnet.tabulated import FlashSchNet
from mdflash.testing import BUDGETS, check_potential
from tests.potentials.random_schnet import random_batch
from tests.potentials.test_geometric import RULES, random_network

KNOWN = sorted(RULES)


@pytest.mark.parametrize("precision", ["fp64", "fp32"])
@pytest.mark.parametrize("rule", KNOWN)
def test_conforms(rule: str, precision: str) -> None:
    network = random_network(21, 3, RULES[rule], features=40)
    layout, potential, x = random_batch([network, None], (14, 6), (2, 1), 21)
    # tables keep their promise on chains, not on the crowd of the kit; the rules are what is tested here
    flash = FlashSchNet.of(potential, layout, precision, tolerance=BUDGETS[precision].force / 20)  # type: ignore[arg-type]
    check_potential(flash, layout, x, budget=BUDGETS[precision], reference=potential)


@pytest.mark.parametrize("depth", [8, pytest.param(32, marks=pytest.mark.slow)])
@pytest.mark.parametrize("rule", KNOWN)
def test_deep_networks(rule: str, depth: int) -> None:
    network = random_network(22, depth, {"branch_scale": "depth", **RULES[rule]})
    layout, potential, x = random_batch([network], (9,), (1,), 22)
    flash = FlashSchNet.of(potential, layout, "fp64")
    check_potential(flash, layout, x, budget=BUDGETS["fp64"], reference=potential)


@pytest.mark.parametrize("rule", ["geometric", "delta-expanded", "tied-accumulated"])
def test_same_bits_alone_and_together(rule: str) -> None:
    """A replica large enough for all threads, by one thread and by two; and beside another."""
    network = random_network(23, 2, RULES[rule])
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
