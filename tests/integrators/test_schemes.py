"""Every scheme: compiled against reference step, against other engines, and its exact stationary distribution."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

import mdflash
from mdflash.compiled.noise import normals
from mdflash.compiled.philox import LANGEVIN
from mdflash.config.load import load_run
from mdflash.config.schema import Dynamics
from mdflash.core.state import Layout
from mdflash.errors import InputError
from mdflash.integrators import INTEGRATORS
from mdflash.integrators.base import DRIFT, FLUCTUATE, KICK, Integrator, Part, WithFriction
from mdflash.integrators.brownian import Brownian
from mdflash.integrators.cpu import after_force, before_force, scheme
from mdflash.integrators.langevin import LangevinBAOAB, LangevinMiddle
from mdflash.integrators.verlet import Verlet
from mdflash.runs.prepare import make_integrator
from mdflash.units import ACCELERATION, BOLTZMANN
from tests.helpers import bead_term, beads, simulate, toy

SCHEMES = [scheme.from_settings(0.004, 20.0) for scheme in INTEGRATORS.values()]
SEED, REPLICA = 99, 12


@pytest.mark.parametrize("integrator", SCHEMES, ids=lambda s: s.name)
def test_compiled_step_is_the_reference_step(integrator: Integrator) -> None:
    rng = np.random.default_rng(3)
    n, kT, step = 37, 0.55, 2**32 + 5
    mass = rng.uniform(1, 200, n)
    x, v, f, g = (rng.normal(size=(n, 3)) * scale for scale in (10.0, 2.0, 30.0, 30.0))
    noise = torch.from_numpy(normals(SEED, REPLICA, step, n, LANGEVIN))
    m = torch.from_numpy(mass)[:, None]
    thermal = torch.sqrt(kT * ACCELERATION / m)
    x1, v1 = integrator.before_force(
        torch.from_numpy(x.copy()), torch.from_numpy(v.copy()), torch.from_numpy(f) * ACCELERATION / m, thermal, noise
    )
    v2 = integrator.after_force(v1, torch.from_numpy(g) * ACCELERATION / m)

    s = scheme(integrator, False)
    before_force(s, x, v, f, mass, kT, SEED, REPLICA, step)
    np.testing.assert_allclose(x, x1.numpy(), rtol=1e-14, atol=1e-14)
    np.testing.assert_allclose(v, v1.numpy(), rtol=1e-14, atol=1e-14)
    after_force(s, v, g, mass)
    np.testing.assert_allclose(v, v2.numpy(), rtol=1e-14, atol=1e-14)


def test_baoab_reproduces_mlcg(reference_dir: Path) -> None:
    """Five steps of four replicas of chignolin, with mlcg's forces and recorded noise."""
    data = np.load(reference_dir / "langevin_cln_ca_5steps.npz")
    masses = torch.from_numpy(data["masses"] * 418.4)[:, None]
    kT = 1.0 / float(np.float32(data["beta"]))  # mlcg rounds beta, even in double precision
    integrator = LangevinBAOAB(float(data["dt"]), float(data["friction"]))
    thermal = torch.sqrt(kT * ACCELERATION / masses)
    x, v = torch.from_numpy(data["x"][0]), torch.from_numpy(data["v"][0])
    for step, noise in enumerate(data["noise"]):
        a, b = (torch.from_numpy(data["f"][step + k]) * ACCELERATION / masses for k in (0, 1))
        x, v = integrator.before_force(x, v, a, thermal, torch.from_numpy(noise))
        v = integrator.after_force(v, b)
        np.testing.assert_allclose(x.numpy(), data["x"][step + 1], rtol=0, atol=1e-10)
        np.testing.assert_allclose(v.numpy(), data["v"][step + 1], rtol=0, atol=1e-10)


def test_langevin_middle_without_noise_is_openmm(chain_length: int = 20) -> None:
    """T = 0, a chain of harmonic bonds, 500 steps, against OpenMM's Reference platform."""
    openmm = pytest.importorskip("openmm")
    rng = np.random.default_rng(8)
    n, k, x0, dt, friction = chain_length, 15.0, 3.8, 0.004, 0.7
    masses = rng.uniform(50, 150, n)
    start = np.cumsum(rng.normal(size=(n, 3)) * 2.2, axis=0)
    velocities = rng.normal(size=(n, 3))

    system = openmm.System()
    for mass in masses:
        system.addParticle(mass)
    force = openmm.HarmonicBondForce()
    for i in range(n - 1):
        force.addBond(i, i + 1, x0 / 10, 2 * k * 4.184 * 100)  # k/2 (r - r0)^2 in kJ/mol and nm
    system.addForce(force)
    integrator = openmm.LangevinMiddleIntegrator(0.0, friction, dt)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(start / 10)
    context.setVelocities(velocities / 10)
    integrator.step(500)
    state = context.getState(positions=True, velocities=True)
    theirs = [10 * a._value for a in (state.getPositions(asNumpy=True), state.getVelocities(asNumpy=True))]

    molecule = beads("chain", n, masses=masses)
    ff = toy(bead_term("bonds", "harmonic_bond", molecule.bonds, k=k, x0=x0))
    ours = simulate(Layout((molecule,), (1,)), [ff], start, LangevinMiddle(dt, friction), 0.0, draw=False)
    ours.state.velocities[:] = torch.from_numpy(velocities)
    ours.run(500)
    for mine, other in zip((ours.state.positions, ours.state.velocities), theirs, strict=True):
        assert np.abs(mine.numpy() - other).max() <= 1e-12 * np.abs(other).max()


MASS, SPRING, KT = 40.0, 6.0, BOLTZMANN * 310.0
OMEGA = math.sqrt(SPRING * ACCELERATION / MASS)  # 1/ps


def linear_map(integrator: Integrator) -> tuple[np.ndarray, np.ndarray]:
    """(x, v) -> A (x, v) + B noise: one compiled step of a harmonic oscillator u = SPRING/2 x^2."""
    s, mass = scheme(integrator, False), np.array([MASS])

    def step(x0: float, v0: float, kT: float) -> np.ndarray:
        x, v = np.full((1, 3), float(x0)), np.full((1, 3), float(v0))
        before_force(s, x, v, -SPRING * x, mass, kT, SEED, REPLICA, 4)
        after_force(s, v, -SPRING * x, mass)
        return np.array([x[0, 1], v[0, 1]])

    noise = normals(SEED, REPLICA, 4, 1, LANGEVIN)[0, 1]
    return np.stack([step(1, 0, 0), step(0, 1, 0)], axis=1), step(0, 0, KT)[:, None] / noise


@pytest.mark.parametrize("kind", INTEGRATORS.values(), ids=lambda s: s.name)
def test_every_scheme_keeps_temperature_or_energy(kind: type[Integrator]) -> None:
    """In a harmonic well: kT in positions and velocities, to second order in the time step; or a symplectic map."""
    from scipy.linalg import solve_discrete_lyapunov

    dt = 0.05 / OMEGA
    A, B = linear_map(kind.from_settings(dt, 0.3 / dt))
    if not kind.takes_noise:
        assert not B.any()
        assert np.linalg.det(A) == pytest.approx(1.0, abs=1e-14)
        return
    moving = slice(None) if kind.has_velocities else slice(1)
    covariance = solve_discrete_lyapunov(A[moving, moving], B[moving] @ B[moving].T)
    assert covariance[0, 0] == pytest.approx(KT / SPRING, rel=0.01)
    if kind.has_velocities:
        assert covariance[1, 1] == pytest.approx(KT * ACCELERATION / MASS, rel=0.01)


@pytest.mark.parametrize("omega_dt", [0.05, 0.5, 1.5])
@pytest.mark.parametrize("gamma_dt", [0.004, 0.3])
def test_langevin_samples_a_harmonic_well_exactly(omega_dt: float, gamma_dt: float) -> None:
    """The stationary covariance of the discrete dynamics, without statistics: S = A S A^T + B B^T."""
    from scipy.linalg import solve_discrete_lyapunov

    dt = omega_dt / OMEGA
    x2, v2 = KT / SPRING, KT * ACCELERATION / MASS
    for integrator, kinetic in (
        (LangevinMiddle(dt, gamma_dt / dt), 1.0),  # at half steps
        (LangevinBAOAB(dt, gamma_dt / dt), 1.0 - omega_dt**2 / 4),
    ):
        A, B = linear_map(integrator)
        covariance = solve_discrete_lyapunov(A, B @ B.T)
        assert covariance[0, 0] == pytest.approx(x2, rel=1e-10)
        assert covariance[1, 1] == pytest.approx(kinetic * v2, rel=1e-10)
        if integrator.name == "langevin-baoab":  # positions and velocities of the same time are independent
            assert abs(covariance[0, 1]) < 1e-10 * math.sqrt(x2 * v2)


def test_brownian_samples_a_harmonic_well_as_euler_maruyama_does() -> None:
    dt, gamma = 0.01, 40.0
    A, B = linear_map(Brownian(dt, gamma))
    relaxation = SPRING * ACCELERATION / (gamma * MASS)
    assert A[0, 0] == pytest.approx(1 - relaxation * dt, rel=1e-13)
    variance = B[0, 0] ** 2 / (1 - A[0, 0] ** 2)
    assert variance == pytest.approx(KT / SPRING / (1 - relaxation * dt / 2), rel=1e-12)
    assert A[1].tolist() == [0.0, 1.0] and B[1, 0] == 0.0  # velocities play no part


def test_verlet_is_symplectic_and_conserves_its_shadow_energy() -> None:
    omega_dt = 0.7
    A, B = linear_map(Verlet(omega_dt / OMEGA))
    assert not B.any()
    assert np.linalg.det(A) == pytest.approx(1.0, abs=1e-14)
    shadow = np.diag([SPRING * ACCELERATION / MASS * (1 - omega_dt**2 / 4), 1.0])
    np.testing.assert_allclose(A.T @ shadow @ A, shadow, rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize("kind", INTEGRATORS.values(), ids=lambda s: s.name)
def test_settings_that_mean_nothing_are_refused(kind: type[Integrator]) -> None:
    for timestep in (0.0, -0.004, math.nan):
        with pytest.raises(InputError, match="time step"):
            kind.from_settings(timestep, 1.0)
    if kind.has_friction:
        for friction in (0.0, -1.0, math.nan):
            with pytest.raises(InputError, match="friction"):
                kind.from_settings(0.004, friction)


def test_a_step_has_one_noise() -> None:
    with pytest.raises(TypeError, match="one motion of a step takes noise"):

        class Twice(WithFriction):
            before = (Part(FLUCTUATE, 0.5), Part(KICK), Part(DRIFT), Part(FLUCTUATE, 0.5))


@pytest.mark.parametrize("name", INTEGRATORS)
def test_every_scheme_is_known_everywhere(name: str) -> None:
    kind = INTEGRATORS[name]
    assert getattr(mdflash, kind.__name__) is kind and kind.__name__ in mdflash.__all__
    description = {"integrator": name, "timestep": "2 fs", "friction": "3 /ps"}
    made = make_integrator(Dynamics.model_validate(description))
    assert type(made) is kind
    assert made.timestep == 0.002 and made.friction == (3.0 if kind.has_friction else 0.0)
    assert name in str(Dynamics.model_fields["integrator"].description)


def test_an_unknown_scheme_is_answered_with_the_list() -> None:
    with pytest.raises(InputError, match=", ".join(INTEGRATORS)):
        load_run("chignolin", ["dynamics.integrator=langevin"])


@pytest.mark.parametrize("kind", INTEGRATORS.values(), ids=lambda s: s.name)
def test_traits_decide_what_a_run_may_ask_for(kind: type[Integrator]) -> None:
    def refused(*overrides: str) -> bool:
        try:
            load_run("chignolin", [f"dynamics.integrator={kind.name}", *overrides])
        except InputError as error:
            assert kind.name in error.message
            return True
        return False

    assert refused("dynamics.network_every=2") is not kind.has_velocities
    ladder = "exchange.temperatures={min: 300 K, max: 400 K, count: 4}"
    assert refused("dynamics.temperature=none", ladder) is not kind.takes_noise
