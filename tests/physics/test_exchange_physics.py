"""Replica exchange samples, at every temperature, the distribution of that temperature alone.

Ladders are independent of each other, so one sample of each gives independent samples.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from mdflash.core.state import Layout
from mdflash.engine.engine import Engine
from mdflash.engine.exchange.permute import Scheme
from mdflash.engine.exchange.replica_exchange import ReplicaExchange
from mdflash.forcefields.forcefield import load_forcefield
from mdflash.integrators.base import Integrator
from mdflash.integrators.langevin import LangevinBAOAB, LangevinMiddle
from mdflash.units import ACCELERATION, BOLTZMANN
from tests.helpers import bead_term, beads, go_helix, helix, simulate, toy

MASS = 20.0
BARRIER, TILT = 4.0, 0.3
LADDER = (300.0, 380.0, 480.0, 610.0, 780.0, 1000.0)
"""A double well in a torsion: U = BARRIER/2 (1 - cos 2 phi) + TILT cos phi of four beads on springs.

Its deep minimum is at pi, the shallow one at 0. phi is distributed as exp(-U/kT), whatever bonds and angles do.
"""


def cdf(temperature: float, phi: np.ndarray) -> np.ndarray:
    """Of phi in (-pi, pi), exact."""
    grid = np.linspace(-np.pi, np.pi, 20_001)
    energy = BARRIER / 2 * (1 - np.cos(2 * grid)) + TILT * np.cos(grid)
    density = np.exp(-energy / (BOLTZMANN * temperature))
    return np.asarray(np.interp(phi, grid, np.cumsum(density) / density.sum()))


def torsion(x: np.ndarray) -> np.ndarray:
    """[R] of positions [R, 4, 3]."""
    b = np.diff(x, axis=1)
    n1, n2 = np.cross(b[:, 0], b[:, 1]), np.cross(b[:, 1], b[:, 2])
    along = (b[:, 0] * n2).sum(-1) * np.linalg.norm(b[:, 1], axis=-1)
    return np.arctan2(along, (n1 * n2).sum(-1))


def double_wells(ladders: int, scheme: Scheme, integrator: Integrator, exchanging: bool = True) -> Engine:
    """Everything starts in the shallow well, which cold replicas alone would not leave."""
    n = ladders * len(LADDER)
    ff = toy(
        bead_term("bonds", "harmonic_bond", [[0, 1], [1, 2], [2, 3]], k=20.0, x0=3.8),
        bead_term("angles", "harmonic_angle", [[0, 1, 2], [1, 2, 3]], k=30.0, x0=1.9),
        bead_term("torsion", "fourier_dihedral", [[0, 1, 2, 3]], v0=BARRIER / 2, k1=[[0.0, 0.0]],
                  k2=[[TILT, -BARRIER / 2]]),
    )  # fmt: skip
    layout = Layout((beads("torsion", 4, masses=MASS),), (n,))
    exchange = ReplicaExchange(layout, LADDER, 20, scheme)
    c, s = 3.8 * np.cos(1.9), 3.8 * np.sin(1.9)
    cis = np.array([[c, s, 0.0], [0.0, 0.0, 0.0], [3.8, 0.0, 0.0], [3.8 - c, s, 0.0]])
    return simulate(
        layout, [ff], np.tile(cis, (n, 1)), integrator, exchange.start_temperatures.tolist(), seed=77,
        exchange=exchange if exchanging else None,
    )  # fmt: skip


def check_double_wells(simulation: Engine) -> None:
    """Torsions, and velocities straight after an attempt, when they have just been scaled."""
    temperature = simulation.state.temperature.numpy()
    phi = torsion(simulation.state.positions.view(-1, 4, 3).numpy())
    v = simulation.state.velocities.view(-1, 4, 3).numpy()
    for t in LADDER:
        mine = temperature == t
        assert stats.kstest(phi[mine], lambda at, t=t: cdf(t, at)).pvalue > 0.01, f"torsion at {t} K"
        if simulation.integrator.name == "langevin-middle":  # whose velocities are exact in a harmonic well
            reduced = v[mine] / np.sqrt(BOLTZMANN * t * ACCELERATION / MASS)
            assert stats.kstest(reduced.ravel(), "norm").pvalue > 0.01, f"velocities at {t} K"


def test_double_well_short() -> None:
    """100 torsions and 1,200 velocities at each of 6 temperatures."""
    simulation = double_wells(100, "neighbors", LangevinMiddle(0.01, 0.5))
    simulation.run(8000)
    check_double_wells(simulation)
    alone = double_wells(30, "neighbors", LangevinMiddle(0.01, 0.5), exchanging=False)
    alone.run(8000)
    with pytest.raises(AssertionError, match=r"torsion at 300\.0 K"):  # so exchange was needed
        check_double_wells(alone)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["neighbors", "gibbs"])
@pytest.mark.parametrize("integrator", [LangevinMiddle(0.01, 0.5), LangevinBAOAB(0.01, 0.5)], ids=lambda s: s.name)
def test_double_well(scheme: Scheme, integrator: Integrator) -> None:
    """400 torsions and 4,800 velocities at each of 6 temperatures."""
    simulation = double_wells(400, scheme, integrator)
    simulation.run(10_000)
    check_double_wells(simulation)


def compare_with_single_temperatures(
    make: Engine, single: Engine, temperatures: tuple[float, ...], warm_up: int, every: int, count: int
) -> None:
    """Potential energies of both at each temperature: two-sample Kolmogorov-Smirnov."""

    def sample(simulation: Engine) -> dict[float, np.ndarray]:
        simulation.run(warm_up)
        found: dict[float, list[np.ndarray]] = {t: [] for t in temperatures}
        for _ in range(count):
            simulation.run(every)
            for t in temperatures:
                found[t].append(simulation.state.energy[simulation.state.temperature == t].numpy().copy())
        return {t: np.concatenate(e) for t, e in found.items()}

    together, alone = sample(make), sample(single)
    for t in temperatures:
        assert stats.ks_2samp(together[t], alone[t]).pvalue > 0.01, f"energies at {t} K"
    # the test can tell: neighboring temperatures are different
    for low, high in pairwise(temperatures):
        assert stats.ks_2samp(together[low], alone[high]).pvalue < 1e-4


def test_go_helix_short() -> None:
    """4 temperatures, 50 ladders, 6 samples each 2 ps apart: 300 energies at each temperature."""
    system, ff = go_helix(8, epsilon=0.4)
    temperatures = (300.0, 350.0, 415.0, 490.0)

    def start(exchanging: bool) -> Engine:
        layout = Layout((system,), (200,))
        exchange = ReplicaExchange(layout, temperatures, 50)
        return simulate(
            layout, [ff], np.tile(helix(8), (200, 1)), LangevinMiddle(0.01, 2.0), exchange.start_temperatures.tolist(),
            exchange=exchange if exchanging else None, seed=3 if exchanging else 4,
        )  # fmt: skip

    compare_with_single_temperatures(start(True), start(False), temperatures, 2000, 200, 6)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["neighbors", "gibbs"])
def test_go_chignolin(scheme: Scheme) -> None:
    """4 temperatures around folding, 32 ladders, 10 samples each 0.1 ns apart (correlation < 0.1): 320 of each."""
    ff = load_forcefield(Path(__file__).parents[2] / "forcefields" / "go-chignolin")
    system, native = ff.system()
    assert native is not None
    temperatures = (310.0, 345.0, 385.0, 430.0)

    def start(exchanging: bool) -> Engine:
        layout = Layout((system,), (128,))
        exchange = ReplicaExchange(layout, temperatures, 100, scheme)
        return simulate(
            layout, [ff], np.tile(native[0], (128, 1)), LangevinMiddle(0.01, 1.0),
            exchange.start_temperatures.tolist(), exchange=exchange if exchanging else None, seed=5,
        )  # fmt: skip

    compare_with_single_temperatures(start(True), start(False), temperatures, 20_000, 10_000, 10)
