"""The minimizer: downhill, to the tolerance, each replica on its own path."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mdflash.core.state import Layout
from mdflash.engine.engine import Engine
from tests.helpers import bead_term, beads, go_helix, helix, replica, simulate, toy, volume_term, walk

SYSTEM = beads("chain", 20)
FF = toy(bead_term("bonds", "harmonic_bond", SYSTEM.bonds, k=100.0, x0=3.8), volume_term(1, 10.0, exclude_bonds=1))


def starts(count: int, spread: float = 0.6) -> np.ndarray:
    rng = np.random.default_rng(31)
    return np.stack([walk(20, rng) + rng.normal(size=(20, 3)) * spread for _ in range(count)])


def chains(x: np.ndarray, **options: object) -> Engine:
    return simulate(Layout((SYSTEM,), (len(x),)), [FF], x, draw=False, **options)  # type: ignore[arg-type]


def test_energy_falls_and_forces_go_below_the_tolerance() -> None:
    simulation = chains(starts(5))
    result = simulation.minimize(10_000, tolerance=0.1)
    assert result.steps < 10_000
    assert (result.after < result.before).all() and (result.largest_force <= 0.1).all()
    largest = simulation.state.forces.norm(dim=1).view(5, 20).amax(dim=1)
    np.testing.assert_allclose(result.largest_force, largest, rtol=1e-14)
    energy = simulation.state.energy.clone()
    np.testing.assert_array_equal(result.after, energy)
    simulation.evaluate()  # what is reported belongs to the positions that were left
    assert torch.equal(simulation.state.energy, energy)
    # no small displacement is lower: it is a minimum and not just a place without force
    lowest, rng = energy.clone(), np.random.default_rng(1)
    here = simulation.state.positions.clone()
    for _ in range(20):
        simulation.state.positions.copy_(here + torch.from_numpy(rng.normal(size=here.shape)) * 0.02)
        simulation.evaluate()
        lowest = torch.minimum(lowest, simulation.state.energy)
    assert bool((lowest >= energy - 0.05).all())


def test_a_distorted_helix_finds_its_native_structure() -> None:
    system, ff = go_helix(15)
    rng = np.random.default_rng(5)
    x = np.tile(helix(15), (3, 1)) + rng.normal(size=(45, 3)) * 0.15
    simulation = simulate(Layout((system,), (3,)), [ff], x, draw=False)
    simulation.minimize(5000, tolerance=1e-4)
    from mdflash.core.geometry import distances

    i, j = np.triu_indices(15, 1)
    pairs = np.stack([i, j], axis=1)
    native = distances(helix(15), pairs)
    found = distances(simulation.state.positions.numpy().reshape(3, 15, 3), pairs)
    assert np.abs(found - native).max() < 0.05


def test_a_replica_that_is_there_stays_there() -> None:
    simulation = chains(starts(1))
    simulation.minimize(3000, tolerance=0.5)
    done = simulation.state.positions.clone()
    both = chains(np.concatenate([done.numpy()[None], starts(2)[1:]]))
    both.minimize(300, tolerance=0.5)
    assert torch.equal(both.state.positions[:20], done)


@pytest.mark.parametrize("steps", [3, 400])
def test_a_path_does_not_depend_on_the_batch(steps: int) -> None:
    x = starts(6)
    batch = chains(x)
    batch.minimize(steps, tolerance=0.05)
    for r in range(6):
        alone = chains(x[r : r + 1])
        alone.minimize(steps, tolerance=0.05)
        assert all(torch.equal(a, b) for a, b in zip(replica(batch, r), replica(alone, 0), strict=True))


@pytest.mark.parametrize("gap", [0.01, 1e-6])
def test_overlapping_beads_part_gently(gap: float) -> None:
    x = starts(2, spread=0.1)
    x[0, 15] = x[0, 3] + [gap, 0.0, 0.0]
    simulation = chains(x)
    simulation.evaluate()
    assert float(simulation.state.energy[0]) > 1e20
    for _ in range(20):
        before = simulation.state.positions.clone()
        simulation.minimize(1)
        assert bool(torch.isfinite(simulation.state.positions).all())
        assert float((simulation.state.positions - before).norm(dim=1).max()) < 0.2 + 1e-12
    result = simulation.minimize(3000, tolerance=0.1)
    assert (result.largest_force <= 0.1).all() and (result.after < 50).all()
    assert float((simulation.state.positions[15] - simulation.state.positions[3]).norm()) > 3.0


def test_velocities_step_and_noise_are_left_alone() -> None:
    simulation = chains(starts(2))
    simulation.draw_velocities()
    before = simulation.state.velocities.clone()
    simulation.minimize(50)
    assert torch.equal(simulation.state.velocities, before) and simulation.state.step == 0


def test_no_steps_only_look() -> None:
    simulation = chains(starts(2))
    before = simulation.state.positions.clone()
    result = simulation.minimize(0)
    assert result.steps == 0 and torch.equal(simulation.state.positions, before)
    np.testing.assert_array_equal(result.before, result.after)
