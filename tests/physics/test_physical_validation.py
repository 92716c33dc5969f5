"""`physical_validation` looks at whole simulations: kinetic energy, two temperatures, order of the integrator.

Merz & Shirts, PLoS ONE 13, e0202764 (2018). A Gō helix with a SchNet, by the reference and by the compiled kernels in
every precision, and on a GPU where there is one. Replicas are independent, and frames far apart.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from mdflash.core.state import Layout
from mdflash.engine.engine import Engine
from mdflash.integrators.base import Integrator
from mdflash.integrators.langevin import LangevinMiddle
from mdflash.integrators.verlet import Verlet
from mdflash.potentials.schnet.potential import SchNetPotential
from mdflash.units import BOLTZMANN
from tests.helpers import go_helix, helix, simulate
from tests.potentials.random_schnet import random_schnet

pv = pytest.importorskip("physical_validation", reason="needs physical_validation (pip install 'mdflash[dev]')")

pytestmark = pytest.mark.slow

N, LOW, HIGH = 12, 300.0, 340.0
SYSTEM, GO = go_helix(N, epsilon=0.4)
NETWORK = random_schnet(8, features=16, filters=16, blocks=1, output=(16,), cutoff=8.0)
NETWORK.output[-1].weight.mul_(5.0)
TYPES = np.random.default_rng(9).integers(NETWORK.hyper.types, size=N)
UNITS = pv.data.UnitData(
    kb=BOLTZMANN, energy_conversion=4.184, length_conversion=0.1, volume_conversion=1e-3, temperature_conversion=1.0,
    pressure_conversion=1.0, time_conversion=1.0, energy_str="kcal/mol", length_str="A", time_str="ps",
)  # fmt: skip
QUANTILES = 3.5
"""Standard errors; a temperature that is wrong by a tenth is farther off."""
WAYS: dict[str, dict[str, Any]] = {
    "reference": {"kernels": "reference", "precision": "fp64"},
    **{precision: {"precision": precision} for precision in ("fp64", "fp32", "mixed16")},
    **{
        f"GPU {precision}": {"precision": precision, "gpu": torch.device("cuda", 0)}
        for precision in ("fp64", "fp32", "mixed16")
        if torch.cuda.is_available()
    },
}


def start(replicas: int, scheme: Integrator, temperature: float, seed: int, **options: Any) -> Engine:
    extra = [SchNetPotential("schnet", [NETWORK], [TYPES], [np.zeros((0, 2), np.int64)])]
    x = np.tile(helix(N), (replicas, 1))
    return simulate(Layout((SYSTEM,), (replicas,)), [GO], x, scheme, temperature, extra=extra, seed=seed, **options)


def sample(temperature: float, seed: int, replicas: int, frames: int, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    """Potential and kinetic energies, 1.2 ps apart."""
    engine = start(replicas, LangevinMiddle(0.006, 5.0), temperature, seed, **options)
    engine.run(2000)
    potential, kinetic = [], []
    for _ in range(frames):
        engine.run(200)
        potential.append(engine.state.energy.numpy().copy())
        kinetic.append(engine.kinetic_energy())
    return np.concatenate(potential), np.concatenate(kinetic)


def described(temperature: float, potential: np.ndarray, kinetic: np.ndarray) -> Any:
    molecule = pv.data.SystemData(
        natoms=N, nconstraints=0, ndof_reduction_tra=0, ndof_reduction_rot=0, mass=SYSTEM.masses,
        molecule_idx=[0], nconstraints_per_molecule=[0],
    )  # fmt: skip
    return pv.data.SimulationData(
        units=UNITS, dt=0.006, system=molecule,
        ensemble=pv.data.EnsembleData("NVT", natoms=N, volume=1.0, temperature=temperature),
        observables=pv.data.ObservableData(
            kinetic_energy=kinetic, potential_energy=potential, total_energy=kinetic + potential
        ),
    )  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_kinetic_energy_and_two_temperatures(way: str) -> None:
    """Gamma-distributed kinetic energies, and energies at two temperatures that differ by the Boltzmann factor."""
    size = (16, 60) if way == "reference" else (64, 60)
    cold, hot = (sample(t, seed, *size, **WAYS[way]) for t, seed in ((LOW, 1), (HIGH, 2)))
    for temperature, energies in ((LOW, cold), (HIGH, hot)):
        found = described(temperature, *energies)
        p = pv.kinetic_energy.distribution(found, strict=True, verbosity=0, data_is_uncorrelated=True, bootstrap_seed=1)
        assert p > 1e-3, (temperature, p)

    def off(temperature: float) -> float:
        (quantiles,) = pv.ensemble.check(
            described(LOW, *cold), described(temperature, *hot), verbosity=0, data_is_uncorrelated=True,
            bootstrap_seed=1,
        )  # fmt: skip
        return float(quantiles)

    assert abs(off(HIGH)) < QUANTILES
    if way != "reference":
        assert abs(off(HIGH + 0.4 * (HIGH - LOW))) > QUANTILES  # it can tell


@pytest.mark.parametrize("way", WAYS)
def test_the_error_of_a_symplectic_step_is_of_second_order(way: str) -> None:
    """Fluctuations of the energy at constant energy fall as dt^2, network and all."""
    runs = []
    for dt in (0.004, 0.002, 0.001):
        engine = start(4, Verlet(dt), 200.0, 5, **WAYS[way])
        engine.evaluate()
        total = []
        for _ in range(150):
            engine.run(round(0.02 / dt))
            total.append((engine.state.energy.numpy() + engine.kinetic_energy()).sum())
        observables = pv.data.ObservableData(constant_of_motion=np.array(total))
        runs.append(pv.data.SimulationData(units=UNITS, dt=dt, observables=observables))
    assert pv.integrator.convergence(runs, verbose=False) < 0.25
