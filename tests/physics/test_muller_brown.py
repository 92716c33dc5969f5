"""Free energies over two variables by metadynamics, OPES and umbrella windows, against the exact Müller-Brown surface.

Lengths are stated; errors are root mean squares over places up to 4 kcal/mol (7 kT) above the lowest. What limits the
scaled bias of metadynamics is how fast it is filled: with hills of 0.1 kcal/mol, everything else as here, it is off by
0.12 kcal/mol after 300 ps.
"""

from __future__ import annotations

import numpy as np
import pytest

from mdflash.analysis.reweight import log_mixture, mbar, weights
from mdflash.engine.engine import Engine
from mdflash.potentials.bias.bias import Bias
from mdflash.potentials.bias.metadynamics import Metadynamics
from mdflash.potentials.bias.opes import Opes
from mdflash.potentials.bias.pack import PackedBiases
from tests.physics.muller_brown import BASINS, ENDS, KT, VARIABLES, axes, exact, off, simulation

TOP, WIDTH, POINTS = 4.0, 0.3, (236, 241)


def sampled(engine: Engine, packed: PackedBiases, count: int, every: int = 50) -> tuple[np.ndarray, np.ndarray]:
    """Values [count, R, variables] and bias energies, measured before the hill of their step."""
    found = []
    for _ in range(count):
        engine.run(every - 1)
        found.append(np.stack(packed.measure(engine.state.positions.numpy())))
        engine.run(1)
    q, v = np.stack(found, axis=1)
    return q, v


@pytest.mark.slow
def test_metadynamics() -> None:
    """32 walkers, 300 ps each, hills of 0.02 kcal/mol every 0.5 ps: the scaled bias."""
    bias: list[Metadynamics] = []

    def make(layout: object) -> list[Metadynamics]:
        bias.append(Metadynamics("m", axes(POINTS), layout, [WIDTH, WIDTH], 0.02, 10.0, 50, KT))  # type: ignore[arg-type]
        return bias

    engine = simulation(np.resize(BASINS, (32, 2)), make)
    engine.run(30_000)
    (grown,) = bias
    true = exact(*np.meshgrid(*(a.nodes for a in grown.axes), indexing="ij"))
    low = true < true.min() + TOP
    assert (grown.free_energies()[0] - true)[low].std() < 0.1


@pytest.mark.slow
def test_opes() -> None:
    """32 walkers, 600 ps each: frames reweighted by exp(V / kT), after the first fifth."""
    bias: list[Opes] = []

    def make(layout: object) -> list[Opes]:
        bias.append(Opes("o", axes(POINTS), layout, [WIDTH, WIDTH], 8.0, 50, KT))  # type: ignore[arg-type]
        return bias

    engine = simulation(np.resize(BASINS, (32, 2)), make)
    engine.run(12_000)
    q, v = sampled(engine, PackedBiases(bias, engine.layout), 960)
    r, s = q.reshape(-1, 2).T
    error, seen = off(r, s, np.exp(v[..., 0].ravel() / KT), TOP)
    assert seen == 1.0 and error < 0.1


@pytest.mark.slow
def test_umbrella_windows() -> None:
    """Harmonic windows in both distances wherever the energy is below 7 kcal/mol, 2 replicas each, 200 ps: MBAR."""
    r, s = (g.ravel() for g in np.meshgrid(*(np.arange(*ends, 0.9) for ends in ENDS), indexing="ij"))
    low = exact(r, s) < exact(r, s).min() + 7.0
    centers = np.tile(np.stack([r[low], s[low]], axis=1), (2, 1))
    constant, bias = 2.0, []

    def make(layout: object) -> list[Bias]:
        for k, variable in enumerate(VARIABLES):
            bias.append(Bias("rs"[k], variable, layout, constant, centers[:, k].tolist()))  # type: ignore[arg-type]
        return bias

    engine = simulation((centers - [14.0, 9.0]) / 3.0, make)
    engine.run(2_000)
    q, _ = sampled(engine, PackedBiases(bias, engine.layout), 900, 20)
    k = int(low.sum())
    states = np.tile(np.arange(len(centers)) % k, len(q))
    x = q.reshape(-1, 2)
    reduced = 0.5 * constant * ((x[None] - centers[:k, None]) ** 2).sum(axis=-1) / KT
    counts = np.bincount(states, minlength=k).astype(np.float64)
    free = mbar(reduced, counts)
    error, seen = off(x[:, 0], x[:, 1], weights(np.zeros(len(x)), log_mixture(reduced, counts, free)), TOP, 28)
    assert seen == 1.0 and error < 0.1
