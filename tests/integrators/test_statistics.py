"""Whole simulations in the compiled loop: temperatures and fluctuations of harmonic oscillators, energy conservation.

A bond of rest length 0 is three harmonic oscillators; every pair of beads is a molecule's own. Time steps are large
(omega dt up to 1), so that a scheme with the usual error of order (omega dt)^2 would fail by a third.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mdflash.core.state import Layout
from mdflash.integrators.base import Integrator
from mdflash.integrators.brownian import Brownian
from mdflash.integrators.langevin import LangevinBAOAB, LangevinMiddle
from mdflash.integrators.verlet import Verlet
from mdflash.units import ACCELERATION, BOLTZMANN
from tests.helpers import bead_term, beads, go_helix, helix, simulate, toy

PAIRS, MASS, TEMPERATURE, STEP = 200, 50.0, 320.0, 0.01
KT = BOLTZMANN * TEMPERATURE


def oscillators(integrator: Integrator, k: np.ndarray, steps: int, every: int) -> tuple[np.ndarray, np.ndarray]:
    """[PAIRS] mean square component of the separation of each pair, and [2] of all velocities; k in kcal/mol/Å²."""
    system = beads("oscillators", 2 * PAIRS, bonds=False, masses=MASS)
    index = np.arange(2 * PAIRS).reshape(-1, 2)
    rng = np.random.default_rng(4)
    ff = toy(bead_term("bonds", "harmonic_bond", index, k=k, x0=0.0))
    replicas = 4
    layout = Layout((system,), (replicas,))
    start = rng.normal(size=(replicas, PAIRS, 2, 3)) * np.sqrt(KT / k / 4)[:, None, None]
    simulation = simulate(layout, [ff], start, integrator, TEMPERATURE)
    simulation.run(20 * every)
    d2, v2 = np.zeros(PAIRS), []
    for _ in range(steps // every):
        simulation.run(every)
        x = simulation.state.positions.numpy().reshape(replicas, PAIRS, 2, 3)
        d2 += ((x[:, :, 1] - x[:, :, 0]) ** 2).mean(axis=(0, 2)) / (steps // every)
        v2.append((simulation.state.velocities.numpy() ** 2).mean())
    return d2, np.array(v2)


@pytest.mark.parametrize("integrator", [LangevinMiddle(STEP, 10.0), LangevinBAOAB(STEP, 10.0)], ids=lambda s: s.name)
def test_langevin_at_large_time_steps(integrator: Integrator) -> None:
    omega = np.linspace(10, 100, PAIRS)  # of the reduced mass, 1/ps
    k = 0.5 * (MASS / 2) * omega**2 / ACCELERATION
    d2, v2 = oscillators(integrator, k, 12_000, 50)
    samples = 4 * 3 * 12_000 / 50 / 1.5  # a correlation time below 50 steps
    ratio = d2 / (KT / (2 * k))
    assert np.abs(ratio - 1).max() < 5.5 * np.sqrt(2 / samples)
    # the mean over stiff and over soft wells: 0.5 % resolve an error of (omega dt)^2 / 4
    assert abs(ratio[: PAIRS // 2].mean() - 1) < 0.01
    assert abs(ratio[PAIRS // 2 :].mean() - 1) < 0.01
    expected = KT * ACCELERATION / MASS
    if integrator.name == "langevin-baoab":  # half of the motion is the pairs' centers, which are free
        expected *= 1 - ((omega * STEP) ** 2 / 4).mean() / 2
    assert v2.mean() == pytest.approx(expected, rel=5e-3)


def test_brownian() -> None:
    gamma = 100.0
    k = np.linspace(5, 20, PAIRS)  # relaxation rate 2k ACC/(gamma m/2)
    d2, v2 = oscillators(Brownian(STEP, gamma), k, 4_000, 30)
    rate = 2 * k * ACCELERATION / (gamma * MASS / 2)
    expected = KT / (2 * k) / (1 - rate * STEP / 2)
    ratio = d2 / expected
    assert abs(ratio.mean() - 1) < 0.01
    assert np.ptp(v2) == 0.0  # velocities are left alone


def test_free_beads_diffuse_as_einstein_says() -> None:
    """<(x(t) - x(0))^2> = 2 D t a component with D = kT / (gamma m), for Brownian and Langevin motion."""
    system, ff = beads("gas", 2000, bonds=False, masses=MASS), toy(types="A")
    for integrator, relaxed in ((Brownian(0.05, 5.0), 0.0), (LangevinMiddle(0.05, 5.0), 1 / 5.0)):
        simulation = simulate(Layout((system,), (2,)), [ff], np.zeros((2, 2000, 3)), integrator, TEMPERATURE)
        simulation.run(1000)
        diffusion = KT * ACCELERATION / MASS / 5.0
        # Langevin from equilibrium: 2 D (t - (1 - exp(-gamma t)) / gamma)
        expected = 2 * diffusion * (simulation.time - relaxed)
        # 12,000 coordinates: 1.3 % of statistical error
        assert (simulation.state.positions.numpy() ** 2).mean() == pytest.approx(expected, rel=0.05)


def test_verlet_conserves_energy_to_second_order() -> None:
    """Bonded, torsional, contact and neighbor forces together: the error of the energy falls as dt²."""
    system, ff = go_helix(16)
    fluctuation = []
    for dt in (0.004, 0.002, 0.001):
        layout = Layout((system,), (2,))
        simulation = simulate(layout, [ff], np.tile(helix(16), (2, 1)), Verlet(dt), 250.0, seed=5)
        simulation.evaluate()
        total = []
        for _ in range(200):
            total.append(simulation.state.energy.numpy() + simulation.kinetic_energy())
            simulation.run(round(0.02 / dt))
        total = np.array(total)
        fluctuation.append(total.std(axis=0))
        assert abs(total[100:].mean() - total[:100].mean()) < 0.2 * total.std()  # no drift
    for coarse, fine in itertools.pairwise(fluctuation):
        assert np.all((coarse / fine > 3.5) & (coarse / fine < 4.6)), fluctuation
