"""Impulses of the network at every second or third step sample what forces at every step do."""

from __future__ import annotations

import numpy as np
import pytest

from mdflash.core.geometry import distances
from mdflash.core.state import Layout
from mdflash.integrators.base import Integrator
from mdflash.integrators.langevin import LangevinBAOAB, LangevinMiddle
from mdflash.potentials.schnet.potential import SchNetPotential
from tests.helpers import go_helix, helix, simulate
from tests.potentials.random_schnet import random_schnet

N, TEMPERATURE = 12, 300.0
SYSTEM, GO = go_helix(N, epsilon=0.4)
NETWORK = random_schnet(8, features=16, filters=16, blocks=1, output=(16,), cutoff=8.0)
NETWORK.output[-1].weight.mul_(20.0)  # pulls several kcal/mol/Å
TYPES = np.random.default_rng(9).integers(NETWORK.hyper.types, size=N)
BETWEEN = 12
"""Steps between two samples: a multiple of every k."""
LIMIT = 4.0
"""Standard errors; ten numbers are compared at a time."""


def averages(scheme: Integrator, every: int, replicas: int, samples: int, network: bool = True) -> np.ndarray:
    """[replicas, observables] means over time of energy, radius of gyration, two distances, kinetic energy."""
    silent = [np.zeros((0, 2), np.int64)]
    extra = [SchNetPotential("schnet", [NETWORK], [TYPES], silent)] if network else []
    engine = simulate(
        Layout((SYSTEM,), (replicas,)), [GO], np.tile(helix(N), (replicas, 1)), scheme, TEMPERATURE, extra=extra,
        network_every=every, seed=100 + every,
    )  # fmt: skip
    engine.run(samples * BETWEEN // 5 // BETWEEN * BETWEEN)
    total = np.zeros((replicas, 5))
    for _ in range(samples):
        engine.run(BETWEEN)
        x = engine.state.positions.numpy().reshape(replicas, N, 3)
        radius = np.sqrt(x.var(axis=1).sum(axis=1))
        ends = distances(x, np.array([[0, N - 1], [2, 6]]))
        total += np.column_stack([engine.state.energy.numpy(), radius, ends, engine.kinetic_energy()])
    return total / samples


def standard_scores(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Differences of the means of independent replicas, in their standard errors."""
    error = np.sqrt(a.var(axis=0, ddof=1) / len(a) + b.var(axis=0, ddof=1) / len(b))
    return np.abs(a.mean(axis=0) - b.mean(axis=0)) / error


def compare(scheme: Integrator, replicas: int, samples: int) -> None:
    """k = 2 and 3 against 1; that the same test sees the network taken away shows that it can tell."""
    once = averages(scheme, 1, replicas, samples)
    for every in (2, 3):
        scores = standard_scores(averages(scheme, every, replicas, samples), once)
        assert scores.max() < LIMIT, (every, scores)
    without = averages(scheme, 1, replicas, samples, network=False)
    assert standard_scores(without, once)[1:4].max() > LIMIT


def test_averages_are_those_of_every_step() -> None:
    compare(LangevinMiddle(0.003, 3.0), 24, 400)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", [LangevinMiddle(0.003, 3.0), LangevinBAOAB(0.003, 3.0)], ids=lambda s: s.name)
def test_averages_of_long_runs_are_those_of_every_step(scheme: Integrator) -> None:
    compare(scheme, 96, 4000)
