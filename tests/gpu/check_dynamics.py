"""Noise, every integrator, and whole steps with networks and priors against the CPU loops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import triton
import triton.language as tl

from mdflash.compiled import philox as random
from mdflash.compiled.triton import philox
from mdflash.core.state import Layout, State
from mdflash.engine.blocks.compiled import CompiledPropagator
from mdflash.engine.blocks.plain import PlainPropagator
from mdflash.engine.gpu.loop import CudaPropagator
from mdflash.engine.settings import Dynamics
from mdflash.forcefields.build import build_potential
from mdflash.integrators import INTEGRATORS
from mdflash.integrators.base import Integrator
from mdflash.integrators.langevin import LangevinMiddle
from mdflash.potentials.backbones.backbone import Backbone
from mdflash.potentials.base import Potential, SumPotential
from mdflash.potentials.bias.bias import Bias
from mdflash.potentials.bias.grid_bias import GridBias
from mdflash.potentials.bias.surface import Axis
from mdflash.potentials.pack import pack
from mdflash.potentials.variables.distance import Distance
from mdflash.potentials.variables.radius_of_gyration import RadiusOfGyration
from tests.gpu.batches import DEVICE, SMALL, TILES, layout_of, network, schnet, tables_of, walks
from tests.helpers import go_helix, helix, toy, volume_term

SCHEMES = [scheme.from_settings(0.002, 20.0) for scheme in INTEGRATORS.values()]


@triton.jit
def _words(counter, out):
    c0, c1, c2, c3 = philox.philox4x32(
        tl.load(counter), tl.load(counter + 1), tl.load(counter + 2), tl.load(counter + 3),
        tl.load(counter + 4), tl.load(counter + 5),
    )  # fmt: skip
    tl.store(out, c0)
    tl.store(out + 1, c1)
    tl.store(out + 2, c2)
    tl.store(out + 3, c3)


@triton.jit
def _normals(where, out, n: tl.constexpr):
    bead = tl.arange(0, n).to(tl.int64)
    a, b, c = philox.normal3(tl.load(where), tl.load(where + 1), tl.load(where + 2), bead)
    tl.store(out + 3 * bead, a)
    tl.store(out + 3 * bead + 1, b)
    tl.store(out + 3 * bead + 2, c)


@pytest.mark.parametrize(
    ("counter_and_key", "expected"),
    [  # the published vectors of Random123
        ([0] * 6, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 6, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344, 0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_philox(counter_and_key: list[int], expected: list[int]) -> None:
    counter = torch.tensor(counter_and_key, dtype=torch.uint32).to(DEVICE)
    out = torch.zeros(4, dtype=torch.uint32).to(DEVICE)
    _words[(1,)](counter, out)
    assert out.tolist() == expected


@pytest.mark.parametrize(("seed", "replica", "step"), [(1, 0, 0), (4294967295, 77, 5_000_000_000)])
def test_noise_is_the_cpus(seed: int, replica: int, step: int) -> None:
    out = torch.zeros(16, 3, dtype=torch.float64, device=DEVICE)
    _normals[(1,)](torch.tensor([seed, replica, step], device=DEVICE), out, n=16)
    expected = random.plain_normals(seed, replica, step, 16, random.LANGEVIN)
    np.testing.assert_allclose(out.cpu().numpy(), expected, rtol=1e-13, atol=1e-15)


def start(layout: Layout, x: torch.Tensor, seed: int) -> State:
    rng = np.random.default_rng(seed)
    state = State.at(layout, x, [300.0 + 10 * r for r in range(layout.n_replicas)])
    state.velocities.copy_(torch.from_numpy(rng.normal(size=x.shape)))
    state.step = 4_294_967_290  # crosses 2^32
    return state


def same(a: State, b: State, tolerance: float) -> None:
    for name in ("positions", "velocities", "forces", "energy"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=tolerance, atol=tolerance)
    assert a.step == b.step


@pytest.mark.parametrize("remove_com", [False, True], ids=["drift", "com"])
@pytest.mark.parametrize("integrator", SCHEMES, ids=lambda i: i.name)
def test_priors_under_every_integrator(integrator: Integrator, remove_com: bool) -> None:
    system, forcefield = go_helix(6)
    layout = Layout((system,), (2,), replica_ids=(5, 3))
    potential = build_potential([forcefield], layout)
    rng = np.random.default_rng(41)
    x = torch.from_numpy(np.tile(helix(6), (2, 1)) + 0.1 * rng.normal(size=(12, 3)))
    common = (Dynamics(integrator, 2026, 1.0, remove_com), None)
    cpu = CompiledPropagator(layout, pack(potential.terms, layout), *common)
    gpu = CudaPropagator(layout, potential.terms, *common, tables=None, precision="fp64", device=DEVICE)
    mine, theirs = start(layout, x, 42), start(layout, x, 42)
    cpu.evaluate(theirs)
    gpu.evaluate(mine)
    same(mine, theirs, 1e-11)
    for steps in (2, 1):
        assert cpu.advance(theirs, steps).tolist() == gpu.advance(mine, steps).tolist() == [-1, -1]
    same(mine, theirs, 1e-10)


def test_network_and_priors_over_two_systems() -> None:
    """A full Langevin run against the plain loop with the torch reference; one network has a backbone."""
    helix_system, forcefield = go_helix(7)
    other, other_field = go_helix(5, "short")
    layout = Layout((helix_system, other), (1, 2))
    rng = np.random.default_rng(43)
    joined = replace(SMALL, backbone=Backbone(rule="geometric", streams=2))
    net = schnet([network(seed=3), network(joined, seed=4)], layout, rng)
    terms = [net, *build_potential([forcefield, other_field], layout).terms]
    x = torch.from_numpy(np.concatenate([helix(7), helix(5), helix(5) + 9.0]) + 0.1 * rng.normal(size=(17, 3)))
    common = (Dynamics(LangevinMiddle(0.004, 1.0), 7, 1.0), None)
    cpu = PlainPropagator(layout, SumPotential(terms), *common)
    gpu = CudaPropagator(layout, terms, *common, tables=None, precision="fp64", device=DEVICE, tiles=TILES)
    mine, theirs = start(layout, x, 44), start(layout, x, 44)
    cpu.evaluate(theirs)
    gpu.evaluate(mine)
    cpu.advance(theirs, 3)
    gpu.advance(mine, 3)
    same(mine, theirs, 1e-9)


@pytest.mark.parametrize("first", [0, 4])
def test_impulses_of_networks(first: int) -> None:
    """`network_every: 3` against the plain loop, from a multiple of 3 and from between two; a system has no network."""
    helix_system, forcefield = go_helix(5)
    other, other_field = go_helix(5, "short")
    layout = Layout((helix_system, other), (1, 1))
    rng = np.random.default_rng(53)
    net = schnet([network(seed=3), None], layout, rng)
    priors = build_potential([forcefield, other_field], layout).terms
    x = torch.from_numpy(np.tile(helix(5), (2, 1)) + 0.1 * rng.normal(size=(10, 3)))
    common = (Dynamics(LangevinMiddle(0.004, 1.0), 7, 1.0, network_every=3), None)
    cpu = PlainPropagator(layout, SumPotential(priors), *common, SumPotential([net]))
    gpu = CudaPropagator(layout, [net, *priors], *common, tables=None, precision="fp64", device=DEVICE, tiles=TILES)
    mine, theirs = start(layout, x, 44), start(layout, x, 44)
    mine.step = theirs.step = first
    cpu.evaluate(theirs)
    gpu.evaluate(mine)
    same(mine, theirs, 1e-9)
    for steps in (1, 3):
        assert cpu.advance(theirs, steps).tolist() == gpu.advance(mine, steps).tolist() == [-1, -1]
        same(mine, theirs, 1e-9)


@pytest.mark.parametrize(("every", "taken"), [(1, [16, 16, 1, 1]), (5, [1, 1, 15, 15, 1, 1]), (40, [16, 1, 1, 16])])
def test_whole_periods_are_one_graph(every: int, taken: list[int]) -> None:
    """Graphs are of one kind, beside those of single steps; every step ends as its number says."""
    layout = layout_of((4,), (1,))
    net = schnet([network()], layout, np.random.default_rng(1))
    gpu = CudaPropagator(
        layout, [net], Dynamics(LangevinMiddle(0.004, 1.0), 7, network_every=every), None, tables=None,
        precision="fp64", device=DEVICE, tiles=TILES,
    )  # fmt: skip
    seen: list[tuple[int, ...]] = []
    gpu._replay = seen.append  # type: ignore[assignment, method-assign]
    gpu._run(40 * 7 - 18 if every == 40 else 5 * 7 - 2, sum(taken))
    assert [len(pattern) for pattern in seen] == taken
    step = 40 * 7 - 18 if every == 40 else 5 * 7 - 2
    assert [n for pattern in seen for n in pattern] == [
        every * (now % every == 0) for now in range(step + 1, step + sum(taken) + 1)
    ]


@pytest.mark.parametrize("every", [1, 2])
def test_how_steps_are_grouped_changes_no_bit(every: int) -> None:
    rng = np.random.default_rng(45)
    layout = layout_of((6,), (2,))
    net = schnet([network()], layout, rng)
    x = walks(layout, rng)
    states = []
    for blocks in ((3,), (1, 2)):
        gpu = CudaPropagator(
            layout, [net], Dynamics(LangevinMiddle(0.004, 1.0), 7, 0.5, network_every=every), None,
            tables=tables_of(net, 256), precision="fp32", device=DEVICE, tiles=TILES,
        )  # fmt: skip
        state = start(layout, x, 46)
        gpu.evaluate(state)
        for steps in blocks:
            gpu.advance(state, steps)
        states.append(state)
    same(*states, 0.0)


def test_a_replica_without_finite_energy_stands_still() -> None:
    system, forcefield = go_helix(8)
    layout = Layout((system,), (3,))
    potential = build_potential([forcefield], layout)
    x = torch.from_numpy(np.tile(helix(8), (3, 1)))
    common = (Dynamics(LangevinMiddle(0.004, 1.0), 1, 1.0), None)
    cpu = CompiledPropagator(layout, pack(potential.terms, layout), *common)
    gpu = CudaPropagator(layout, potential.terms, *common, tables=None, precision="fp64", device=DEVICE)
    mine, theirs = start(layout, x, 47), start(layout, x, 47)
    for state, propagator in ((mine, gpu), (theirs, cpu)):
        propagator.evaluate(state)
        state.velocities[9] = 1e200
    failed = cpu.advance(theirs, 4)
    assert failed[0] == failed[2] == -1 < failed[1]
    assert gpu.advance(mine, 4).tolist() == failed.tolist()
    for r in (0, 2):
        rows = layout.rows(r)
        torch.testing.assert_close(mine.positions[rows], theirs.positions[rows], rtol=1e-10, atol=1e-10)


def test_a_block_whose_lists_overflow_is_done_again() -> None:
    rng = np.random.default_rng(48)
    layout = layout_of((36,), (1,))
    volume = volume_term(1, 8.0, epsilon=1e-3, sigma=1.0)
    potential = build_potential([toy(volume)], layout)
    x = torch.from_numpy(rng.uniform(-3, 3, (36, 3)))  # everybody is everybody's neighbor
    states = []
    for room in (32, 64):
        gpu = CudaPropagator(
            layout, potential.terms, Dynamics(LangevinMiddle(0.0005, 1.0), 7, 1.0), None, tables=None, device=DEVICE
        )
        state = start(layout, x, 49)
        gpu.evaluate(state)
        gpu.forces._make_room(room)
        gpu.advance(state, 3)
        assert gpu.replayed == (room == 32)
        states.append(state)
    same(*states, 0.0)


def batch_of(replicas: tuple[int, ...]) -> tuple[Layout, list[Potential], torch.Tensor]:
    """Gō helices of 5 beads by number, with a network, a wall, a window of each, and a grid."""
    system, forcefield = go_helix(5)
    layout = Layout((system,), (len(replicas),), replicas)
    x = np.concatenate([helix(5) + 0.1 * np.random.default_rng(r).normal(size=(5, 3)) for r in replicas])
    size = RadiusOfGyration(system, range(5))
    ends = Bias("ends", Distance(system, 0, 4), layout, 3.0, [5.0 + r for r in replicas])
    wall = Bias("wall", size, layout, 4.0, 3.0, form="upper-wall")
    grid = GridBias("grid", (Axis("size", size, 1.0, 6.0, 11),), layout)
    grid.surfaces[...] = np.random.default_rng(5).normal(size=grid.surfaces.shape)
    net = schnet([network(replace(SMALL, filters=8, blocks=1, output=(4,)))], layout, np.random.default_rng(3))
    return layout, [net, *build_potential([forcefield], layout).terms, ends, wall, grid], torch.from_numpy(x)


def test_steps_with_biases_are_the_cpus_and_know_no_batch() -> None:
    """Against the plain loop, biases at every step also where networks are impulses; one replica of two by itself."""
    dynamics = Dynamics(LangevinMiddle(0.004, 1.0), 7, 1.0, network_every=2)

    def states(replicas: tuple[int, ...], plain: bool = False) -> State:
        layout, terms, x = batch_of(replicas)
        state = State.at(layout, x, 300.0)
        if plain:
            fast, slow = SumPotential(terms[1:]), SumPotential(terms[:1])
            mover: PlainPropagator | CudaPropagator = PlainPropagator(layout, fast, dynamics, None, slow)
        else:
            mover = CudaPropagator(
                layout, terms, dynamics, None, tables=None, precision="fp64", device=DEVICE, tiles=TILES
            )
        mover.evaluate(state)
        assert (mover.advance(state, 3) == -1).all()
        return state

    both, cpu, alone = states((4, 6)), states((4, 6), plain=True), states((6,))
    for name in ("positions", "velocities", "forces", "energy"):
        torch.testing.assert_close(getattr(both, name), getattr(cpu, name), rtol=1e-9, atol=1e-9)
        assert torch.equal(getattr(both, name)[-len(getattr(alone, name)) :], getattr(alone, name))
