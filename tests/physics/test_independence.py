"""Noise as a run uses it: normal, and of no step, bead, replica, restart or exchange the same.

Beads without forces show their noise: N = (v' - c v) / sqrt((1 - c^2) kT / m), of every step. So this looks at the
whole way from the seed to the velocities, and not at the generator alone (`compiled/test_philox.py`).
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from mdflash.core.state import Layout
from mdflash.engine.engine import Engine
from mdflash.engine.exchange.replica_exchange import ReplicaExchange
from mdflash.integrators.langevin import LangevinMiddle
from mdflash.units import ACCELERATION, BOLTZMANN
from tests.helpers import beads, simulate, toy

BEADS, REPLICAS, EVERY = 11, 6, 10
SCHEME = LangevinMiddle(0.01, 30.0)
MASSES = np.linspace(10.0, 120.0, BEADS)
LADDER = (300.0, 400.0, 500.0)


def start(seed: int, exchange: bool) -> Engine:
    layout = Layout((beads("gas", BEADS, bonds=False, masses=MASSES),), (REPLICAS,))
    ladder = ReplicaExchange(layout, LADDER, EVERY)
    kelvin = ladder.start_temperatures.tolist()
    x = np.zeros((layout.n_beads, 3))
    return simulate(layout, [toy()], x, SCHEME, kelvin, seed=seed, exchange=ladder if exchange else None)


def noise(engine: Engine, steps: int) -> np.ndarray:
    """[steps, R, N, 3] the random numbers of the next steps; those of a step with an exchange are left out as NaN."""
    c = np.exp(-SCHEME.friction * SCHEME.timestep)
    found = []
    for _ in range(steps):
        kT = BOLTZMANN * engine.state.temperature.numpy()[:, None, None]
        before = engine.state.velocities.numpy().reshape(REPLICAS, BEADS, 3).copy()
        engine.run(1)
        after = engine.state.velocities.numpy().reshape(REPLICAS, BEADS, 3)
        thermal = np.sqrt((1 - c * c) * kT * ACCELERATION / MASSES[:, None])
        swapped = engine.exchange is not None and engine.state.step % EVERY == 0  # velocities have been scaled
        found.append(np.where(swapped, np.nan, (after - c * before) / thermal))
    return np.array(found)


def no_two_alike(numbers: np.ndarray) -> None:
    """Normal, all different, and without correlation along any axis of [steps, R, N, 3]."""
    known = numbers[np.isfinite(numbers).all(axis=(1, 2, 3))]
    assert stats.kstest(known.ravel(), "norm").pvalue > 1e-3
    assert len(np.unique(known.round(9))) > 0.999 * known.size
    for axis in range(4):
        rows = np.moveaxis(known, axis, 0).reshape(known.shape[axis], -1)
        off = np.corrcoef(rows)[np.triu_indices(len(rows), 1)]
        assert np.abs(off).max() < 5.5 / np.sqrt(rows.shape[1]), axis


def test_of_steps_beads_replicas_and_directions() -> None:
    no_two_alike(noise(start(5, exchange=False), 60))


def test_after_exchange() -> None:
    engine = start(5, exchange=True)
    no_two_alike(noise(engine, 80))
    assert engine.exchange is not None and engine.exchange.accepted.sum() > 10


def test_after_a_restart() -> None:
    """What follows is what would have followed, and nothing of it was there before."""
    whole = start(5, exchange=False)
    first, second = noise(whole, 30), noise(whole, 30)
    part = start(5, exchange=False)
    part.run(30)
    again = start(5, exchange=False)
    again.state.load({name: array.numpy() for name, array in part.state.arrays().items()})
    again.state.step = part.state.step
    np.testing.assert_array_equal(noise(again, 30), second)
    no_two_alike(np.concatenate([first, second]))


def test_of_seeds() -> None:
    one, other = (noise(start(seed, exchange=False), 40).ravel() for seed in (5, 6))
    assert abs(np.corrcoef(one, other)[0, 1]) < 5 / np.sqrt(one.size)
