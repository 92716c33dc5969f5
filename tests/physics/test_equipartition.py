"""Every type of bead has its share of the kinetic energy, and every scheme the averages of its own recursion.

Frames are far apart and replicas independent: the kinetic energy of n beads is gamma-distributed with shape 3 n / 2.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from mdflash.core.state import Layout
from mdflash.integrators import INTEGRATORS
from mdflash.integrators.base import Integrator
from mdflash.integrators.langevin import LangevinMiddle
from mdflash.units import ACCELERATION, BOLTZMANN
from tests.helpers import bead_term, beads, simulate, toy, walk

N, REPLICAS, TEMPERATURE = 24, 40, 310.0
KT = BOLTZMANN * TEMPERATURE
TYPES = "ABC"
MASSES = np.tile([20.0, 110.0, 400.0], N // 3)


def test_every_type_of_bead_has_its_share() -> None:
    """Half-step velocities of langevin-middle are exact for harmonic forces at any time step."""
    system = beads("mixed", N, masses=MASSES.tolist(), types=TYPES)
    ff = toy(bead_term("bonds", "harmonic_bond", system.bonds, k=20.0, x0=3.8), types=TYPES)
    x = np.tile(walk(N, np.random.default_rng(1)), (REPLICAS, 1))
    engine = simulate(Layout((system,), (REPLICAS,)), [ff], x, LangevinMiddle(0.004, 20.0), TEMPERATURE)
    engine.run(400)
    kinetic = []
    for _ in range(40):
        engine.run(60)  # 4.8 times 1 / friction
        v2 = (engine.state.velocities.numpy().reshape(REPLICAS, N, 3) ** 2).sum(axis=2)
        kinetic.append(0.5 * MASSES * v2 / ACCELERATION)
    energy = np.concatenate(kinetic).reshape(-1, N // 3, 3)  # [frames, of a type, types]
    for k in range(3):
        share = energy[:, :, k].sum(axis=1)
        assert stats.kstest(share, stats.gamma(1.5 * N / 3, scale=KT).cdf).pvalue > 1e-3, TYPES[k]
    middle, ends = energy.reshape(-1, N)[:, 1:-1].mean(), energy.reshape(-1, N)[:, [0, -1]].mean()
    assert middle == pytest.approx(1.5 * KT, rel=0.02) and ends == pytest.approx(1.5 * KT, rel=0.05)


@pytest.mark.parametrize("kind", INTEGRATORS.values(), ids=lambda s: s.name)
def test_every_scheme_has_the_averages_of_its_discrete_dynamics(kind: type[Integrator]) -> None:
    """Whole simulations of oscillators, omega dt = 0.2 to 1, against the exact solution of the scheme's own recursion.

    x and v of a step follow from those before by a matrix A and a noise vector B, so their covariance S solves
    S = A S A^T + B B^T. For schemes without noise the energy of their own that they conserve takes its place.
    """
    import torch
    from scipy.linalg import solve_discrete_lyapunov

    mass, dt, count, replicas = 40.0, 0.01, 300, 6
    omega_dt = np.array([0.2, 0.6, 1.0])
    k = 0.5 * mass * (omega_dt / dt) ** 2 / ACCELERATION  # u = k x^2 of one bead about a heavy one
    system = beads("wells", 2 * count, bonds=False, masses=[1e9, mass] * count)
    index = np.arange(2 * count).reshape(-1, 2)
    ff = toy(bead_term("wells", "harmonic_bond", index, k=np.tile(k, count // 3), x0=0.0))
    integrator = kind.from_settings(dt, 100.0)
    engine = simulate(
        Layout((system,), (replicas,)), [ff], np.zeros((replicas * 2 * count, 3)), integrator, TEMPERATURE
    )
    if not integrator.takes_noise:
        engine.evaluate()
    engine.run(400)
    found = []
    for _ in range(30):
        engine.run(37)
        x, v = (t.numpy().reshape(replicas, count, 2, 3) for t in (engine.state.positions, engine.state.velocities))
        found.append(np.stack([x[:, :, 1] - x[:, :, 0], v[:, :, 1]]).reshape(2, replicas, count // 3, 3, 3))
    moments = np.mean(np.square(found), axis=(0, 2, 3, 5))  # [x and v, omega]
    samples = 30 * replicas * count // 3 * 3
    for w, stiffness in enumerate(2.0 * k * ACCELERATION / mass):
        thermal = np.sqrt(KT * ACCELERATION / mass)

        def step(
            x: float, v: float, noise: float, stiffness: float = stiffness, thermal: float = thermal
        ) -> list[float]:
            t = [torch.tensor(value, dtype=torch.float64) for value in (x, v, -stiffness * x, thermal, noise)]
            x1, v1 = integrator.before_force(*t)
            return [float(x1), float(integrator.after_force(v1, -stiffness * x1))]

        A, B = np.array([step(1, 0, 0), step(0, 1, 0)]).T, np.array([step(0, 0, 1)]).T
        if not integrator.takes_noise:  # start: x = 0, v thermal; averages of the ellipse x^2 a + v^2
            a = stiffness * (1.0 - stiffness * dt * dt / 4.0)
            expected = np.array([thermal**2 / 2.0 / a, thermal**2 / 2.0])
        else:
            moving = slice(None) if integrator.has_velocities else slice(1)
            S = solve_discrete_lyapunov(A[moving, moving], B[moving] @ B[moving].T)
            expected = np.diag(S)
        for value, exact in zip(moments[:, w], expected, strict=False):
            assert value == pytest.approx(exact, rel=5.0 * np.sqrt(2.0 / samples) * 2.0), (omega_dt[w], kind.name)
