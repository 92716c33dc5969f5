"""A replica's bits depend on its own input and nothing else: not the batch, the threads, the skin, or the blocks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from mdflash.core.state import Layout
from mdflash.engine.blocks.compiled import set_threads
from mdflash.engine.engine import Engine
from mdflash.integrators import INTEGRATORS
from mdflash.integrators.base import Integrator
from mdflash.integrators.langevin import LangevinMiddle
from tests.helpers import Rest, beads, go_helix, helix, same_bits, simulate, toy, volume_term, walk

STEPS = 2000
SCHEMES = [scheme.from_settings(0.001, 20.0) for scheme in INTEGRATORS.values()]
HELIX, GO = go_helix(12, epsilon=0.4)  # soft: it unfolds and its neighbor list keeps changing
OTHER, OTHER_GO = go_helix(21, "other")
START = helix(12)


def helices(count: int, ids: tuple[int, ...] = (), **options: object) -> Engine:
    """Replicas of the 12-bead helix, all from one start, each with its own noise."""
    layout = Layout((HELIX,), (count,), ids)
    return simulate(layout, [GO], np.tile(START, (count, 1)), **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def alone() -> Engine:
    simulation = helices(1)
    simulation.run(STEPS)
    return simulation


@pytest.fixture(scope="module")
def fifth() -> Engine:
    simulation = helices(1, (5,))
    simulation.run(STEPS)
    return simulation


@pytest.mark.parametrize("count", [7, 64])
def test_in_a_batch(count: int, alone: Engine, fifth: Engine) -> None:
    many = helices(count)
    many.run(STEPS)
    assert same_bits(many, alone)
    assert same_bits(many, fifth, 5)
    ends = many.state.positions.view(count, 12, 3)
    assert all(not ends[r].equal(ends[0]) for r in range(1, count))  # every replica has noise of its own


def test_beside_other_systems(alone: Engine, fifth: Engine) -> None:
    """Before, between and after molecules with more terms, another cutoff and another temperature."""
    rng = np.random.default_rng(2)
    fluid = beads("fluid", 30, bonds=False)
    layout = Layout((OTHER, HELIX, fluid), (2, 2, 3), (9, 8, 0, 5, 1, 2, 3))
    grid = np.stack(np.meshgrid(range(4), range(4), range(2)), axis=-1).reshape(-1, 3)[:30] * 4.0
    start = np.concatenate([helix(21), helix(21), START, START, *(grid + rng.normal(size=(30, 3)) * 0.2,) * 3])
    temperature = [350.0, 200.0, 300.0, 300.0, 100.0, 300.0, 400.0]
    simulation = simulate(layout, [OTHER_GO, GO, toy(volume_term(1, 7.0))], start, temperature=temperature)
    simulation.run(STEPS)
    assert same_bits(simulation, alone, 2)
    assert same_bits(simulation, fifth, 3)


@pytest.fixture()
def all_threads() -> Iterator[None]:
    yield
    set_threads(None)


@pytest.mark.parametrize("threads", [1, 2])
def test_on_any_number_of_threads(threads: int, alone: Engine, fifth: Engine, all_threads: None) -> None:
    set_threads(threads)
    simulation = helices(6)
    simulation.run(STEPS)
    assert same_bits(simulation, alone)
    assert same_bits(simulation, fifth, 5)


@pytest.mark.parametrize("skin", [0.0, 0.3, 1.1, 7.0, 100.0])
def test_with_any_skin(skin: float, alone: Engine) -> None:
    simulation = helices(1, skin=skin)
    simulation.run(STEPS)
    assert same_bits(simulation, alone)


class Looker:
    """A reporter at uneven intervals."""

    def __init__(self, intervals: list[int]) -> None:
        self.due = np.cumsum(intervals).tolist()

    def next_report(self, step: int) -> int:
        return next((due for due in self.due if due > step), 10**9)

    def report(self, simulation: Engine) -> None:
        simulation.kinetic_energy()


@pytest.mark.parametrize("integrator", SCHEMES, ids=lambda s: s.name)
@pytest.mark.parametrize("remove", [False, True], ids=["", "com"])
def test_for_any_splitting_into_blocks(integrator: Integrator, remove: bool) -> None:
    def start() -> Engine:
        return helices(2, integrator=integrator, remove_com_motion=remove)

    whole, single, chunks, reported, minimal = (start() for _ in range(5))
    whole.run(1000)
    for _ in range(1000):
        single.run(1)
    for steps in (1, 332, 7, 3, 600, 57):
        chunks.run(steps)
    reported.reporters += [Looker([13, 1, 1, 486, 250]), Looker([14, 400])]
    reported.run(1000)
    minimal.evaluate()
    minimal.propagator.advance(minimal.state, 1000)  # one compiled block
    for other in (single, chunks, reported, minimal):
        assert other.state.step == 1000
        assert same_bits(whole, other, 0, 0) and same_bits(whole, other, 1, 1)


@pytest.mark.parametrize("integrator", SCHEMES, ids=lambda s: s.name)
def test_in_the_plain_loop(integrator: Integrator) -> None:
    """A potential of a user that adds nothing: compiled priors, but one step at a time from Python."""
    compiled = helices(3, integrator=integrator)
    plain = helices(3, integrator=integrator, extra=[Rest()])
    assert (compiled.propagator.kernels, plain.propagator.kernels) == ("compiled", "python")
    for simulation in (compiled, plain):
        simulation.run(500)
    assert all(same_bits(compiled, plain, r, r) for r in range(3))


def test_the_reference_kernels_walk_the_same_path() -> None:
    """Plain torch throughout: other roundings, so equal to rounding over a short time."""
    compiled, reference = helices(2), helices(2, kernels="reference")
    assert reference.propagator.kernels == "python"
    for simulation in (compiled, reference):
        simulation.run(50)
    np.testing.assert_allclose(compiled.state.positions, reference.state.positions, rtol=0, atol=1e-10)
    np.testing.assert_allclose(compiled.state.velocities, reference.state.velocities, rtol=0, atol=1e-9)


@pytest.mark.parametrize("n", [40, 420], ids=["all-pairs", "cells"])
def test_a_fluid_in_a_box(n: int) -> None:
    """Periodic, with exclusions, crossing the box's faces: other skins, other blocks, another batch, the plain loop."""
    rng = np.random.default_rng(n)
    side = int(np.ceil(n ** (1 / 3)))
    grid = np.stack(np.meshgrid(*[range(side)] * 3), axis=-1).reshape(-1, 3)[:n] * 6.0
    edge = max(6.0 * side, 22.0)
    box = (edge, edge + 3.0, edge + 1.0)
    ff = toy(volume_term(1, 8.0, exclude_bonds=2))
    start = grid + rng.normal(size=(n, 3)) * 0.3
    steps = 400 if n < 100 else 60

    def fluid(count: int = 1, **options: object) -> Engine:
        layout = Layout((beads("fluid", n),), (count,))
        return simulate(layout, [ff], np.tile(start, (count, 1)), LangevinMiddle(0.02, 1.0), 600.0, box=box, **options)  # type: ignore[arg-type]

    whole, other_skin, batch, single, plain = fluid(skin=2.0), fluid(skin=0.4), fluid(3), fluid(), fluid(extra=[Rest()])
    for simulation in (whole, other_skin, batch, plain):
        simulation.run(steps)
    for _ in range(steps):
        single.run(1)
    travelled = whole.state.positions.numpy() - start
    assert np.abs(travelled).max() > (5.0 if n < 100 else 1.0)
    for other in (other_skin, batch, single, plain):
        assert same_bits(whole, other)


def test_start_velocities_belong_to_the_replica() -> None:
    many, one = helices(64), helices(1, (41,))
    assert many.state.velocities[many.layout.rows(41)].equal(one.state.velocities)
    rng = np.random.default_rng(0)
    layout = Layout((OTHER, HELIX), (1, 1), (3, 41))
    mixed = simulate(layout, [OTHER_GO, GO], np.concatenate([walk(21, rng), START]))
    assert mixed.state.velocities[layout.rows(1)].equal(one.state.velocities)
