"""Multiple time steps: the splitting, its same bits, what the state holds between blocks, and unbiased averages."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mdflash.config.load import load_run
from mdflash.config.rules import warnings
from mdflash.config.schema import RunConfig
from mdflash.core.state import Layout, State
from mdflash.engine.blocks.plain import PlainPropagator
from mdflash.engine.engine import Engine
from mdflash.engine.guards import Guard
from mdflash.engine.settings import Dynamics
from mdflash.errors import InputError
from mdflash.forcefields.build import build_potential
from mdflash.integrators import INTEGRATORS
from mdflash.integrators.base import Integrator
from mdflash.integrators.langevin import LangevinBAOAB, LangevinMiddle
from mdflash.integrators.respa import resonance
from mdflash.integrators.timestep_check import shortest_period
from mdflash.integrators.verlet import Verlet
from mdflash.neighbors.verlet import VerletList
from mdflash.potentials.base import EnergyForces, Pairs, Potential
from mdflash.potentials.schnet.potential import SchNetPotential
from mdflash.runs.prepare import prepare
from mdflash.units import ACCELERATION, BOLTZMANN
from tests.helpers import Rest, bead_term, beads, go_helix, helix, same_bits, simulate, toy
from tests.potentials.random_schnet import random_schnet

SCHEMES = [scheme.from_settings(0.003, 2.0) for scheme in INTEGRATORS.values() if scheme.has_velocities]
N = 12
SYSTEM, GO = go_helix(N)
NETWORK = random_schnet(3, output=(16,))
NETWORK.output[-1].weight.mul_(10.0)  # forces of a few kcal/mol/Å
TYPES = np.random.default_rng(4).integers(NETWORK.hyper.types, size=N)


class Well(Potential):
    """k |x|^2 of every bead."""

    def __init__(self, k: float) -> None:
        self.name, self.k = "well", k

    def energy_and_forces(self, positions: torch.Tensor, layout: Layout, pairs: Pairs | None) -> EnergyForces:
        energy = torch.stack([self.k * positions[layout.rows(r)].square().sum() for r in range(layout.n_replicas)])
        return EnergyForces(energy, -2.0 * self.k * positions)


def network() -> SchNetPotential:
    return SchNetPotential("schnet", [NETWORK], [TYPES], [np.zeros((0, 2), np.int64)])


def helices(every: int, replicas: int = 2, integrator: Integrator | None = None, **options: object) -> Engine:
    """Replicas of the Gō helix with a network."""
    extra = [network(), *options.pop("extra", [])]  # type: ignore[misc]
    return simulate(
        Layout((SYSTEM,), (replicas,)), [GO], np.tile(helix(N), (replicas, 1)), integrator or SCHEMES[0], extra=extra,
        network_every=every, **options,  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.mark.parametrize("every", [1, 2, 3])
@pytest.mark.parametrize("scheme", [Verlet(0.01), LangevinBAOAB(0.01, 1e-12)], ids=lambda s: s.name)
def test_it_is_the_nested_splitting(scheme: Integrator, every: int) -> None:
    """Against the two loops as Tuckerman, Berne & Martyna write them, at zero temperature."""
    system = beads("b", 3, bonds=False, masses=[12.0, 30.0, 7.0])
    layout, rng = Layout((system,), (1,)), np.random.default_rng(5)
    state = State.at(layout, rng.normal(size=(3, 3)), 0.0)
    state.velocities[:] = torch.from_numpy(rng.normal(size=(3, 3)))
    x, v = state.positions.clone(), state.velocities.clone()
    fast, slow = Well(3.0), Well(0.4)
    mover = PlainPropagator(layout, fast, Dynamics(scheme, 1, network_every=every), None, slow)
    mover.evaluate(state)

    dt, per_mass = scheme.timestep, ACCELERATION / layout.masses[:, None]
    for _ in range(4):
        v += 0.5 * every * dt * per_mass * slow.energy_and_forces(x, layout, None).forces
        for _ in range(every):
            v += 0.5 * dt * per_mass * fast.energy_and_forces(x, layout, None).forces
            x += dt * v
            v += 0.5 * dt * per_mass * fast.energy_and_forces(x, layout, None).forces
        v += 0.5 * every * dt * per_mass * slow.energy_and_forces(x, layout, None).forces
    mover.advance(state, 4 * every)
    torch.testing.assert_close(state.positions, x, rtol=0.0, atol=1e-11)
    torch.testing.assert_close(state.velocities, v, rtol=0.0, atol=1e-9)


@pytest.mark.parametrize("scheme", SCHEMES, ids=lambda s: s.name)
@pytest.mark.parametrize("every", [2, 3])
def test_blocks_change_no_bit(scheme: Integrator, every: int) -> None:
    """Blocks begin and end where they like, at multiples of `every` and between them."""
    whole, single, chunks = (helices(every, integrator=scheme) for _ in range(3))
    whole.run(101)
    for _ in range(101):
        single.run(1)
    for steps in (1, 2, 30, 7, 61):
        chunks.run(steps)
    for other in (single, chunks):
        assert all(same_bits(whole, other, r, r) for r in range(2))


def test_neither_skin_nor_batch_nor_the_loop_changes_a_bit() -> None:
    whole = helices(3)
    whole.run(100)
    others = [helices(3, skin=0.0), helices(3, replicas=5), helices(3, extra=[Rest()])]
    assert [other.propagator.kernels for other in others] == ["compiled", "compiled", "python"]
    for other in others:
        other.run(100)
        assert all(same_bits(whole, other, r, r) for r in range(2))


@pytest.mark.parametrize("every", [2, 3])
def test_the_compiled_loop_agrees_with_plain_torch(every: int) -> None:
    compiled, plain = helices(every), helices(every, kernels="reference")
    for engine in (compiled, plain):
        engine.run(20)
    torch.testing.assert_close(compiled.state.positions, plain.state.positions, rtol=0.0, atol=1e-6)
    once = helices(1)
    once.run(20)
    assert (compiled.state.positions - once.state.positions).abs().max() > 3e-4  # it is another trajectory


@pytest.mark.parametrize("kernels", ["auto", "reference"])
def test_between_blocks_the_state_holds_the_whole_potential(kernels: str) -> None:
    engine = helices(3, kernels=kernels)
    for steps in (1, 1, 1, 4):
        engine.run(steps)
        energy, forces = engine.state.energy.clone(), engine.state.forces.clone()
        engine.evaluate()
        assert torch.equal(engine.state.energy, energy)
        assert torch.equal(engine.state.forces, forces)


def test_a_stopped_run_goes_on_with_the_same_bits() -> None:
    """From a copy of what a checkpoint holds, at a step that is no multiple of `every`."""
    whole, first = helices(3), helices(3)
    whole.run(50)
    first.run(25)
    second = helices(3, draw=False)
    for name in ("positions", "velocities", "forces", "energy"):
        getattr(second.state, name).copy_(getattr(first.state, name))
    second.state.step = first.state.step
    second.up_to_date()
    second.run(25)
    assert all(same_bits(whole, second, r, r) for r in range(2))


@pytest.mark.parametrize("every", [2, 3])
def test_energy_is_conserved_to_second_order(every: int) -> None:
    """NVE: total energy at multiples of `every` stays within an error that falls as the square of the time step."""

    def spread(timestep: float) -> float:
        engine = helices(every, replicas=4, integrator=Verlet(timestep), temperature=100.0)
        found = []
        for _ in range(150):
            engine.run(round(0.012 / timestep) * every)
            found.append(engine.state.energy.numpy() + engine.kinetic_energy())
        drift = np.abs(np.mean(found[-50:], axis=0) - np.mean(found[:50], axis=0)).max()
        assert drift < 0.3 * np.std(found, axis=0).max() + 1e-3
        return float(np.std(found, axis=0).mean())

    coarse, fine = spread(0.004), spread(0.002)
    assert 3.0 < coarse / fine < 5.5


@pytest.mark.parametrize("every", [2, 3])
@pytest.mark.parametrize("scheme", [LangevinMiddle, LangevinBAOAB], ids=lambda s: s.name)
def test_harmonic_averages_are_unbiased(scheme: type[LangevinMiddle], every: int) -> None:
    """<x^2> = kT / 2 (k_fast + k_slow), and <v^2> = kT / m, for 3,000 coordinates."""
    system, temperature = beads("b", 1000, bonds=False, masses=20.0), 300.0
    layout = Layout((system,), (1,))
    fast, slow = Well(1.5), Well(0.5)
    kT = BOLTZMANN * temperature
    rng = np.random.default_rng(6)
    exact = kT / (2.0 * (fast.k + slow.k))
    state = State.at(layout, rng.normal(scale=math.sqrt(exact), size=(1000, 3)), temperature)
    state.velocities[:] = torch.from_numpy(rng.normal(scale=math.sqrt(kT * ACCELERATION / 20.0), size=(1000, 3)))
    mover = PlainPropagator(layout, fast, Dynamics(scheme(0.005, 10.0), 7, network_every=every), None, slow)
    found = []
    for _ in range(120):
        mover.advance(state, 20 * every)  # longer than the correlation time, 1 / (2 friction)
        found.append(float(state.positions.square().mean()))
    mean, error = np.mean(found[10:]), np.std(found[10:]) / math.sqrt(110)
    assert error < 0.004 * exact
    assert abs(mean - exact) < 4.0 * error + 0.001 * exact


def test_what_is_refused() -> None:
    for scheme in INTEGRATORS.values():
        if not scheme.has_velocities:
            with pytest.raises(InputError, match=rf"network_every.*{scheme.name}"):
                helices(2, integrator=scheme.from_settings(0.001, 20.0))
    with pytest.raises(InputError, match=r"network_every.*found 0"):
        helices(0)


def test_what_a_run_description_hears() -> None:
    def described(*overrides: str) -> RunConfig:
        return load_run("chignolin", [f"dynamics.{o}" if "exchange" not in o else o for o in overrides])

    with pytest.raises(InputError, match=r"dynamics\.network_every.*write `network_every: 1`"):
        described("integrator=brownian", "network_every=2")
    with pytest.raises(InputError, match="no force field of this run has a network"):
        prepare(described("network_every=2").with_seed())
    ladder = "exchange.temperatures={min: 300 K, max: 400 K, count: 4}"
    with pytest.raises(InputError, match=r"33\.3333 steps of 30 fs"):
        described("network_every=3", "temperature=none", ladder, "exchange.interval=1 ps")
    # frames every 500 steps: allowed, and said
    assert any("no multiple of network_every: 3" in note for note in warnings(described("network_every=3")))
    assert not any("network_every" in note for note in warnings(described("network_every=2")))


@pytest.mark.parametrize("scheme", [Verlet(0.003), LangevinBAOAB(0.003, 1e-12)], ids=lambda s: s.name)
@pytest.mark.parametrize("start", [48, 49, 50])
def test_a_retry_gives_every_impulse_once(scheme: Integrator, start: int) -> None:
    """A stretch from anywhere between two impulses to anywhere, with half the step: the same path, to second order."""
    whole, mended = (
        helices(3, integrator=scheme, temperature=100.0, guard=Guard(Layout((SYSTEM,), (2,)), "retry"))
        for _ in range(2)
    )
    for engine in (whole, mended):
        engine.run(start)
        engine.guard.forget()
    advance = mended.propagator.advance

    def failing(state: State, steps: int) -> np.ndarray:
        advance(state, steps)
        return np.array([state.step - 1, -1])

    mended.propagator.advance = failing  # type: ignore[method-assign]
    told: list[str] = []
    mended.guard.listeners.append(lambda step, event, **about: told.append(event))
    for engine in (whole, mended):
        engine.run(8)
    assert told == ["retry"]
    assert same_bits(whole, mended, 1, 1)
    pairs = VerletList(whole.layout, NETWORK.hyper.cutoff, 0.0, None).pairs(whole.state.positions)
    slow = network().energy_and_forces(whole.state.positions, whole.layout, pairs).forces
    impulse = 3 * scheme.timestep * ACCELERATION * float((slow / whole.layout.masses[:, None]).abs().max())
    away = (whole.state.velocities - mended.state.velocities)[whole.layout.rows(0)].abs().max()
    assert 0.0 < away < 0.02 * impulse


def test_the_warning_about_resonance_knows_the_stiffest_bond() -> None:
    system = beads("chain", 3, masses=[12.0, 14.0, 3.0])
    ff = toy(bead_term("bonds", "harmonic_bond", [[0, 1], [1, 2]], k=[50.0, 4.0], x0=3.8))
    layout = Layout((system,), (1,))
    terms = build_potential([ff], layout).terms
    period = shortest_period(terms, layout)
    near, far = (resonance(terms, layout, period / 10, every) for every in (4, 3))
    assert near is not None and "`network_every: 1`" in near
    assert far is None
    assert resonance(terms, layout, period, 1) is None
