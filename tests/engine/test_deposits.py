"""Metadynamics in the engine: free energies, walkers, the same bits, replicas that deposit nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from mdflash.core.state import Layout
from mdflash.engine.deposits import Hills
from mdflash.engine.engine import Engine
from mdflash.engine.exchange.replica_exchange import ReplicaExchange
from mdflash.engine.guards import Guard
from mdflash.integrators.langevin import LangevinMiddle
from mdflash.potentials.bias.function import FunctionBias
from mdflash.potentials.bias.metadynamics import Metadynamics
from mdflash.potentials.bias.opes import Opes
from mdflash.potentials.bias.pack import PackedBiases
from mdflash.potentials.bias.surface import Axis
from mdflash.potentials.variables.dihedral import Dihedral
from mdflash.potentials.variables.distance import Distance
from mdflash.units import kT
from tests.helpers import Rest, go_helix, helix, same_bits, simulate
from tests.umbrella import KT, TEMPERATURE, Well, contact, torsion

SYSTEM, GO = go_helix(10, epsilon=0.4)
ENDS, TWIST = Distance(SYSTEM, 0, 9), Dihedral(SYSTEM, 0, 3, 6, 9)


def meta(layout: Layout, walkers: int | None = None, two: bool = True, every: int = 50) -> Metadynamics:
    axes = [Axis("ends", ENDS, 2.0, 40.0, 150), Axis("twist", TWIST, -np.pi, np.pi, 60)]
    count = 2 if two else 1
    return Metadynamics("meta", axes[:count], layout, [0.6, 0.3][:count], 0.3, 8.0, every, kT(300.0), walkers)


def walk(ids: tuple[int, ...], walkers: int | None = None, extra: Any = (), two: bool = True, **options: Any) -> Engine:
    layout = Layout((SYSTEM,), (len(ids),), ids)
    start = np.tile(helix(10), (len(ids), 1))
    return simulate(layout, [GO], start, extra=[meta(layout, walkers, two), *extra], **options)


def surfaces(engine: Engine) -> np.ndarray:
    (bias,) = engine.deposits.biases
    return bias.surfaces


def run_well(well: Well, low: float, high: float, width: float, steps: int, walkers: int) -> tuple[Engine, np.ndarray]:
    """A well explored by walkers that start at its middle; also the free energy at the nodes."""
    layout = Layout((well.system,), (walkers,))
    axis = Axis("q", well.variable, low, high, int(np.ceil((high - low) / width * 5)))
    bias = Metadynamics("meta", [axis], layout, [width], 0.1, 10.0, 50, KT)
    start = np.concatenate([well.start(c) for c in np.resize(well.centers, walkers)])
    engine = simulate(layout, [well.forcefield], start, LangevinMiddle(0.01, 8.0), TEMPERATURE, extra=[bias], seed=3)
    assert engine.propagator.kernels == "compiled"
    engine.run(steps)
    return engine, bias.free_energies()[0]


@pytest.mark.parametrize(("make", "low", "high", "width"), [(contact, 4.0, 20.0, 0.08), (torsion, -np.pi, np.pi, 0.2)])
def test_free_energy_of_a_double_well(make: Any, low: float, high: float, width: float) -> None:
    """32 walkers of one bias: the scaled bias is the exact free energy within 0.1 kcal/mol (root mean square)."""
    well = make()
    engine, found = run_well(well, low, high, width, 40_000, 32)
    (bias,) = engine.deposits.biases
    nodes = bias.axes[0].nodes
    seen = (nodes >= well.edges[0]) & (nodes <= well.edges[-1])
    exact = well.free_energy(nodes)
    seen &= exact < exact[seen].min() + 8.0
    off = (found - exact)[seen]
    assert bias.hills[0] == 32 * 40_000 // 50
    assert off.std() < 0.1


@pytest.mark.parametrize("explore", [False, True])
def test_opes_reweights_to_the_free_energy(explore: bool) -> None:
    """A torsion by 32 walkers: histograms with weights exp(V / kT), within 0.1 kcal/mol (root mean square)."""
    well = torsion()
    layout = Layout((well.system,), (32,))
    bias = Opes("o", [Axis("q", well.variable, -np.pi, np.pi, 160)], layout, [0.2], 10.0, 50, KT, explore=explore)
    start = np.concatenate([well.start(c) for c in np.resize(well.centers, 32)])
    engine = simulate(layout, [well.forcefield], start, LangevinMiddle(0.01, 8.0), TEMPERATURE, extra=[bias], seed=3)
    engine.run(4_000)
    packed = PackedBiases([bias], layout)
    found = []
    for _ in range(300):
        engine.run(49)
        found.append(np.stack(packed.measure(engine.state.positions.numpy()))[..., 0])
        engine.run(1)
    q, v = np.concatenate(found, axis=1)
    seen = np.histogram(q, well.edges, weights=np.exp((v - v.max()) / KT))[0]
    inside = np.linspace(well.edges[:-1], well.edges[1:], 101)
    exact = -KT * np.log(np.exp(-well.free_energy(inside) / KT).mean(axis=0))
    low = exact < exact.min() + 8.0
    assert (-KT * np.log(seen[low]) - exact[low]).std() < 0.1


def test_the_same_bits() -> None:
    """In any blocks, in the plain loop; groups in any batch; a bias is the sum of the hills that listeners hear of."""
    whole, chunks, plain = walk((0, 1, 2, 3), 2), walk((0, 1, 2, 3), 2), walk((0, 1, 2, 3), 2, (Rest(),))
    alone = walk((2, 3), 2)
    heard: list[tuple[int, Hills]] = []
    whole.deposits.hill_listeners.append(lambda step, time, hills: heard.append((step, hills)))
    whole.run(500)
    for steps in (1, 120, 30, 349):
        chunks.run(steps)
    plain.run(500)
    alone.run(500)
    assert (whole.propagator.kernels, plain.propagator.kernels) == ("compiled", "python")
    assert np.array_equal(surfaces(whole), surfaces(chunks)) and surfaces(whole).any()
    assert np.array_equal(surfaces(whole)[1], surfaces(alone)[0])
    assert all(same_bits(whole, chunks, r, r) for r in range(4))
    assert all(same_bits(whole, alone, 2 + r, r) for r in range(2))
    np.testing.assert_allclose(surfaces(plain), surfaces(whole), rtol=1e-6, atol=1e-9)
    again = meta(whole.layout, 2)
    for step, hills in heard:
        assert step % 50 == 0
        again.deposit(hills.group, hills.centers, hills.heights)
    assert len(heard) == 10 and np.array_equal(again.surfaces, surfaces(whole))


def test_a_gpu_takes_it_and_refuses_a_function_by_name() -> None:
    pytest.importorskip("triton", reason="needs triton (pip install 'mdflash[gpu]')")
    from mdflash.engine.gpu.forces import unsupported

    layout = Layout((SYSTEM,), (2,))
    assert unsupported([meta(layout)], layout, False) is None
    own = FunctionBias("own", lambda x: x.square().sum(dim=(1, 2)))
    assert "bias 'own' is a function in Python" in str(unsupported([meta(layout), own], layout, False))


def test_forces_are_those_of_the_bias_after_a_deposit() -> None:
    engine = walk((0, 1))
    engine.run(100)
    before = engine.state.forces.clone()
    engine.evaluate()
    assert torch.equal(before, engine.state.forces)


def test_what_is_deposited_is_what_is_told() -> None:
    """The bias is the sum of the hills that listeners heard of, each once."""
    engine, heard = walk((0, 1, 2), two=False), list[Hills]()
    engine.deposits.hill_listeners.append(lambda step, time, hills: heard.append(hills))
    engine.run(130)
    (bias,) = engine.deposits.biases
    (axis,) = bias.axes
    centers, heights = np.concatenate([h.centers[:, 0] for h in heard]), np.concatenate([h.heights for h in heard])
    assert len(heard) == 2 and bias.hills.tolist() == [6]
    nodes = axis.low + axis.spacing * np.arange(axis.points)
    hills = heights * np.exp(-0.5 * ((nodes[:, None] - centers) / bias.widths[0]) ** 2)
    np.testing.assert_allclose(surfaces(engine)[0, :, 0], hills.sum(axis=1), atol=1e-6)


def test_a_lost_walker_leaves_the_bias_alone() -> None:
    """Forced to NaN before the first hill: the others, and their bias, are those of a run without it."""
    events: list[tuple[int, str, dict[str, Any]]] = []
    layout = Layout((SYSTEM,), (4,))
    broken = walk((0, 1, 2, 3), guard=Guard(layout, "freeze"))
    broken.deposits.listeners.append(lambda step, event, **fields: events.append((step, event, fields)))
    broken.run(10)
    broken.state.velocities[layout.rows(1)] = torch.nan
    broken.run(490)
    without = walk((0, 2, 3))
    without.run(500)
    assert broken.frozen.tolist() == [False, True, False, False]
    assert np.array_equal(surfaces(broken), surfaces(without))
    assert all(same_bits(broken, without, r, s) for s, r in enumerate((0, 2, 3)))
    assert [(step, event, f["replica"], f["reason"]) for step, event, f in events] == [(50, "no hills", 1, "frozen")]


def test_a_walker_outside_deposits_nothing_and_comes_back() -> None:
    layout = Layout((SYSTEM,), (2,))
    start = np.stack([helix(10), helix(10)])
    start[1, :5] += [60.0, 0.0, 0.0]  # far apart: the bonds pull it back
    bias = meta(layout, two=False, every=10)
    engine = simulate(layout, [GO], start, LangevinMiddle(0.002, 5.0), extra=[bias])
    events: list[tuple[int, str, dict[str, Any]]] = []
    engine.deposits.listeners.append(lambda step, event, **fields: events.append((step, event, fields)))
    heard: list[Hills] = []
    engine.deposits.hill_listeners.append(lambda step, time, hills: heard.append(hills))
    engine.run(10)
    assert [(event, f["replica"], f["reason"]) for _, event, f in events] == [("no hills", 1, "outside the grid")]
    assert heard[0].replica.tolist() == [0] and float(events[0][2]["values"]["ends"].removesuffix(" A")) > 40.0
    engine.run(2_000)
    assert events[1][1:] == ("hills again", {"bias": "meta", "replica": 1})
    assert bias.hills[0] < 2 * 201


def test_beside_exchange_of_temperatures() -> None:
    """The bias stays with its walkers; the same bits in any blocks."""

    def make() -> Engine:
        layout = Layout((SYSTEM,), (4,))
        exchange = ReplicaExchange(layout, [300.0, 320.0, 342.0, 366.0], 20)
        return walk((0, 1, 2, 3), 2, exchange=exchange, temperature=exchange.start_temperatures.tolist())

    one, other = make(), make()
    one.run(1_000)
    for _ in range(10):
        other.run(100)
    assert one.exchange is not None and one.exchange.accepted.sum() > 0
    assert np.array_equal(surfaces(one), surfaces(other))
    assert all(same_bits(one, other, r, r) for r in range(4))
