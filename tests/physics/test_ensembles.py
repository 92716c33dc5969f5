"""The release gate: long simulations sample the distributions of statistical mechanics, and NVE conserves energy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import optimize, stats

from mdflash.core.geometry import bond_angles, distances, torsions
from mdflash.core.state import Layout
from mdflash.engine.engine import Engine
from mdflash.forcefields.forcefield import load_forcefield
from mdflash.integrators.base import Integrator
from mdflash.integrators.langevin import LangevinBAOAB, LangevinMiddle
from mdflash.integrators.verlet import Verlet
from mdflash.units import BOLTZMANN
from tests.helpers import bead_term, beads, simulate, toy

pytestmark = pytest.mark.slow

TEMPERATURE = 310.0
KT = BOLTZMANN * TEMPERATURE
SCHEMES = [LangevinMiddle(0.004, 3.0), LangevinBAOAB(0.004, 3.0)]


def chignolin(replicas: int, integrator: Integrator, temperature: float, seed: int = 2026, **options: object) -> Engine:
    ff = load_forcefield(Path(__file__).parents[2] / "forcefields" / "go-chignolin")
    system, start = ff.system()
    assert start is not None
    layout = Layout((system,), (replicas,))
    return simulate(layout, [ff], np.tile(start[0], (replicas, 1)), integrator, temperature, seed=seed, **options)  # type: ignore[arg-type]


def frames(simulation: Engine, count: int, every: int, skip: int) -> np.ndarray:
    """[count, B, 3] positions, every so many steps."""
    simulation.run(skip)
    found = []
    for _ in range(count):
        simulation.run(every)
        found.append(simulation.state.positions.numpy().copy())
    return np.stack(found)


def check_distribution(
    samples: np.ndarray, density: Callable[[np.ndarray], np.ndarray], low: float, high: float
) -> None:
    """Chi-square of samples [time, molecules] against an unnormalised density, in equally likely bins."""
    fine = np.linspace(low, high, 20_001)
    cumulative = np.concatenate([[0], np.cumsum((density(fine)[1:] + density(fine)[:-1]) / 2)])
    cumulative /= cumulative[-1]
    edges = np.interp(np.linspace(0, 1, 21), cumulative, fine)
    edges[0], edges[-1] = -np.inf, np.inf
    bins = np.searchsorted(edges, samples) - 1
    for b in (0, 7, 13):  # the test below is for independent samples
        inside = (bins == b) - 1 / 20
        assert abs((inside[1:] * inside[:-1]).mean() / (inside**2).mean()) < 0.04
    counts = np.bincount(bins.ravel(), minlength=20)
    assert stats.chisquare(counts).pvalue > 1e-3, counts / counts.mean()


def molecules(order: int, count: int) -> np.ndarray:
    """[count, order] the beads of many small molecules in one system."""
    return np.arange(order * count).reshape(count, order)


ZIGZAG = np.array([[0.0, 0.0, 0.0], [3.0, 2.3, 0.0], [6.0, 0.0, 0.0], [9.0, 2.3, 1.0]])


@pytest.mark.parametrize("integrator", SCHEMES, ids=lambda s: s.name)
def test_a_torsion_samples_its_boltzmann_distribution(integrator: Integrator) -> None:
    """p(phi) ~ exp(-u(phi)/kT), three wells of different depth; bonds and angles do not change it."""
    count = 300
    index = molecules(4, count)
    k1, k2 = [0.3, -0.2, 0.1], [0.2, 0.25, 0.5]
    ff = toy(
        bead_term("bonds", "harmonic_bond", np.concatenate([index[:, k : k + 2] for k in range(3)]), k=50.0, x0=3.8),
        bead_term("angles", "harmonic_angle", np.concatenate([index[:, k : k + 3] for k in (0, 1)]), k=20.0, x0=1.8),
        bead_term("torsion", "fourier_dihedral", index, v0=0.0, k1=np.tile(k1, (count, 1)), k2=np.tile(k2, (count, 1))),
    )
    layout = Layout((beads("torsions", 4 * count, bonds=False, masses=20.0),), (2,))
    simulation = simulate(layout, [ff], np.tile(ZIGZAG, (2 * count, 1)), integrator, TEMPERATURE)
    x = frames(simulation, 50, 4000, 8000).reshape(50, 2 * count, 4, 3)
    phi = torsions(x, np.array([[0, 1, 2, 3]]))[..., 0]

    def density(phi: np.ndarray) -> np.ndarray:
        n = np.arange(1, 4)[:, None]
        u = (np.array(k1)[:, None] * np.sin(n * phi) + np.array(k2)[:, None] * np.cos(n * phi)).sum(0)
        return np.exp(-u / KT)

    check_distribution(phi, density, -np.pi, np.pi)


@pytest.mark.parametrize("integrator", SCHEMES, ids=lambda s: s.name)
def test_a_double_well_and_a_bond_sample_theirs(integrator: Integrator) -> None:
    """An angle with two wells, p ~ sin(theta) exp(-u/kT), and its bonds, p ~ r^2 exp(-u/kT)."""
    count = 300
    index = molecules(3, count)
    # 14 ((theta - 1.9)^2 - 0.25)^2 expanded; wells at 1.4 and 2.4, barrier 0.9 kcal/mol, tilted by 0.3 theta
    well = 14.0 * np.polynomial.polynomial.polypow([1.9**2 - 0.25, -3.8, 1.0], 2) + np.array([0, 0.3, 0, 0, 0])
    ff = toy(
        bead_term("bonds", "harmonic_bond", np.concatenate([index[:, :2], index[:, 1:]]), k=20.0, x0=3.8),
        bead_term("well", "polynomial_angle", index, v0=well[0], ks=np.tile(well[1:], (count, 1))),
    )
    layout = Layout((beads("angles", 3 * count, bonds=False, masses=20.0),), (2,))
    simulation = simulate(layout, [ff], np.tile(ZIGZAG[:3], (2 * count, 1)), integrator, TEMPERATURE)
    x = frames(simulation, 60, 2000, 5000).reshape(60, 2 * count, 3, 3)
    theta = bond_angles(x, np.array([[0, 1, 2]]))[..., 0]
    check_distribution(theta, lambda q: np.sin(q) * np.exp(-np.polynomial.polynomial.polyval(q, well) / KT), 0.2, 3.1)
    r = distances(x, np.array([[0, 1]]))[..., 0]
    check_distribution(r, lambda q: q**2 * np.exp(-20.0 * (q - 3.8) ** 2 / KT), 2.8, 4.8)


def test_kinetic_energy_of_chignolin_is_canonical() -> None:
    """Half-step kinetic energies follow a gamma distribution of 3N/2 degrees of freedom."""
    simulation = chignolin(40, LangevinMiddle(0.004, 20.0), TEMPERATURE)
    simulation.run(5000)
    kinetic = []
    for _ in range(400):
        simulation.run(100)
        kinetic.append(simulation.kinetic_energy())
    kinetic = np.array(kinetic)  # [time, replicas]
    centered = kinetic - kinetic.mean()
    assert abs((centered[1:] * centered[:-1]).mean() / centered.var()) < 0.03
    n = simulation.layout.systems[0].n_beads
    expected = stats.gamma(1.5 * n, scale=KT)
    counts, _ = np.histogram(expected.cdf(kinetic), bins=20, range=(0, 1))
    assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("integrator", SCHEMES, ids=lambda s: s.name)
def test_energies_of_chignolin_at_two_temperatures_overlap_as_boltzmann_factors(integrator: Integrator) -> None:
    """ln P(E|T2)/P(E|T1) is a line of slope beta1 - beta2 (Shirts, J. Chem. Theory Comput. 9, 909 (2013)).

    The slope by maximum likelihood, its error by bootstrap over independent replicas.
    """
    low, high, replicas = 400.0, 470.0, 48
    energies = []
    for temperature, seed in ((low, 1), (high, 2)):
        simulation = chignolin(replicas, integrator, temperature, seed=seed)
        simulation.run(20_000)
        kept = []
        for _ in range(500):
            simulation.run(250)
            kept.append(simulation.state.energy.numpy().copy())
        energies.append(np.array(kept).T)  # [replicas, time]

    def slope(cold: np.ndarray, hot: np.ndarray) -> float:
        center = np.concatenate([cold.ravel(), hot.ravel()]).mean()

        def loss(p: np.ndarray) -> float:
            a, b = p
            return float(
                np.logaddexp(0, a + b * (cold - center)).mean() + np.logaddexp(0, -a - b * (hot - center)).mean()
            )

        return float(optimize.minimize(loss, [0.0, 0.0], tol=1e-10).x[1])

    rng = np.random.default_rng(3)
    found = slope(*energies)
    resampled = [slope(*(e[rng.integers(0, replicas, replicas)] for e in energies)) for _ in range(60)]
    expected = 1 / (BOLTZMANN * low) - 1 / (BOLTZMANN * high)
    error = float(np.std(resampled))
    assert error < 0.15 * expected  # the test can tell
    assert abs(found - expected) < 3 * error, (found, expected, error)


def test_nve_of_chignolin_conserves_energy() -> None:
    """A nanosecond without drift, in and out of the folded state."""
    simulation = chignolin(8, LangevinMiddle(0.004, 1.0), 350.0)
    simulation.run(5000)
    dt = 0.002
    nve = chignolin(8, Verlet(dt), 350.0, draw=False)
    nve.state.positions.copy_(simulation.state.positions)
    nve.state.velocities.copy_(simulation.state.velocities)
    nve.evaluate()
    total = []
    for _ in range(500):
        total.append(nve.state.energy.numpy() + nve.kinetic_energy())
        nve.run(1000)
    total = np.array(total)  # [time, replicas]
    time = np.arange(len(total)) * 1000 * dt * 1e-3  # ns
    drift = np.polyfit(time, total, 1)[0]  # kcal/mol/ns of each replica
    beads_ = nve.layout.systems[0].n_beads
    assert np.abs(drift).max() / beads_ / (BOLTZMANN * 350) < 1e-3  # kT per bead and nanosecond
    assert total.std(axis=0).max() < 0.02 * KT * beads_
