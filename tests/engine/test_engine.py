"""Engine: potentials in Python, reporters, errors, temperatures."""

from __future__ import annotations

import math
import re
import threading
from typing import Any

import numba
import numpy as np
import pytest
import torch

from mdflash.core.state import Layout, State
from mdflash.engine.blocks import compiled
from mdflash.engine.blocks.compiled import Crew
from mdflash.engine.engine import Engine
from mdflash.engine.settings import Dynamics
from mdflash.errors import InputError, UnstableError
from mdflash.integrators.base import Integrator
from mdflash.integrators.brownian import Brownian
from mdflash.integrators.langevin import LangevinBAOAB, LangevinMiddle
from mdflash.integrators.verlet import Verlet
from mdflash.potentials.base import EnergyForces, Pairs, Potential
from mdflash.units import ACCELERATION, BOLTZMANN
from tests.helpers import bead_term, beads, go_helix, helix, simulate, toy


class Restraint(Potential):
    """What a user writes: every bead held to a point by a spring, forces by autograd."""

    name = "restraint"

    def __init__(self, k: float, point: torch.Tensor) -> None:
        self.k, self.point = k, point

    def energy_and_forces(self, positions: torch.Tensor, layout: Layout, pairs: Pairs | None) -> EnergyForces:
        x = positions.detach().requires_grad_()
        per_bead = self.k * ((x - self.point) ** 2).sum(dim=1)
        energy = torch.stack([per_bead[layout.rows(r)].sum() for r in range(layout.n_replicas)])
        (gradient,) = torch.autograd.grad(energy.sum(), x)
        return EnergyForces(energy.detach(), -gradient)


class Recorder:
    """Notes the steps it was called at, and what the state said."""

    def __init__(self, *steps: int) -> None:
        self.wanted, self.seen = steps, []

    def next_report(self, step: int) -> int:
        return next((s for s in self.wanted if s > step), 10**9)

    def report(self, simulation: Engine) -> None:
        state = simulation.state
        self.seen.append(
            (state.step, simulation.time, state.positions.clone(), state.forces.clone(), state.energy.clone())
        )


class Every(Recorder):
    def __init__(self, interval: int) -> None:
        super().__init__()
        self.interval = interval

    def next_report(self, step: int) -> int:
        return (step // self.interval + 1) * self.interval


def small(**options: object) -> Engine:
    system, ff = go_helix(9)
    return simulate(Layout((system,), (3,)), [ff], np.tile(helix(9), (3, 1)), **options)  # type: ignore[arg-type]


def test_a_restraint_in_python_beside_compiled_terms() -> None:
    point = torch.tensor([5.0, -2.0, 1.0], dtype=torch.float64)
    simulation = small(extra=[Restraint(0.5, point)], integrator=LangevinMiddle(0.01, 4.0), temperature=0.0)
    assert simulation.propagator.kernels == "python"
    free = small()
    assert free.propagator.kernels == "compiled"
    simulation.evaluate()
    free.evaluate()
    x = simulation.state.positions
    np.testing.assert_allclose(simulation.state.forces, free.state.forces - (x - point), rtol=0, atol=1e-11)
    extra = 0.5 * ((x - point) ** 2).sum(1).view(3, -1).sum(1)
    np.testing.assert_allclose(simulation.state.energy, free.state.energy + extra, rtol=1e-13)
    simulation.run(800)  # 8 ps of critical damping: at rest, and centered on the point
    np.testing.assert_allclose(simulation.state.positions.view(3, 9, 3).mean(1), point.expand(3, 3), atol=1e-3)


def test_a_simulation_of_nothing_but_a_python_potential_samples_its_well() -> None:
    """<x^2> = kT / (2 k) a coordinate."""
    layout = Layout((beads("gas", 400, bonds=False, masses=10.0),), (1,))
    k, temperature = 2.0, 300.0
    state = State.at(layout, np.zeros((400, 3)), temperature)
    simulation = Engine(layout, Restraint(k, torch.zeros(3)), state, Dynamics(LangevinMiddle(0.02, 20.0), seed=3))
    simulation.draw_velocities()
    simulation.run(300)
    squares = []
    for _ in range(40):
        simulation.run(25)
        squares.append(float((state.positions**2).mean()))
    # 48,000 coordinates, correlated over a few samples: about 1 % of statistical error
    assert np.mean(squares) == pytest.approx(BOLTZMANN * temperature / (2 * k), rel=0.03)


@pytest.mark.parametrize("python", [False, True], ids=["compiled", "python"])
def test_reporters_are_called_exactly_at_their_steps(python: bool) -> None:
    rest = [Restraint(0.0, torch.zeros(3))] if python else []
    simulation = small(extra=rest)
    odd, tens, never = Recorder(1, 2, 3, 50, 51, 97), Every(10), Recorder()
    simulation.reporters += [odd, tens, never]
    assert simulation.run(60) == 60
    assert simulation.run(40) == 40
    assert [s for s, *_ in odd.seen] == [1, 2, 3, 50, 51, 97]
    assert [s for s, *_ in tens.seen] == list(range(10, 101, 10))
    assert never.seen == []
    for step, time, positions, forces, energy in odd.seen + tens.seen:
        assert time == step * 0.004
        simulation.state.positions.copy_(positions)  # energy and forces shown belong to the positions shown
        simulation.evaluate()
        np.testing.assert_allclose(simulation.state.forces, forces, rtol=0, atol=1e-12)
        np.testing.assert_allclose(simulation.state.energy, energy, rtol=1e-13)


def test_reporters_are_called_in_order_and_due_at_the_end() -> None:
    simulation = small()
    calls: list[str] = []

    class Named(Every):
        def __init__(self, name: str) -> None:
            super().__init__(20)
            self.name = name

        def report(self, simulation: Engine) -> None:
            calls.append(f"{self.name}{simulation.state.step}")

    simulation.reporters += [Named("b"), Named("a")]
    simulation.run(40)
    assert calls == ["b20", "a20", "b40", "a40"]


def test_a_reporter_that_asks_for_the_past_is_refused() -> None:
    """It would be called for ever."""
    simulation = small()
    simulation.reporters.append(type("Late", (Recorder,), {"next_report": lambda self, step: step})())
    with pytest.raises(InputError, match="Late"):
        simulation.run(10)


def test_should_stop_ends_the_run_between_blocks() -> None:
    simulation = small()
    asked = iter([False, False, True])
    done = simulation.run(10**9, lambda: next(asked))
    assert 0 < done == simulation.state.step < 10**6


def test_restored_forces_are_used_as_they_are() -> None:
    """A checkpoint's state goes on without a new evaluation, and gives the same bits."""
    whole, first = small(), small()
    whole.run(70)
    first.run(30)
    second = small(draw=False)
    for name in ("positions", "velocities", "forces", "energy"):
        getattr(second.state, name).copy_(getattr(first.state, name))
    second.state.step = 30
    second.up_to_date()
    second.run(40)
    assert torch.equal(second.state.positions, whole.state.positions)
    assert torch.equal(second.state.velocities, whole.state.velocities)


# --- failures ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("python", [False, True], ids=["compiled", "python"])
def test_a_bad_start_names_replica_step_term_and_bead(python: bool) -> None:
    system, ff = go_helix(9)
    start = np.tile(helix(9), (4, 1, 1))
    start[2, 6] = start[2, 1]  # a contact at distance 0
    layout = Layout((system,), (4,), (10, 11, 12, 13))
    extra = [Restraint(0.1, torch.zeros(3))] if python else []
    simulation = simulate(layout, [ff], start, extra=extra)
    with pytest.raises(UnstableError) as error:
        simulation.run(10)
    text = str(error.value)
    assert "replica 12 (helix)" in text and "step 0" in text
    assert "in one place" in text and "not the time step" in text and "shorter" not in text
    assert re.search(r"term '(contacts|excluded_volume)'", text)
    assert re.search(r"ALA [27] CA \(bead [16]\)", text)


@pytest.mark.parametrize("python", [False, True], ids=["compiled", "python"])
def test_a_replica_that_explodes_is_named_and_the_others_are_whole(python: bool) -> None:
    """Replica 41 starts with two beads on top of each other: its energy is finite at first."""
    system, ff = go_helix(9)
    start = np.tile(helix(9), (3, 1, 1))
    start[1, 7] = start[1, 2] + 1e-20
    start[1, 2] = 0.0
    start[1, 7] = 1e-22
    layout = Layout((system,), (3,), (40, 41, 42))
    extra = [Restraint(0.0, torch.zeros(3))] if python else []
    simulation, healthy = (simulate(layout, [ff], start, extra=extra) for _ in range(2))
    simulation.evaluate()
    assert bool(torch.isfinite(simulation.state.energy).all())
    with pytest.raises(UnstableError, match=r"replica 41 \(helix\) became unstable at step \d+ .*(bead \d)"):
        simulation.run(100)
    # the others went on to the end of the block, as they would have without it
    healthy.state.positions[layout.rows(1)] = torch.from_numpy(helix(9))
    healthy.run(simulation.state.step)
    for r in (0, 2):
        assert torch.equal(simulation.state.positions[layout.rows(r)], healthy.state.positions[layout.rows(r)])


@pytest.mark.parametrize("python", [False, True], ids=["compiled", "python"])
def test_too_long_a_time_step_is_named(python: bool) -> None:
    extra = [Restraint(0.0, torch.zeros(3))] if python else []

    def start() -> Engine:
        return small(integrator=Verlet(0.5), extra=extra)

    simulation = start()
    with pytest.raises(UnstableError) as error:
        simulation.run(2000)
    match = re.search(r"replica (\d) \(helix\) became unstable at step (\d+) \(([\d.]+) ps\)", str(error.value))
    assert match and "now 500 fs" in str(error.value)
    assert re.search(r"term '\w+' has energy|has no finite position", str(error.value))
    r, step = int(match[1]), int(match[2])
    assert float(match[3]) == pytest.approx(step * 0.5)
    before = start()  # up to the step that is named (counted from 0) everything is finite, after it no longer
    before.run(step)
    assert math.isfinite(before.state.energy[r])
    with pytest.raises(UnstableError):
        before.run(1)


def test_a_nan_in_the_start_frame_is_refused() -> None:
    layout = Layout((beads("a", 4), beads("b", 3)), (1, 2), (5, 6, 7))
    x = np.zeros((10, 3))
    x[8, 1] = np.nan
    with pytest.raises(InputError, match=r"ALA 2 CA \(bead 1\) in replica 7 .*nan.*finite"):
        State.at(layout, x, 300.0)
    with pytest.raises(InputError, match=r"\[10, 3\]"):
        State.at(layout, x[:9], 300.0)
    for temperature in (-1.0, math.inf, [300.0, 300.0]):
        with pytest.raises(InputError, match="temperature"):
            State.at(layout, np.zeros((10, 3)), temperature)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_beyond_32_bits_is_refused(seed: int) -> None:
    with pytest.raises(InputError, match="seed"):
        small(seed=seed)


# --- velocities -------------------------------------------------------------------------------------------------


def test_maxwell_boltzmann() -> None:
    """Variance kT/m of each bead, normal, independent of the thermostat's noise, per-replica temperatures."""
    from scipy import stats

    masses = np.where(np.arange(600) % 2, 10.0, 180.0)
    layout = Layout((beads("gas", 600, bonds=False, masses=masses),), (30,))
    temperatures = np.linspace(200, 500, 30)
    simulation = simulate(layout, [toy()], np.zeros((30, 600, 3)), temperature=temperatures.tolist())
    v = simulation.state.velocities.numpy().reshape(30, 600, 3)
    reduced = v / np.sqrt(BOLTZMANN * temperatures[:, None, None] * ACCELERATION / masses[:, None])
    assert stats.kstest(reduced.ravel(), "norm").pvalue > 1e-3
    assert abs((reduced**2).mean() - 1) < 4 * np.sqrt(2 / reduced.size)
    found = simulation.instantaneous_temperature()
    assert np.abs(found / temperatures - 1).max() < 4 * np.sqrt(2 / 1800)
    np.testing.assert_allclose(
        simulation.kinetic_energy(), 0.5 * (masses[:, None] * v**2).sum(axis=(1, 2)) / ACCELERATION, rtol=1e-13
    )
    again = simulate(layout, [toy()], np.zeros((30, 600, 3)), temperature=temperatures.tolist())
    assert torch.equal(again.state.velocities, simulation.state.velocities)
    other = simulate(layout, [toy()], np.zeros((30, 600, 3)), temperature=temperatures.tolist(), seed=1)
    assert not torch.isclose(other.state.velocities, simulation.state.velocities).any()


@pytest.mark.parametrize(
    "integrator", [LangevinMiddle(0.004, 100.0), LangevinBAOAB(0.004, 100.0), Verlet(0.004)], ids=lambda s: s.name
)
@pytest.mark.parametrize("python", [False, True], ids=["compiled", "python"])
def test_centre_of_mass_motion_is_removed(integrator: Integrator, python: bool) -> None:
    """After every step, and the temperature counts the degrees of freedom that are left."""
    masses = np.array([10.0, 40.0, 100.0, 30.0, 60.0])
    system = beads("five", 5, bonds=False, masses=masses)
    ff = toy(bead_term("bonds", "harmonic_bond", [[0, 1], [2, 3]], k=0.5, x0=3.0))
    layout = Layout((system,), (40,))
    start = np.tile(np.arange(5)[:, None] * [3.0, 0.0, 0.0], (40, 1, 1))
    extra = [Restraint(0.0, torch.zeros(3))] if python else []
    simulation = simulate(layout, [ff], start, integrator, extra=extra, remove_com_motion=True)
    temperature = []
    for _ in range(100):
        p = (simulation.state.velocities.view(40, 5, 3) * torch.from_numpy(masses)[:, None]).sum(1)
        assert float(p.abs().max()) < 1e-11 * masses.sum()
        temperature.append(simulation.instantaneous_temperature())
        simulation.run(3)
    if integrator.takes_noise:
        # 48,000 squares, correlated over two or three samples
        assert np.mean(temperature) == pytest.approx(300.0, rel=0.025)


def test_without_removal_the_centre_of_mass_is_thermal() -> None:
    layout = Layout((beads("gas", 4, bonds=False),), (2000,))
    simulation = simulate(layout, [toy()], np.zeros((2000, 4, 3)))
    simulation.run(5)
    v = simulation.state.velocities.view(2000, 4, 3).mean(1)
    assert float((v**2).mean()) == pytest.approx(BOLTZMANN * 300 * ACCELERATION / 400, rel=0.08)
    assert simulation.instantaneous_temperature().mean() == pytest.approx(300, rel=0.02)


def test_each_replica_is_held_at_its_own_temperature() -> None:
    system, ff = go_helix(9)
    temperatures = [0.0, 150.0, 300.0, 450.0]
    layout = Layout((system,), (4,))
    simulation = simulate(layout, [ff], np.tile(helix(9), (4, 1)), LangevinMiddle(0.004, 20.0), temperatures)
    simulation.run(500)
    found = []
    for _ in range(400):
        simulation.run(10)
        found.append(simulation.instantaneous_temperature())
    mean = np.mean(found, axis=0)
    assert mean[0] < 1e-6
    np.testing.assert_allclose(mean[1:], temperatures[1:], rtol=0.04)


def test_brownian_motion_leaves_velocities_alone() -> None:
    simulation = small(integrator=Brownian(0.001, 50.0), remove_com_motion=True)
    before = simulation.state.velocities.clone()
    simulation.run(50)
    assert torch.equal(simulation.state.velocities, before)


def test_a_slow_first_block_does_not_decide_how_many_threads_share_a_replica(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first block compiles; from then on all threads are twice as fast as one."""
    now = 0.0
    blocks: list[int] = []

    def kernel() -> None:
        nonlocal now
        blocks.append(numba.get_num_threads())
        now += 100.0 if len(blocks) == 1 else 2.0 if blocks[-1] == 1 else 1.0

    monkeypatch.setattr("time.perf_counter", lambda: now)
    crew, most = Crew(), numba.get_num_threads()
    for _ in range(40):
        crew.time(kernel, 1)()
    assert blocks.count(most) >= 35


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_find_the_loop_of_steps_ready(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    """The calling one loads or compiles it, before the others begin."""
    calls: list[tuple[int, int, int]] = []
    run_each = compiled.run_each

    def noted(tables: Any, kept: Any, first: int, last: int) -> None:
        calls.append((threading.get_ident(), first, last))
        run_each(tables, kept, first, last)

    monkeypatch.setattr(compiled, "run_each", noted)
    simulation, before = small(), numba.get_num_threads()
    numba.set_num_threads(threads)
    try:
        simulation.run(3)
    finally:
        numba.set_num_threads(before)
    assert calls[0][0] == threading.get_ident()
    assert threads == 1 or calls[0][1:] == (0, 0)
