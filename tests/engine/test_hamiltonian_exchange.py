"""Exchange of bias parameters: decisions, bookkeeping, and the distribution of every state."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats

from mdflash.core.state import Layout
from mdflash.engine.engine import Engine
from mdflash.engine.exchange.replica_exchange import ReplicaExchange
from mdflash.errors import InputError
from mdflash.integrators.langevin import LangevinMiddle
from mdflash.potentials.bias.bias import CENTER, Bias
from mdflash.potentials.bias.pack import PackedBiases
from mdflash.units import kT
from tests.helpers import same_bits, simulate
from tests.umbrella import contact

WELL = contact()
CENTERS = [5.8, 6.3, 6.8, 7.4, 8.0, 8.8]
STIFFNESS = [6.0, 8.0, 10.0, 10.0, 8.0, 6.0]
LADDER = [280.0, 300.0, 320.0, 340.0, 360.0, 380.0]


def start(
    ladders: int, temperatures: list[float], exchanging: bool = True, every: int = 20, **options: object
) -> Engine:
    """Windows over the barrier, all replicas started in the bound state."""
    k = len(CENTERS)
    layout = Layout((WELL.system,), (k * ladders,))
    bias = Bias("window", WELL.variable, layout, STIFFNESS * ladders, CENTERS * ladders)
    exchange = ReplicaExchange(layout, temperatures, every, biases=[bias])
    return simulate(
        layout, [WELL.forcefield], np.tile(WELL.start(6.0), (k * ladders, 1)), LangevinMiddle(0.01, 8.0),
        exchange.start_temperatures.tolist(), extra=[bias], exchange=exchange if exchanging else None, **options,
    )  # fmt: skip


def bias_of(simulation: Engine) -> Bias:
    return next(t for t in simulation.potential.terms if isinstance(t, Bias))  # type: ignore[attr-defined]


def cdf(state: int, temperature: float) -> Callable[[np.ndarray], np.ndarray]:
    """Of the distance in a state, exact: the Jacobian of the free energy is that of 300 K."""
    r = np.linspace(4.5, 14.0, 20_001)
    energy = WELL.free_energy(r) + 2 * kT(300.0) * np.log(r) + 0.5 * STIFFNESS[state] * (r - CENTERS[state]) ** 2
    density = r**2 * np.exp(-energy / kT(temperature))
    return lambda at: np.asarray(np.interp(at, r, np.cumsum(density) / density.sum()))


def distances(simulation: Engine, frames: int) -> list[np.ndarray]:
    """The distances seen in every state."""
    temperatures = simulation.state.temperature.numpy()[: len(CENTERS)].copy()
    exchange = simulation.exchange or ReplicaExchange(simulation.layout, temperatures, 1, biases=[bias_of(simulation)])
    packed = PackedBiases([bias_of(simulation)], simulation.layout)
    simulation.run(1000)
    found: list[list[np.ndarray]] = [[] for _ in CENTERS]
    for _ in range(frames):
        simulation.run(100)
        labels = exchange.labels(simulation.state)
        q = packed.measure(simulation.state.positions.numpy())[0][:, 0]
        for k, values in enumerate(found):
            values.append(q[labels == k])
    return [np.concatenate(values) for values in found]


@pytest.mark.parametrize("temperatures", [[300.0] * 6, LADDER], ids=["windows", "windows and temperatures"])
def test_every_state_has_its_own_distribution(temperatures: list[float]) -> None:
    """60 ladders, 10 samples each 1 ps apart: 600 distances of each state, against the exact one and single states."""
    together = start(60, temperatures, seed=12)
    found, alone = distances(together, 10), distances(start(60, temperatures, exchanging=False, seed=13), 10)
    assert together.exchange is not None
    tried, done = (np.diagonal(c[0], 1) for c in (together.exchange.attempted, together.exchange.accepted))
    assert ((done > 0.05 * tried) & (done < 0.95 * tried)).all()
    for k, t in enumerate(temperatures):
        assert stats.kstest(found[k], cdf(k, t)).pvalue > 0.01, f"state {k}"
        if k not in (2, 3):  # on the barrier a window alone stays in the well it started from
            assert stats.ks_2samp(found[k], alone[k]).pvalue > 0.01, f"state {k}"
        if k:
            assert stats.ks_2samp(found[k], found[k - 1]).pvalue < 1e-4  # so the test can tell states apart


@pytest.mark.parametrize("mutant", ["wrong sign", "biases left out"])
def test_wrong_decisions_are_caught(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above can tell: mutants of the decision give other distributions."""
    simulation = start(60, [300.0] * 6, seed=14)
    exchange = simulation.exchange
    assert exchange is not None
    right = exchange.reduced
    mutants = {
        "wrong sign": lambda u, labels, q: -right(u, labels, q),
        "biases left out": lambda u, labels, q: np.tile(u / kT(300.0), (len(CENTERS), 1)),
    }
    monkeypatch.setattr(exchange, "reduced", mutants[mutant])
    found = distances(simulation, 10)
    assert min(stats.kstest(found[k], cdf(k, 300.0)).pvalue for k in range(6)) < 1e-4


def test_stale_forces_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Energy and forces are those of the new windows after an attempt; without evaluation they would not be."""
    simulation, stale = start(20, [300.0] * 6), start(20, [300.0] * 6)
    for mutant in (simulation, stale):
        mutant.run(10)
    monkeypatch.setattr(stale.propagator, "evaluate", lambda state: None)
    for mutant in (simulation, stale):
        mutant.run(10)
        assert mutant.exchange is not None and mutant.exchange.accepted.sum() > 0
    monkeypatch.undo()
    assert current(simulation) and not current(stale)


def current(simulation: Engine) -> bool:
    """Whether energy and forces belong to positions and biases."""
    state = simulation.state
    energy, forces = state.energy.clone(), state.forces.clone()
    simulation.propagator.evaluate(state)
    return torch.equal(energy, state.energy) and torch.equal(forces, state.forces)


def test_an_attempt_moves_labels_and_nothing_else() -> None:
    simulation = start(20, LADDER)
    exchange, bias = simulation.exchange, bias_of(simulation)
    assert exchange is not None
    simulation.exchange = None
    simulation.run(40)
    x, v = simulation.state.positions.clone(), simulation.state.velocities.clone()
    before, parameters = exchange.labels(simulation.state), bias.parameters.copy()
    np.testing.assert_array_equal(before, np.tile(np.arange(6), 20))
    exchange.attempt(simulation)
    after = exchange.labels(simulation.state)
    assert (after != before).any() and sorted(after[:6]) == list(range(6))
    np.testing.assert_array_equal(bias.parameters, parameters[after])
    np.testing.assert_array_equal(bias.parameters[:, CENTER], np.array(CENTERS)[after])
    assert torch.equal(simulation.state.positions, x)
    faster = np.sqrt(np.array(LADDER)[after] / np.array(LADDER)[before]).repeat(2)[:, None]
    np.testing.assert_allclose(simulation.state.velocities.numpy(), v.numpy() * faster, rtol=1e-14)
    assert current(simulation)


def test_reduced_energies_are_those_of_an_evaluation_in_every_state() -> None:
    simulation = start(2, LADDER)
    simulation.exchange, exchange = None, simulation.exchange
    simulation.run(50)
    assert exchange is not None
    bias, state = bias_of(simulation), simulation.state
    values = PackedBiases([bias], simulation.layout).measure(state.positions.numpy())[0]
    labels = exchange.labels(state)
    found = exchange.reduced(state.energy.numpy(), labels, values)
    own = bias.parameters.copy()
    for k, t in enumerate(LADDER):
        bias.parameters[:] = own[k]
        simulation.evaluate()
        np.testing.assert_allclose(found[k], state.energy.numpy() / kT(t), rtol=1e-11)


def test_stopping_and_other_blocks_change_no_bit() -> None:
    whole, parts = start(3, LADDER), start(3, LADDER)
    whole.run(500)
    for steps in (1, 133, 206, 160):
        parts.run(steps)
    assert whole.exchange is not None and whole.exchange.accepted.sum() > 20
    assert all(same_bits(whole, parts, r, r) for r in range(18))
    np.testing.assert_array_equal(bias_of(whole).parameters, bias_of(parts).parameters)


def test_ladders_that_make_no_sense_are_refused() -> None:
    layout = Layout((WELL.system,), (4,))
    uneven = Bias("w", WELL.variable, layout, 1.0, [1.0, 2.0, 1.0, 3.0])
    with pytest.raises(InputError, match="bias 'w': every ladder of 2 replicas must have the same parameters"):
        ReplicaExchange(layout, [300.0] * 2, 10, biases=[uneven])
    same = Bias("w", WELL.variable, layout, 1.0, 5.0)
    with pytest.raises(InputError, match="two of the 4 states are the same"):
        ReplicaExchange(layout, [300.0] * 4, 10, biases=[same])
    two = Layout((WELL.system, WELL.system), (2, 2))
    with pytest.raises(InputError, match="takes a batch of one system"):
        ReplicaExchange(two, [300.0] * 2, 10, biases=[Bias("w", WELL.variable, two, 1.0, [1.0, 2.0])])
